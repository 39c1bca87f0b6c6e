"""Softmax and log-softmax."""

from collections.abc import Callable

from lamina import _kernels
from lamina.arrays import reshape
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor

_Forward = Callable[[Array], Array]
_Backward = Callable[[Array, Array], Array]


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
    moved = data.swapaxes(dim, -1)
    shape = moved.shape
    rows = forward(
        reshape(moved, (data.size // shape[-1], shape[-1]))
        if data.size
        else moved.reshape(0, max(shape[-1], 1))
    )

    def vjp(dy: Array) -> Gradients:
        dx = backward(reshape(dy.swapaxes(dim, -1), rows.shape), rows)
        return (dx.reshape(shape).swapaxes(dim, -1),)

    return Tensor.record(rows.reshape(shape).swapaxes(dim, -1), (x,), vjp)
