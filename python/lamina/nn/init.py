"""Initial values of parameters. Each fills a tensor in place and returns it."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from lamina.random import generator
from lamina.tensor import Array, Tensor

Rng = np.random.Generator | None
FLOAT = np.dtype(np.float32)
AnyTensor = TypeVar("AnyTensor", bound=Tensor)


class _State(threading.local):
    budget: int | None = None
    tensors = 0


_state = _State()


@contextlib.contextmanager
def skipped(limit: int, tensors: int) -> Iterator[None]:
    """Leave tensors as they are inside: for models whose parameters are about to be loaded.

    Raises:
        ValueError: inside, when tensors of more than ``limit`` numbers, or more than ``tensors`` of
            them, were to be filled.
    """
    before = _state.budget, _state.tensors
    _state.budget, _state.tensors = limit, tensors
    try:
        yield
    finally:
        _state.budget, _state.tensors = before


def _skip(tensor: Tensor) -> bool:
    if _state.budget is None:
        return False
    _state.budget -= max(tensor.size, 1)
    _state.tensors -= 1
    if _state.budget < 0 or _state.tensors < 0:
        raise ValueError("the sizes ask for far more parameters than there are")
    return True


def uniform_(tensor: AnyTensor, a: float = 0.0, b: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Uniform on ``[a, b)``."""
    if _skip(tensor):
        return tensor
    tensor.data[...] = generator(rng).uniform(a, b, tensor.shape)
    return tensor


def normal_(
    tensor: AnyTensor, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None
) -> AnyTensor:
    """Normal with the given mean and standard deviation."""
    if _skip(tensor):
        return tensor
    tensor.data[...] = generator(rng).normal(mean, std, tensor.shape)
    return tensor


def trunc_normal_(
    tensor: AnyTensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    *,
    rng: Rng = None,
) -> AnyTensor:
    """Normal, given that the value lies in ``[a, b]``; without spread the value nearest ``mean``.

    Reference:
        Robert, Simulation of truncated normal variables, 1995.
    """
    if not a < b:
        raise ValueError(f"trunc_normal_: expected a < b, got {a} and {b}")
    if not (math.isfinite(mean) and 0 <= std < math.inf):
        raise ValueError(
            f"trunc_normal_: expected a finite mean and a finite std of at least 0, got {mean} "
            f"and {std}"
        )
    if _skip(tensor):
        return tensor
    values = _trunc_normal(mean, std, a, b, tensor.size, generator(rng))
    tensor.data[...] = values.clip(a, b).reshape(tensor.shape)
    return tensor


def _trunc_normal(
    mean: float, std: float, a: float, b: float, size: int, source: np.random.Generator
) -> Array:
    if b < mean:
        return -_trunc_normal(-mean, std, -b, -a, size, source)
    # The bounds in units of the deviation; the lower one may lie above the mean.
    low, high = ((a - mean) / std, (b - mean) / std) if std else (math.inf, math.inf)
    if low == math.inf:
        return np.full(size, min(max(mean, a), b))
    width = high - low

    def normal(count: int) -> tuple[Array, Array]:
        values = source.normal(mean, std, count)
        return values, (a <= values) & (values <= b)

    def uniform(count: int) -> tuple[Array, Array]:
        units = source.uniform(low, high, count)
        return mean + std * units, source.random(count) < np.exp(-0.5 * units * units)

    def exponential(count: int) -> tuple[Array, Array]:
        # The density over [low, high] falls as exp(-low t), t above low, times exp(-t^2 / 2).
        t = -np.log1p(source.random(count) * math.expm1(-low * width)) / low
        return a + std * t, source.random(count) < np.exp(-0.5 * t * t)

    # The proposal of which at least a fifth is kept.
    if math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2)) > 0.4:
        return _kept(normal, size)
    return _kept(exponential if low > 0.1 else uniform, size)


def _kept(draw: Callable[[int], tuple[Array, Array]], size: int) -> Array:
    """Values of ``draw``, those that it does not accept drawn again."""
    values, accepted = draw(size)
    while not accepted.all():
        again = np.flatnonzero(~accepted)
        values[again], accepted[again] = draw(again.size)
    return values


