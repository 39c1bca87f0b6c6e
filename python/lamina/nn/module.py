"""Modules: trees of parameters with a ``forward``."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

from lamina.tape import mark_changed
from lamina.tensor import Array, ArrayLike, Tensor


class Parameter(Tensor):
    """A tensor that belongs to a module and, unless told otherwise, is trained."""

    __slots__ = ()

    def __init__(self, data: ArrayLike | Tensor, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter{super().__repr__().removeprefix('Tensor')}"


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of layers and models.

    A subclass calls ``super().__init__()``, assigns parameters, buffers and modules to attributes,
    and defines ``forward``. Names of attributes joined by dots are the keys of the state.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Array | None]
    _modules: "dict[str, Module | None]"

    def __init__(self) -> None:
        object.__setattr__(self, "training", True)
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_buffers", {})
        object.__setattr__(self, "_modules", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before setting {name!r}"
            )
        if isinstance(value, Parameter):
            self._forget(name)
            self._parameters[name] = value
        elif isinstance(value, Module):
            self._forget(name)
            self._modules[name] = value
        elif name in self._buffers:
            if value is not None and not isinstance(value, np.ndarray):
                raise TypeError(f"{name}: expected an array, got {type(value).__name__}")
            self._buffers[name] = value
        elif value is None and name in self._parameters:
            self._parameters[name] = None
        elif value is None and name in self._modules:
            self._modules[name] = None
        else:
            self._forget(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._forget(name)
        object.__delattr__(self, name)

    def _forget(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set an attribute that is a parameter or, where the layer goes without, ``None``."""
        self._forget(name)
        self._parameters[name] = parameter
        object.__setattr__(self, name, parameter)

    def register_buffer(self, name: str, value: Array | None) -> None:
        """Set an attribute that is part of the state but not trained."""
        self._forget(name)
        self._buffers[name] = value
        object.__setattr__(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``forward`` makes of the arguments."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every subclass defines its own."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    # Walking the tree.

    def named_modules(self, prefix: str = "") -> "Iterator[tuple[str, Module]]":
        """The module and those below it, each once, with their dotted names."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            below = [(_join(name, key), m) for key, m in module._modules.items() if m is not None]
            stack.extend(reversed(below))

    def modules(self) -> "Iterator[Module]":
        """The module and those below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """The modules directly below."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> "Iterator[Module]":
        """The modules directly below."""
        return (module for _, module in self.named_children())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted names; a shared one under its first name only."""
        seen: set[int] = set()
        for name, module in self.named_modules(prefix):
            for key, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield _join(name, key), parameter

    def parameters(self) -> Iterator[Parameter]:
        """Parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Buffers with their dotted names."""
        for name, module in self.named_modules(prefix):
            for key, buffer in module._buffers.items():
                if buffer is not None:
                    yield _join(name, key), buffer

    def buffers(self) -> Iterator[Array]:
        """Buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.data.size for parameter in self.parameters())

    def apply(self, function: "Callable[[Module], Any]") -> Self:
        """Call ``function`` on every module of the tree."""
        for module in list(self.modules()):
            function(module)
        return self

    # Modes.

    def train(self, mode: bool = True) -> Self:
        """Switch the tree to training: dropout drops, batch norm uses the batch."""
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Self:
        """Switch the tree to evaluation."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters are trained."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, dtype: npt.DTypeLike) -> Self:
        """Change the floating type of parameters and buffers in place."""
        target = np.dtype(dtype)
        if target.kind != "f":
            raise TypeError(f"to: dtype: expected a floating type, got {target}")
        for parameter in self.parameters():
            parameter.data = parameter.data.astype(target)
            parameter.grad = None
        for module in self.modules():
            for key, buffer in list(module._buffers.items()):
                if buffer is not None and buffer.dtype.kind == "f":
                    setattr(module, key, buffer.astype(target))
        return self

    def float(self) -> Self:
        """To float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """To float64, for gradient checks."""
        return self.to(np.float64)

    # State.

    def state_dict(self) -> "OrderedDict[str, Array]":
        """The arrays of parameters and buffers by dotted name; shared ones under every name.

        They are the module's own arrays, not copies.
        """
        state: OrderedDict[str, Array] = OrderedDict()
        self._collect_state(state, "")
        return state

    def _collect_state(self, state: "OrderedDict[str, Array]", prefix: str) -> None:
        for key, parameter in self._parameters.items():
            if parameter is not None:
                state[prefix + key] = parameter.data
        for key, buffer in self._buffers.items():
            if buffer is not None:
                state[prefix + key] = buffer
        for key, module in self._modules.items():
            if module is not None:
                module._collect_state(state, f"{prefix}{key}.")

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy the arrays of ``state`` into parameters and buffers of the same names.

        Args:
            state: arrays or tensors by dotted name.
            strict: whether a missing or unexpected name is an error.

        Returns:
            The names that had no counterpart.

        Raises:
            ValueError: names (where strict) or shapes do not agree; nothing was changed then.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        problems: list[str] = []
        if strict and missing:
            problems.append(f"missing keys: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected keys: {', '.join(unexpected)}")
        arrays: dict[str, Array] = {}
        for name in own:
            if name in state:
                value = np.asarray(state[name])
                if value.shape != own[name].shape:
                    problems.append(f"{name}: expected shape {own[name].shape}, got {value.shape}")
                elif value.dtype.kind not in "biuf":
                    problems.append(f"{name}: expected numbers, got {value.dtype}")
                arrays[name] = value
        if problems:
            raise ValueError(f"load_state_dict: {type(self).__name__}: {'; '.join(problems)}")
        for name, value in arrays.items():
            own[name][...] = value
        mark_changed(self.parameters())
        return IncompatibleKeys(missing, unexpected)

    def extra_repr(self) -> str:
        """The arguments shown between the parentheses of :func:`repr`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {module!r}" for name, module in self._modules.items()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra_repr()}\n  {body}\n)"


def _join(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


class Sequential(Module):
    """Modules called one after the other; given as arguments or as one ordered mapping."""

    def __init__(self, *modules: "Module | OrderedDict[str, Module]") -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict):
            named = modules[0].items()
        else:
            named = {str(i): module for i, module in enumerate(modules)}.items()  # type: ignore[assignment]
        for name, module in named:
            if not isinstance(module, Module):
                raise TypeError(
                    f"Sequential: {name}: expected a Module, got {type(module).__name__}"
                )
            setattr(self, name, module)

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        for module in self._modules.values():
            if module is not None:
                x = module(x)
        return x

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        setattr(self, str(len(self._modules)), module)
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
        setattr(self, str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return self.children()

    def __getitem__(self, index: int) -> Any:
        return list(self.children())[index]


class ModuleDict(Module):
    """Modules by name that belong to the model."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if name in dir(type(self)):
            raise KeyError(f"ModuleDict: {name!r} is the name of a method")
        setattr(self, name, module)

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
