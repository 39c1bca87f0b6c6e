"""Softmax and log-softmax."""

import math
from collections.abc import Callable

from lamina import _kernels
from lamina.arrays import reshape
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor

_Forward = Callable[[Array], Array]
_Backward = Callable[[Array, Array], Array]

# Columns from which on they are faster side by side than each copied into a row.
_SIDE_BY_SIDE = 16


def softmax(input: Operand, dim: int = -1) -> Tensor:
    """``exp(input)`` divided by its sum over the axis ``dim``."""
    return _over_axis(input, dim, _kernels.softmax_forward, _kernels.softmax_backward)


def log_softmax(input: Operand, dim: int = -1) -> Tensor:
    """Natural logarithm of :func:`softmax`, without its loss of small numbers."""
    return _over_axis(input, dim, _kernels.log_softmax_forward, _kernels.log_softmax_backward)


def _over_axis(x: Operand, dim: int, forward: _Forward, backward: _Backward) -> Tensor:
    x = as_tensor(x)
    data = x.data
    if data.ndim == 0:
        return _over_axis(x.reshape(1), dim, forward, backward).reshape(())
    if not -data.ndim <= dim < data.ndim:
        raise ValueError(f"softmax: dim: expected -{data.ndim} to {data.ndim - 1}, got {dim}")
    shape, at = data.shape, dim % data.ndim
    after = math.prod(shape[at + 1 :])
    if data.size and 1 < after < _SIDE_BY_SIDE:
        return _over_axis(x.transpose(dim, -1), -1, forward, backward).transpose(dim, -1)
    sizes = math.prod(shape[:at]), shape[at], after
    y = forward(reshape(data, sizes))

    def vjp(dy: Array) -> Gradients:
        return (backward(reshape(dy, sizes), y).reshape(shape),)

    return Tensor.record(y.reshape(shape), (x,), vjp)
