"""Containers: modules one after the other, in a list or by name."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from lamina import _kernels
from lamina.nn.module import Module, Stage
from lamina.tape import state
from lamina.tensor import Tensor, wrap


def _check_module(container: Module, name: str, module: Any) -> None:
    # A layer may go without a module, a container not.
    if not isinstance(module, Module):
        raise TypeError(
            f"{type(container).__name__}: {name}: expected a Module, got {type(module).__name__}"
        )


class Sequential(Module):
    """Modules called one after the other; given as arguments or as one ordered mapping."""

    def __init__(self, *modules: "Module | OrderedDict[str, Module]") -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            named = modules[0].items()
        else:
            named = {str(i): module for i, module in enumerate(modules)}.items()  # type: ignore[assignment]
        for name, module in named:
            _check_module(self, name, module)
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        if not state.recording and (y := self._predict(x)) is not None:
            return y
        # A layer that waits for the activation after it, to apply it in the same pass.
        layer: Module | None = None
        for module in self._modules.values():
            if module is None:
                continue
            if layer is not None:
                if module._direct and module._activation is not None:
                    x, layer = layer.forward(x, module._activation), None
                    continue
                x, layer = layer.forward(x), None
            if not module._direct:
                x = module(x)
            elif module._activates:
                layer = module
            else:
                x = module.forward(x)
        return x if layer is None else layer.forward(x)

    def _predict(self, x: Any) -> Tensor | None:
        """The output by one call for all modules, where the kernels know them and take ``x``."""
        stages: list[Stage] = []
        for module in self._modules.values():
            if module is None:
                continue
            stage = module._stage
            if stage is None:
                stage = module._make_stage() if module._direct else None
                if stage is None:
                    return None
                module.__dict__["_stage"] = stage
            stages.append(stage)
        if not stages:
            return None
        try:
            return wrap(_kernels.layers_forward(x.data if isinstance(x, Tensor) else x, stages))
        except (TypeError, ValueError):
            # One by one the layers take more, or say what is wrong.
            return None

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        name = str(len(self._modules))
        _check_module(self, name, module)
        self.add_module(name, module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> "Module | Sequential":
        modules = list(self.children())
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]


class ModuleList(Module):
    """A list of modules that belong to the model."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        name = str(len(self))
        _check_module(self, name, module)
        self.add_module(name, module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at ``index``, as :meth:`list.insert` does."""
        _check_module(self, str(index), module)
        modules = list(self)
        modules.insert(index, module)
        for i, each in enumerate(modules):
            self.add_module(str(i), each)

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "ModuleList": ...
    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self.children())
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        name = str(range(len(self))[index])
        _check_module(self, name, module)
        self.add_module(name, module)


class ModuleDict(Module):
    """Modules by name that belong to the model."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if name in dir(type(self)):
            raise KeyError(f"ModuleDict: {name!r} is the name of a method")
        _check_module(self, name, module)
        self.add_module(name, module)

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        """Names."""
        return self._modules.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Iterable[Any]:
        """Modules."""
        return self._modules.values()
