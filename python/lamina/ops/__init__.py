"""Differentiable functions under PyTorch's functional names, one file per family."""

from lamina.ops.attention import (
    attention_weights,
    scaled_dot_product_attention,
    self_attention,
)
from lamina.ops.linear import linear, matmul
from lamina.ops.softmax import log_softmax, softmax

__all__ = [
    "attention_weights",
    "linear",
    "log_softmax",
    "matmul",
    "scaled_dot_product_attention",
    "self_attention",
    "softmax",
]
