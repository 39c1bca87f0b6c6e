"""Base of the optimisers: groups of parameters, state, saving and loading."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lamina.tape import mark_changed
from lamina.tensor import Array, Tensor

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class Optimizer:
    """Parameters in groups, each with settings of its own, and a state for each parameter.

    A subclass names the arrays of its state and calls one kernel for each group.

    Args:
        params: parameters, ``(name, parameter)`` pairs, or groups: mappings with ``"params"`` and
            the settings that differ from ``defaults``.
        defaults: settings of every group that does not say otherwise.

    Raises:
        TypeError: something that is no tensor, or no floating one.
        ValueError: no parameters, a parameter twice, or one that cannot be changed in place.
    """

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
            seen.add(id(p))
        unknown = set(group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown:
            raise TypeError(f"{name}: unknown settings in a group: {', '.join(sorted(unknown))}")
        added = {"params": params, **self.defaults, **{k: group[k] for k in group if k != "params"}}
        self._check(added)
        self.param_groups.append(added)

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse settings outside their range."""
        for key, (low, high) in _RANGES.items():
            if key not in group:
                continue
            values = group[key] if isinstance(group[key], tuple | list) else (group[key],)
            for value in values:
                # NaN fails this comparison too.
                if not low <= value <= high or (key in _OPEN and value == high):
                    raise ValueError(
                        f"{type(self).__name__}: {key}: expected {_describe(key)}, got {value}"
                    )

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

        ``closure``, where given, is called first: it computes the loss and its gradients, and what
        it returns is returned.
        """
        loss = None if closure is None else closure()
        for group in self.param_groups:
            mark_changed(p for p in group["params"] if p.grad is not None)
            self._step(group)
        return loss

    def _step(self, group: dict[str, Any]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define _step")

    def _gather(
        self, group: dict[str, Any], names: tuple[str, ...], fill: float = 0.0
    ) -> tuple[list[Array], list[Array], list[Array], list[int]]:
        """Parameters with gradients, these, the state ``names`` (made where missing), and steps."""
        params: list[Array] = []
        grads: list[Array] = []
        states: list[list[Array]] = [[] for _ in names]
        steps: list[int] = []
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            data = p.data
            state = self.state.get(p)
            if state is None:
                state = self.state[p] = {"step": 0}
            state["step"] += 1
            steps.append(state["step"])
            params.append(data)
            grads.append(grad)
            for arrays, name in zip(states, names, strict=True):
                array = state.get(name)
                if array is None:
                    array = state[name] = np.full(data.shape, fill, data.dtype)
                arrays.append(array)
        return params, grads, [array for arrays in states for array in arrays], steps

    def state_dict(self) -> dict[str, Any]:
        """State and settings; parameters stand as numbers in the order they were given.

        The form is PyTorch's: ``{"state": {0: {...}, ...}, "param_groups": [...]}``. Arrays are not
        copied.
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers[id(p)] = len(numbers)
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items()}
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
            loaded[p] = {key: self._restore(key, value, p) for key, value in values.items()}
        restored = [
            {**mine, **{key: value for key, value in group.items() if key != "params"}}
            for group, mine in zip(groups, self.param_groups, strict=True)
        ]
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
_OPEN = frozenset({"betas"})


def _describe(key: str) -> str:
    high = _RANGES[key][1]
    if high == _INFINITY:
        return "a number of at least 0"
    return "numbers from 0 to below 1" if key in _OPEN else f"0 to {high:g}"
