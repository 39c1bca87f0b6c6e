"""Softmax and log-softmax."""

from collections.abc import Callable

from lamina import _kernels
from lamina.tensor import Array, Operand, Tensor, as_tensor

_Forward = Callable[[Array, int], Array]
_Backward = Callable[[Array, Array, int], Array]


def softmax(input: Operand, dim: int = -1) -> Tensor:
    """``exp(input)`` divided by its sum over the axis ``dim``."""
    return _over_axis(input, dim, _kernels.softmax_forward, _kernels.softmax_backward)


def log_softmax(input: Operand, dim: int = -1) -> Tensor:
    """Natural logarithm of :func:`softmax`, without its loss of small numbers."""
    return _over_axis(input, dim, _kernels.log_softmax_forward, _kernels.log_softmax_backward)


def _over_axis(x: Operand, dim: int, forward: _Forward, backward: _Backward) -> Tensor:
    x = as_tensor(x)
    data = x.data
    ndim = data.ndim
    if not ndim:
        return _over_axis(x.reshape(1), dim, forward, backward).reshape(())
    if not -ndim <= dim < ndim:
        raise ValueError(f"softmax: dim: expected -{ndim} to {ndim - 1}, got {dim}")
    at = dim % ndim
    y = forward(data, at)
    return Tensor.record(y, (x,), lambda dy: (backward(dy, y, at),))
