"""Modules: trees of parameters with a ``forward``."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from lamina import _kernels
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


Hook = Callable[..., Any]
# The name of a layer, its weight and bias, and its options.
Stage = tuple[
    str, Parameter | None, Parameter | None, _kernels.ConvOptions | _kernels.PoolOptions | None
]
_keys = itertools.count()


class _Hooks(NamedTuple):
    """Functions around ``forward``, in the order in which they were registered."""

    before: dict[int, Hook]
    after: dict[int, Hook]


class HookHandle:
    """What takes a hook away again: :meth:`remove`, or the end of a ``with`` block."""

    def __init__(self, hooks: dict[int, Hook], hook: Hook) -> None:
        self._hooks = hooks
        self._key = next(_keys)
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook away; nothing happens the second time."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Module:
    """Base of layers and models.

    A subclass calls ``super().__init__()``, assigns parameters, buffers and modules to attributes,
    and defines ``forward``. Names of attributes joined by dots are the keys of the state.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Array | None]
    _modules: "dict[str, Module | None]"
    # Of the class, so that a module without hooks pays for one look at an attribute.
    _hooks: _Hooks | None = None
    # Whether a call does nothing but the `forward` of the class.
    _direct = True
    # The activation that this is, if a layer before it can apply it to its own output, and whether
    # this is such a layer: its `forward` takes the name.
    _activation: str | None = None
    _activates = False
    # What `_make_stage` said, until anything about the module changes.
    _stage: Stage | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._direct = cls.__call__ is Module.__call__
        if "forward" in cls.__dict__:
            cls._activation = cls.__dict__.get("_activation")
            cls._activates = cls.__dict__.get("_activates", False)
            if "_make_stage" not in cls.__dict__:
                cls._make_stage = Module._make_stage  # type: ignore[method-assign]

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
            self._check_type(name, value, np.ndarray)
            self._buffers[name] = value
        elif name in self._parameters:
            self._check_type(name, value, Parameter)
            self._parameters[name] = value
        elif name in self._modules:
            self._check_type(name, value, Module)
            self._modules[name] = value
        elif name == "forward":
            object.__setattr__(self, "_direct", False)
        self.__dict__.pop("_stage", None)
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes, without what can be made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_stage"}

    def __delattr__(self, name: str) -> None:
        self._forget(name)
        object.__delattr__(self, name)

    def _forget(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)
        self.__dict__.pop("_stage", None)

    def _check_type(self, name: str, value: Any, wanted: type) -> None:
        if value is not None and not isinstance(value, wanted):
            raise TypeError(
                f"{type(self).__name__}: {name}: expected {wanted.__name__} or None, "
                f"got {type(value).__name__}"
            )

    def _register(self, table: dict[str, Any], name: str, value: Any, wanted: type) -> None:
        layer = type(self).__name__
        if not isinstance(name, str):
            raise TypeError(f"{layer}: name: expected str, got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"{layer}: name: expected some letters and no dot, got {name!r}")
        if hasattr(self, name) and name not in table:
            raise KeyError(f"{layer}: {name!r} is already an attribute")
        self._check_type(name, value, wanted)
        table[name] = value
        self.__dict__.pop("_stage", None)
        object.__setattr__(self, name, value)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set an attribute that is a parameter or, where the layer goes without, ``None``."""
        self._register(self._parameters, name, parameter, Parameter)

    def register_buffer(self, name: str, value: Array | None) -> None:
        """Set an attribute that is part of the state but not trained, an array."""
        self._register(self._buffers, name, value, np.ndarray)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Set an attribute that is a module, under a name that need not be an identifier."""
        self._register(self._modules, name, module, Module)

    def register_forward_pre_hook(self, hook: Hook) -> HookHandle:
        """Call ``hook(module, args)`` before ``forward``.

        What it returns, unless ``None``, takes the place of the positional arguments: a tuple of
        them or the only one. Keyword arguments stay as they are.
        """
        return HookHandle(self._own_hooks().before, hook)

    def register_forward_hook(self, hook: Hook) -> HookHandle:
        """Call ``hook(module, args, output)`` after ``forward``.

        What it returns, unless ``None``, takes the place of the output.
        """
        return HookHandle(self._own_hooks().after, hook)

    def _own_hooks(self) -> _Hooks:
        if self._hooks is None:
            object.__setattr__(self, "_hooks", _Hooks({}, {}))
            object.__setattr__(self, "_direct", False)
            self.__dict__.pop("_stage", None)
        hooks: _Hooks = self.__dict__["_hooks"]
        return hooks

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``forward``, and the hooks around it, make of the arguments."""
        hooks = self._hooks
        if hooks is None:
            return self.forward(*args, **kwargs)
        for hook in list(hooks.before.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*args, **kwargs)
        for hook in list(hooks.after.values()):
            changed = hook(self, args, output)
            if changed is not None:
                output = changed
        return output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every subclass defines its own."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def _make_stage(self) -> Stage | None:
        """This layer for :func:`lamina._kernels.layers_forward`, if that knows it."""
        return None if self._activation is None else (self._activation, None, None, None)

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

    def get_submodule(self, target: str) -> "Module":
        """The module of a dotted name; this one where it is empty.

        Raises:
            AttributeError: there is none.
        """
        module: Module = self
        for name in target.split(".") if target else ():
            below = module._modules.get(name)
            if below is None:
                raise AttributeError(
                    f"{type(self).__name__}: no module {target!r}: "
                    f"{type(module).__name__} has no {name!r}"
                )
            module = below
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name.

        Raises:
            AttributeError: there is none.
        """
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(f"{type(self).__name__}: no parameter {target!r}")
        return parameter

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
            module.__dict__.pop("_stage", None)
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

    def state_dict(self, *, prefix: str = "") -> "OrderedDict[str, Array]":
        """The arrays of parameters and buffers by dotted name; shared ones under every name.

        They are the module's own arrays, not copies. ``prefix`` stands before every name.
        """
        state: OrderedDict[str, Array] = OrderedDict()
        self._collect_state(state, prefix)
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
                try:
                    value = np.asarray(state[name])
                except (TypeError, ValueError, RuntimeError) as error:
                    kind = type(state[name]).__name__
                    problems.append(f"{name}: expected an array, got {kind} ({error})")
                    continue
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
