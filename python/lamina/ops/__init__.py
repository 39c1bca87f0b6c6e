"""Differentiable functions under PyTorch's functional names, one file per family."""

from lamina.ops.linear import linear, matmul
from lamina.ops.softmax import log_softmax, softmax

__all__ = [
    "linear",
    "log_softmax",
    "matmul",
    "softmax",
]
