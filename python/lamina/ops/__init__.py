"""Differentiable functions under PyTorch's functional names, one file per family."""

from lamina.ops.softmax import log_softmax, softmax

__all__ = ["log_softmax", "softmax"]
