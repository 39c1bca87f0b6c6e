"""Arithmetic functions of each element, on tensors of any shape."""

import numpy as np

from lamina import arrays
from lamina.arrays import Array, apply, apply_unary, silent_unary
from lamina.tensor import Operand, Tensor, as_floating, as_tensor


def abs(input: Operand) -> Tensor:
    """Absolute values; gradient zero at zero."""
    x = as_tensor(input)
    data = x.data
    return Tensor.record(
        apply_unary(np.abs, data),
        (x,),
        lambda dy: (apply(np.multiply, dy, apply_unary(np.sign, data)),),
    )


def sqrt(input: Operand) -> Tensor:
    """Square roots; NaN below zero."""
    x = as_floating(input)
    y = silent_unary(np.sqrt, x.data)

    def vjp(dy: Array) -> tuple[Array]:
        half = np.asarray(0.5, y.dtype)
        return (apply(np.divide, apply(np.multiply, dy, half), y),)

    return Tensor.record(y, (x,), vjp)


def sin(input: Operand) -> Tensor:
    """Sines."""
    x = as_floating(input)
    data = x.data
    return Tensor.record(
        silent_unary(np.sin, data),
        (x,),
        lambda dy: (apply(np.multiply, dy, silent_unary(np.cos, data)),),
    )


def cos(input: Operand) -> Tensor:
    """Cosines."""
    x = as_floating(input)
    data = x.data

    def vjp(dy: Array) -> tuple[Array]:
        slope = apply_unary(np.negative, silent_unary(np.sin, data))
        return (apply(np.multiply, dy, slope),)

    return Tensor.record(silent_unary(np.cos, data), (x,), vjp)


def clamp(input: Operand, min: float | None = None, max: float | None = None) -> Tensor:
    """Values moved into ``[min, max]``; gradient zero outside."""
    x = as_tensor(input)
    data = x.data
    if data.dtype in arrays.FLOATS:
        y = arrays.empty(data.shape, data.dtype)
        np.clip(data, min, max, out=y)
    elif data.dtype.kind != "f" and (isinstance(min, float) or isinstance(max, float)):
        return clamp(as_floating(x), min, max)
    else:
        y = np.asarray(np.clip(data, min, max))
    return Tensor.record(y, (x,), lambda dy: (apply(np.multiply, dy, arrays.equal(data, y)),))