def constant_(tensor: AnyTensor, value: float) -> AnyTensor:
    """One value everywhere."""
    if _skip(tensor):
        return tensor
    tensor.data[...] = value
    return tensor


def zeros_(tensor: AnyTensor) -> AnyTensor:
    """Zero everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: AnyTensor) -> AnyTensor:
    """One everywhere."""
    return constant_(tensor, 1.0)


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs that one number of a weight ``[O, I, ...]`` connects."""
    if tensor.ndim < 2:
        raise ValueError(f"init: tensor: expected at least 2 axes, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor that keeps the variance through a non-linearity, as in PyTorch.

    Args:
        nonlinearity: name of the function in :mod:`lamina.ops`, or of a linear layer.
        param: slope below zero of ``"leaky_relu"``, 0.01 by default.
    """
    slope = 0.01 if param is None else param
    gains = {
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "selu": 3 / 4,
    }
    plain = {"linear", "sigmoid", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"}
    if nonlinearity in plain:
        return 1.0
    if nonlinearity not in gains:
        known = ", ".join(sorted(plain | gains.keys()))
        raise ValueError(
            f"calculate_gain: nonlinearity: expected one of {known}, got {nonlinearity!r}"
        )
    return gains[nonlinearity]


def xavier_uniform_(tensor: AnyTensor, gain: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Uniform with variance ``gain^2 * 2 / (fan_in + fan_out)``. Glorot & Bengio, 2010."""
    fans = sum(fan_in_and_fan_out(tensor))
    bound = gain * math.sqrt(6 / max(fans, 1))
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: AnyTensor, gain: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Normal with variance ``gain^2 * 2 / (fan_in + fan_out)``. Glorot & Bengio, 2010."""
    fans = sum(fan_in_and_fan_out(tensor))
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(fans, 1)), rng=rng)


def kaiming_uniform_(
    tensor: AnyTensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Rng = None,
) -> AnyTensor:
    """Uniform with variance ``gain^2 / fan``. He et al., 2015.

    Args:
        tensor: weight ``[O, I, ...]``.
        a: slope below zero of ``"leaky_relu"``.
        mode: ``"fan_in"`` keeps the variance of the outputs, ``"fan_out"`` that of the gradients.
        nonlinearity: what follows, as :func:`calculate_gain` names it.
        rng: source of the numbers.
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: AnyTensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Rng = None,
) -> AnyTensor:
    """Normal with variance ``gain^2 / fan``; arguments are those of :func:`kaiming_uniform_`."""
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, rng=rng)


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{op}: mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    fan = fan_in_and_fan_out(tensor)[mode == "fan_out"]
    # A weight without numbers has nothing to fill.
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def orthogonal_(tensor: AnyTensor, gain: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Rows or columns orthonormal, times ``gain``. Saxe et al., 2014."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor: expected at least 2 axes, got {tensor.shape}")
    rows = tensor.shape[0]
    columns = tensor.size // max(rows, 1)
    if _skip(tensor):
        return tensor
    values = generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(values)
    q *= np.sign(np.diag(r))
    tensor.data[...] = gain * (q if rows >= columns else q.T).reshape(tensor.shape)
    return tensor


def eye_(tensor: AnyTensor) -> AnyTensor:
    """The identity matrix, cut or filled up with zeros to the shape."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: tensor: expected 2 axes, got shape {tensor.shape}")
    if _skip(tensor):
        return tensor
    rows, columns = tensor.shape
    tensor.data[...] = np.eye(rows, columns)
    return tensor


def dirac_(tensor: AnyTensor, groups: int = 1) -> AnyTensor:
    """Kernels ``[O, I, ...]`` that pass on as many channels of each group as there are."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: tensor: expected 3 to 5 axes, got shape {tensor.shape}")
    if groups < 1 or tensor.shape[0] % groups:
        raise ValueError(
            f"dirac_: groups: expected a divisor of {tensor.shape[0]} channels, got {groups}"
        )
    if _skip(tensor):
        return tensor
    rows = tensor.shape[0] // groups
    centre = tuple(length // 2 for length in tensor.shape[2:])
    tensor.data[...] = 0
    if tensor.size:
        for channel in range(min(rows, tensor.shape[1])):
            at: tuple[Any, ...] = (slice(channel, None, rows), channel, *centre)
            tensor.data[at] = 1
    return tensor
