"""Activations as layers, for :class:`~lamina.nn.Sequential` and for models with a choice."""

import numpy as np

from lamina import ops
from lamina.nn.module import Module, Parameter
from lamina.ops.conv import count
from lamina.tensor import Tensor, as_tensor


class CELU(Module):
    """``max(x, 0) + min(0, alpha (exp(x / alpha) - 1))``.

    Args:
        alpha: the limit below, as a positive number.

    Reference:
        Barron, Continuously differentiable exponential linear units, 2017.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        if alpha == 0:
            raise ValueError("CELU: alpha: expected a number other than 0, got 0")
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.celu(x, self.alpha)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"alpha={self.alpha}"


class ELU(Module):
    """``x`` above zero, ``alpha (exp(x) - 1)`` below.

    Args:
        alpha: the limit below, as a positive number.

    Reference:
        Clevert et al., Fast and accurate deep network learning by exponential linear units, 2015.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.elu(x, self.alpha)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """``x Phi(x)`` with the normal distribution function.

    Args:
        approximate: ``"none"``, or ``"tanh"`` for the approximation that GPT-2 uses.

    Reference:
        Hendrycks & Gimpel, Gaussian error linear units, 2016.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate: expected 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"approximate={self.approximate!r}"


class GLU(Module):
    """``a sigmoid(b)``, a and b the halves of one axis.

    Args:
        dim: the axis.

    Reference:
        Dauphin et al., Language modeling with gated convolutional networks, 2017.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., 2 D]`` to ``[..., D]``."""
        return ops.glu(x, self.dim)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dim={self.dim}"


class Hardsigmoid(Module):
    """``min(max(x + 3, 0), 6) / 6``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.hardsigmoid(x)


class Hardswish(Module):
    """``x min(max(x + 3, 0), 6) / 6``.

    Reference:
        Howard et al., Searching for MobileNetV3, 2019.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.hardswish(x)


class Hardtanh(Module):
    """``x`` moved into ``[min_val, max_val]``.

    Args:
        min_val: lower end.
        max_val: upper end.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        if not min_val <= max_val:
            raise ValueError(f"Hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Identity(Module):
    """The input itself; takes and ignores any arguments."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Give back ``x``."""
        return as_tensor(x)


class LeakyReLU(Module):
    """``x`` above zero, ``negative_slope x`` below.

    Args:
        negative_slope: slope below zero.

    Reference:
        Maas et al., Rectifier nonlinearities improve neural network acoustic models, 2013.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"negative_slope={self.negative_slope}"


class LogSigmoid(Module):
    """``-ln(1 + exp(-x))``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.logsigmoid(x)


class LogSoftmax(Module):
    """``x - ln(sum(exp(x)))`` over one axis.

    Args:
        dim: the axis.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dim={self.dim}"


class Mish(Module):
    """``x tanh(ln(1 + exp(x)))``.

    Reference:
        Misra, Mish: a self regularized non-monotonic activation function, 2019.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.mish(x)


class PReLU(Module):
    """``x`` above zero, ``weight x`` elsewhere.

    Parameters:
        weight: ``[num_parameters]``, ``init``.

    Args:
        num_parameters: one for all, or C, one for each channel of ``[N, C, ...]``.
        init: initial slope.

    Reference:
        He et al., Delving deep into rectifiers, 2015.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        slopes = count("PReLU", "num_parameters", num_parameters)
        self.weight = Parameter(np.full(slopes, init, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_parameters={self.weight.size}"


class ReLU(Module):
    """``max(x, 0)``; gradient zero at zero."""

    _activation = "relu"

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.relu(x)


class ReLU6(Module):
    """``min(max(x, 0), 6)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.relu6(x)


class SELU(Module):
    """:class:`ELU` scaled so that mean 0 and variance 1 are kept.

    Reference:
        Klambauer et al., Self-normalizing neural networks, 2017.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.selu(x)


class SiLU(Module):
    """``x sigmoid(x)``, also called swish.

    Reference:
        Elfwing et al., Sigmoid-weighted linear units for neural network function approximation in
        reinforcement learning, 2017.
    """

    _activation = "silu"

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.silu(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    _activation = "sigmoid"

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.sigmoid(x)


class Softmax(Module):
    """``exp(x) / sum(exp(x))`` over one axis.

    Args:
        dim: the axis.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dim={self.dim}"


class Softplus(Module):
    """``ln(1 + exp(beta x)) / beta``.

    Args:
        beta: sharpness of the bend.
        threshold: ``beta x`` above which the output is ``x``.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        if beta == 0:
            raise ValueError("Softplus: beta: expected a number other than 0, got 0")
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """``x / (1 + |x|)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.softsign(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    _activation = "tanh"

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.tanh(x)
