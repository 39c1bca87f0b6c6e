"""Base of the optimisers: groups of parameters, state, saving and loading."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn

import numpy as np

from lamina.tape import enable_grad, mark_changed
from lamina.tensor import Array, Tensor

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class Optimizer:
    """Parameters in groups, each with settings of its own, and a state for each parameter.

    A subclass names the arrays of its state and calls one kernel for the parameters of one type in
    a group.

    Args:
        params: parameters, ``(name, parameter)`` pairs, or groups: mappings with ``"params"`` and
            the settings that differ from ``defaults``; what else they hold is kept.
        defaults: settings of every group that does not say otherwise.

    Raises:
        TypeError: something that is no tensor, or no floating one; a setting of the wrong type.
        ValueError: no parameters, a parameter twice, or one that cannot be changed in place.
    """

    # Whether the state of a parameter counts its steps.
    _counts: ClassVar[bool] = True

    param_groups: list[dict[str, Any]]
    state: dict[Tensor, dict[str, Any]]

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor | np.ndarray):
            raise TypeError(
                f"{type(self).__name__}: params: expected an iterable of parameters, "
                f"got {type(params).__name__}"
            )
        self.defaults = defaults
        self.state = {}
        self.param_groups = []
        given = list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: params: expected parameters, got none")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)  # type: ignore[arg-type]

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group: a mapping with ``"params"`` and the settings that are not the defaults."""
        name = type(self).__name__
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{name}: params: expected every group to be a dict with 'params'")
        given = group["params"]
        given = [given] if isinstance(given, Tensor) else list(given)
        params = [p[1] if isinstance(p, tuple) else p for p in given]
        if not params:
            raise ValueError(f"{name}: params: expected parameters in every group, got none")
        seen = {id(p) for other in self.param_groups for p in other["params"]}
        memory = {_address(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{name}: params[{i}]: expected a parameter, got {type(p).__name__}"
                )
            if p.data.dtype not in (np.float32, np.float64):
                raise TypeError(
                    f"{name}: params[{i}]: expected float32 or float64, got {p.data.dtype}"
                )
            if not p.is_leaf:
                raise ValueError(f"{name}: params[{i}]: expected a leaf, got a computed tensor")
            if not (p.data.flags.c_contiguous and p.data.flags.writeable):
                raise ValueError(
                    f"{name}: params[{i}]: expected a writeable C-contiguous array, "
                    "which a copy of it would be"
                )
            if id(p) in seen:
                raise ValueError(f"{name}: params[{i}]: this parameter is given twice")
            if _address(p) in memory:
                raise ValueError(
                    f"{name}: params[{i}]: its array is also that of another parameter; "
                    "let both places have the same Parameter"
                )
            seen.add(id(p))
            memory.add(_address(p))
        added = {"params": params, **self.defaults, **{k: group[k] for k in group if k != "params"}}
        self._check(added)
        self.param_groups.append(added)

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse settings of the wrong type or outside their range."""
        name = type(self).__name__
        for key, (low, high) in _RANGES.items():
            if key not in group:
                continue
            values = group[key] if key in _PAIRS else (group[key],)
            if key in _PAIRS and not (isinstance(values, tuple | list) and len(values) == 2):
                raise ValueError(f"{name}: {key}: expected two numbers, got {values!r:.60}")
            for value in values:
                if not isinstance(value, int | float | np.integer | np.floating):
                    raise TypeError(f"{name}: {key}: expected a number, got {value!r:.60}")
                # NaN fails this comparison too.
                if not low <= value <= high or (key in _PAIRS and value == high):
                    raise ValueError(f"{name}: {key}: expected {_describe(key)}, got {value}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = np.zeros_like(p.data)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient.

        ``closure``, where given, is called first, with gradients recorded: it computes the loss and
        its gradients, and what it returns is returned. Shapes and types are checked before any
        parameter is changed.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        parts = [(group, params) for group in self.param_groups for params in self._parts(group)]
        for group, params in parts:
            mark_changed(params)
            self._step(group, params)
            if self._counts:
                for p in params:
                    self.state[p]["step"] += 1
        return loss

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Change ``params``, which have gradients, are of one type and of ``group``."""
        raise NotImplementedError(f"{type(self).__name__} does not define _step")

    def _parts(self, group: dict[str, Any]) -> list[list[Tensor]]:
        """Parameters with gradients, those of one type together, once they are checked."""
        parts: dict[Any, list[Tensor]] = {}
        for i, p in enumerate(group["params"]):
            grad = p.grad
            if grad is None:
                continue
            data = p.data
            shape, dtype = data.shape, data.dtype
            if not data.flags.carray:
                raise ValueError(
                    f"{type(self).__name__}: params[{i}]: expected a writeable array in C order"
                )
            if grad.shape != shape or grad.dtype != dtype:
                self._refuse(i, p, "grad", grad)
            for key, value in self.state.get(p, _NO_STATE).items():
                if type(value) is np.ndarray and (value.shape != shape or value.dtype != dtype):
                    self._refuse(i, p, key, value)
            if dtype in parts:
                parts[dtype].append(p)
            else:
                parts[dtype] = [p]
        return list(parts.values())

    def _refuse(self, i: int, p: Tensor, key: str, array: Array) -> NoReturn:
        where = f"{type(self).__name__}: params[{i}]: {key}"
        if array.shape != p.shape:
            raise ValueError(f"{where}: expected shape {[*p.shape]}, got {[*array.shape]}")
        raise TypeError(f"{where}: expected a {p.data.dtype} array, got {array.dtype}")

    def _gather(
        self, params: list[Tensor], names: tuple[str, ...], fill: float = 0.0
    ) -> tuple[list[Array], list[Array], list[Array], list[int]]:
        """Arrays, gradients, the state ``names`` (made where missing), and numbers of the step."""
        states: list[list[Array]] = [[] for _ in names]
        steps: list[int] = []
        for p in params:
            state = self.state.get(p)
            if state is None:
                state = self.state[p] = {"step": 0}
            steps.append(state["step"] + 1)
            for arrays, name in zip(states, names, strict=True):
                array = state.get(name)
                if array is None:
                    array = state[name] = np.full(p.data.shape, fill, p.data.dtype)
                arrays.append(array)
        grads = [p.grad for p in params if p.grad is not None]
        return [p.data for p in params], grads, [a for arrays in states for a in arrays], steps

    def state_dict(self) -> dict[str, Any]:
        """State and settings; parameters stand as numbers in the order they were given.

        The form is PyTorch's: ``{"state": {0: {...}, ...}, "param_groups": [...]}``. It is a copy:
        later steps do not change it.
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers[id(p)] = len(numbers)
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {
            numbers[id(p)]: {
                key: value.copy() if isinstance(value, np.ndarray) else value
                for key, value in values.items()
            }
            for p, values in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave; arrays are copied.

        Raises:
            ValueError: groups or shapes are not those of this optimiser; nothing is changed then.
        """
        name = type(self).__name__
        try:
            groups, state = state_dict["param_groups"], state_dict["state"]
            sizes = [len(group["params"]) for group in groups]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{name}: load_state_dict: not the state of an optimiser") from error
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(
                f"{name}: load_state_dict: expected groups of {own} parameters, got {sizes}"
            )
        params = {
            number: p
            for group, mine in zip(groups, self.param_groups, strict=True)
            for number, p in zip(group["params"], mine["params"], strict=True)
        }
        loaded: dict[Tensor, dict[str, Any]] = {}
        for number, values in state.items():
            if number not in params:
                raise ValueError(f"{name}: load_state_dict: state of unknown parameter {number}")
            p = params[number]
            if self._counts and "step" not in values:
                raise ValueError(
                    f"{name}: load_state_dict: state of parameter {number} has no step"
                )
            loaded[p] = {key: self._restore(key, value, p) for key, value in values.items()}
        restored = []
        for group, mine in zip(groups, self.param_groups, strict=True):
            # Files have no tuples.
            pairs = {key: tuple(group[key]) for key in _PAIRS if isinstance(group.get(key), list)}
            restored.append({**mine, **group, **pairs, "params": mine["params"]})
        for group in restored:
            self._check(group)
        self.state = loaded
        self.param_groups = restored

    def _restore(self, key: str, value: Any, p: Tensor) -> Any:
        if value is None:
            return None
        if key in _SCALARS:
            return _SCALARS[key](value)
        array = np.array(value, dtype=p.data.dtype, order="C")
        if array.shape != p.data.shape:
            raise ValueError(
                f"{type(self).__name__}: load_state_dict: {key}: expected shape {p.data.shape}, "
                f"got {array.shape}"
            )
        return array

    def __repr__(self) -> str:
        settings = [
            ", ".join(f"{key}={value}" for key, value in group.items() if key != "params")
            for group in self.param_groups
        ]
        return f"{type(self).__name__}({'; '.join(settings)})"


_NO_STATE: dict[str, Any] = {}
_SCALARS = {"step": int, "mu_product": float}
_INFINITY = float("inf")
_RANGES = {
    "lr": (0.0, _INFINITY),
    "momentum": (0.0, _INFINITY),
    "weight_decay": (0.0, _INFINITY),
    "eps": (0.0, _INFINITY),
    "betas": (0.0, 1.0),
    "alpha": (0.0, _INFINITY),
    "rho": (0.0, 1.0),
    "lr_decay": (0.0, _INFINITY),
    "initial_accumulator_value": (0.0, _INFINITY),
    "momentum_decay": (0.0, _INFINITY),
}
_PAIRS = frozenset({"betas"})


def _address(p: Tensor) -> int:
    # Empty arrays may lie anywhere.
    return int(p.data.__array_interface__["data"][0]) if p.size else -id(p)


def _describe(key: str) -> str:
    high = _RANGES[key][1]
    if high == _INFINITY:
        return "a number of at least 0"
    return "numbers from 0 to below 1" if key in _PAIRS else f"0 to {high:g}"
