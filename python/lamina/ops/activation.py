"""Activations and element-wise functions, on tensors of any shape."""

import math

import numpy as np

from lamina import _kernels, arrays
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, as_floating, as_tensor, sum_to, wrap

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# Their slope follows from the output, which is kept in place of the input.
_KEEPS_OUTPUT = frozenset({"exp", "relu", "relu6", "sigmoid", "sqrt", "tanh"})
# They make floats of integers.
_TAKES_INTEGERS = frozenset({"cos", "exp", "log", "sigmoid", "sin", "sqrt", "tanh"})


def apply(name: str, input: Operand, a: float = 0.0, b: float = 0.0) -> Tensor:
    """The function that the kernels call ``name``, with its parameters."""
    if not isinstance(input, Tensor):
        if type(input) is np.ndarray and input.dtype in _FLOATS:
            return wrap(_kernels.activation_forward(name, input, a, b))
        input = Tensor(input)
    data = input.data
    try:
        y = _kernels.activation_forward(name, data, a, b)
    except TypeError:
        if data.dtype.kind == "f" or name not in _TAKES_INTEGERS:
            raise
        return apply(name, input.float(), a, b)
    if not (state.recording and input.requires_grad):
        return wrap(y)
    return _recorded(name, input, y if name in _KEEPS_OUTPUT else data, y, a, b)


def _recorded(name: str, x: Tensor, kept: Array, y: Array, a: float, b: float) -> Tensor:

    def vjp(dy: Array) -> Gradients:
        return (_kernels.activation_backward(name, dy, kept, a, b),)

    return Tensor.record(y, (x,), vjp)


def celu(input: Operand, alpha: float = 1.0) -> Tensor:
    """``max(x, 0) + min(0, alpha (exp(x / alpha) - 1))``. Barron, 2017."""
    if alpha == 0:
        raise ValueError("celu: alpha: expected a number other than 0, got 0")
    return apply("celu", input, alpha)


def elu(input: Operand, alpha: float = 1.0) -> Tensor:
    """``x`` above zero, ``alpha (exp(x) - 1)`` below. Clevert et al., 2015."""
    return apply("elu", input, alpha)


def exp(input: Operand) -> Tensor:
    """``e`` to the power ``x``."""
    return apply("exp", input)


def gelu(input: Operand, approximate: str = "none") -> Tensor:
    """``x Phi(x)`` with the normal distribution function. Hendrycks & Gimpel, 2016.

    Args:
        input: any shape.
        approximate: ``"none"``, or ``"tanh"`` for ``x sigmoid(2u)`` with
            ``u = sqrt(2 / pi) (x + 0.044715 x^3)``.
    """
    if approximate == "none":
        return apply("gelu", input)
    if approximate == "tanh":
        return apply("gelu_tanh", input)
    raise ValueError(f"gelu: approximate: expected 'none' or 'tanh', got {approximate!r}")


def glu(input: Operand, dim: int = -1) -> Tensor:
    """``a sigmoid(b)``, a and b the halves of the axis ``dim``. Dauphin et al., 2017."""
    x = as_floating(input)
    if not -x.ndim <= dim < x.ndim or x.shape[dim] % 2:
        raise ValueError(f"glu: dim: expected an axis of even length, got {dim} of {x.shape}")
    shape, at = x.shape, dim % x.ndim
    # The halves of an axis follow each other, whatever comes after it.
    after = math.prod(shape[at + 1 :]) * (shape[at] // 2)
    halves = arrays.reshape(x.data, (math.prod(shape[:at]), 2, after))
    y = _kernels.glu_forward(halves).reshape(*shape[:at], shape[at] // 2, *shape[at + 1 :])

    def vjp(dy: Array) -> Gradients:
        return (_kernels.glu_backward(dy.reshape(len(halves), after), halves).reshape(shape),)

    return Tensor.record(y, (x,), vjp)


def hardsigmoid(input: Operand) -> Tensor:
    """``min(max(x + 3, 0), 6) / 6``."""
    return apply("hardsigmoid", input)


def hardswish(input: Operand) -> Tensor:
    """``x min(max(x + 3, 0), 6) / 6``. Howard et al., 2019."""
    return apply("hardswish", input)


def hardtanh(input: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``x`` moved into ``[min_val, max_val]``."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
    return apply("hardtanh", input, min_val, max_val)


def leaky_relu(input: Operand, negative_slope: float = 0.01) -> Tensor:
    """``x`` above zero, ``negative_slope x`` below. Maas et al., 2013."""
    return apply("leaky_relu", input, negative_slope)


def log(input: Operand) -> Tensor:
    """Natural logarithm: ``-inf`` at zero, NaN below."""
    return apply("log", input)


def logsigmoid(input: Operand) -> Tensor:
    """``-ln(1 + exp(-x))``."""
    return apply("logsigmoid", input)


def mish(input: Operand) -> Tensor:
    """``x tanh(ln(1 + exp(x)))``. Misra, 2019."""
    return apply("mish", input)


def prelu(input: Operand, weight: Operand) -> Tensor:
    """``x`` above zero, ``weight x`` elsewhere. He et al., 2015.

    Args:
        input: ``[N, C, ...]``, or any shape where there is one weight.
        weight: ``[C]`` or ``[1]``.
    """
    x, w = as_tensor(input), as_tensor(weight)
    if x.dtype.kind != "f":
        raise TypeError(f"prelu: input: expected floats, got {x.dtype}")
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.shape not in ((), (1,), (channels,)):
        raise ValueError(f"prelu: weight: expected shape [1] or [{channels}], got {list(w.shape)}")
    data, shape = x.data, w.shape
    slope = w.data.reshape(-1, *[1] * (x.ndim - 2)) if w.size > 1 else w.data.reshape(())
    scale = np.where(data > 0, np.ones((), data.dtype), slope.astype(data.dtype, copy=False))

    def vjp(dy: Array) -> Gradients:
        return dy * scale, sum_to(dy * np.minimum(data, 0), slope.shape).reshape(shape)

    return Tensor.record(data * scale, (x, w), vjp)


def relu(input: Operand) -> Tensor:
    """``max(x, 0)``; gradient zero at zero."""
    return apply("relu", input)


def relu6(input: Operand) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return apply("relu6", input)


def selu(input: Operand) -> Tensor:
    """:func:`elu` scaled so that mean 0 and variance 1 are kept. Klambauer et al., 2017."""
    return apply("selu", input)


def sigmoid(input: Operand) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return apply("sigmoid", input)


def silu(input: Operand) -> Tensor:
    """``x sigmoid(x)``, also called swish. Elfwing et al., 2017."""
    return apply("silu", input)


def softplus(input: Operand, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``ln(1 + exp(beta x)) / beta``, and ``x`` where ``beta x`` exceeds ``threshold``."""
    if beta == 0:
        raise ValueError("softplus: beta: expected a number other than 0, got 0")
    return apply("softplus", input, beta, threshold)


def softsign(input: Operand) -> Tensor:
    """``x / (1 + |x|)``."""
    return apply("softsign", input)


def tanh(input: Operand) -> Tensor:
    """Hyperbolic tangent."""
    return apply("tanh", input)
