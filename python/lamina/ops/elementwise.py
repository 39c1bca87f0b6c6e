"""Arithmetic functions of each element, on tensors of any shape."""

import numpy as np

from lamina import arrays
from lamina.arrays import apply, apply_unary
from lamina.ops import activation
from lamina.tensor import Operand, Tensor, as_floating, as_tensor


def abs(input: Operand) -> Tensor:
    """Absolute values; gradient zero at zero."""
    x = as_tensor(input)
    data = x.data
    if data.dtype in arrays.FLOATS:
        return activation.apply("abs", x)
    return Tensor.record(
        apply_unary(np.abs, data),
        (x,),
        lambda dy: (apply(np.multiply, dy, apply_unary(np.sign, data)),),
    )


def sqrt(input: Operand) -> Tensor:
    """Square roots; NaN below zero."""
    return activation.apply("sqrt", input)


def sin(input: Operand) -> Tensor:
    """Sines."""
    return activation.apply("sin", input)


def cos(input: Operand) -> Tensor:
    """Cosines."""
    return activation.apply("cos", input)


def clamp(input: Operand, min: float | None = None, max: float | None = None) -> Tensor:
    """Values moved into ``[min, max]``; gradient zero outside."""
    x = as_tensor(input)
    data = x.data
    if data.dtype in arrays.FLOATS:
        low, high = -np.inf if min is None else min, np.inf if max is None else max
        return activation.apply("clamp", x, float(low), float(high))
    if data.dtype.kind != "f" and (isinstance(min, float) or isinstance(max, float)):
        return clamp(as_floating(x), min, max)
    y = np.asarray(np.clip(data, min, max))
    return Tensor.record(y, (x,), lambda dy: (apply(np.multiply, dy, arrays.equal(data, y)),))
