"""Initial values of parameters. Each fills a tensor in place and returns it."""

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from lamina.random import generator
from lamina.tensor import Tensor

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
    """Normal, drawn again wherever a value leaves ``[a, b]``."""
    if not a < b:
        raise ValueError(f"trunc_normal_: expected a < b, got {a} and {b}")
    if _skip(tensor):
        return tensor
    source = generator(rng)
    values = source.normal(mean, std, tensor.shape)
    outside = (values < a) | (values > b)
    while outside.any():
        values[outside] = source.normal(mean, std, int(outside.sum()))
        outside = (values < a) | (values > b)
    tensor.data[...] = values
    return tensor


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


def gain(nonlinearity: str, slope: float = 0.01) -> float:
    """Factor that keeps the variance through a non-linearity, as in PyTorch."""
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + slope**2))}
    plain = {"linear", "sigmoid", "conv1d", "conv2d"}
    if nonlinearity in plain:
        return 1.0
    if nonlinearity not in gains:
        known = ", ".join(sorted(plain | gains.keys()))
        raise ValueError(f"gain: nonlinearity: expected one of {known}, got {nonlinearity!r}")
    return gains[nonlinearity]


def xavier_uniform_(tensor: AnyTensor, gain: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Uniform with variance ``gain^2 * 2 / (fan_in + fan_out)``. Glorot & Bengio, 2010."""
    bound = gain * math.sqrt(6 / sum(fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: AnyTensor, gain: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Normal with variance ``gain^2 * 2 / (fan_in + fan_out)``. Glorot & Bengio, 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fan_in_and_fan_out(tensor))), rng=rng)


def kaiming_uniform_(
    tensor: AnyTensor, a: float = 0.0, nonlinearity: str = "leaky_relu", *, rng: Rng = None
) -> AnyTensor:
    """Uniform with variance ``gain^2 / fan_in``. He et al., 2015."""
    bound = gain(nonlinearity, a) * math.sqrt(3 / fan_in_and_fan_out(tensor)[0])
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: AnyTensor, a: float = 0.0, nonlinearity: str = "leaky_relu", *, rng: Rng = None
) -> AnyTensor:
    """Normal with variance ``gain^2 / fan_in``. He et al., 2015."""
    std = gain(nonlinearity, a) / math.sqrt(fan_in_and_fan_out(tensor)[0])
    return normal_(tensor, 0.0, std, rng=rng)


def orthogonal_(tensor: AnyTensor, gain: float = 1.0, *, rng: Rng = None) -> AnyTensor:
    """Rows or columns orthonormal, times ``gain``. Saxe et al., 2014."""
    rows = tensor.shape[0]
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor: expected at least 2 axes, got {tensor.shape}")
    columns = tensor.size // max(rows, 1)
    if _skip(tensor):
        return tensor
    values = generator(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(values)
    q *= np.sign(np.diag(r))
    tensor.data[...] = gain * (q if rows >= columns else q.T).reshape(tensor.shape)
    return tensor
