"""Clipping of gradients, in place."""

from collections.abc import Iterable

import numpy as np

from lamina import _kernels
from lamina.tensor import Array, Tensor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale the gradients so that their joint norm is at most ``max_norm``.

    Args:
        parameters: one or several; those without a gradient count for nothing.
        max_norm: the limit.
        norm_type: order of the norm; ``float("inf")`` for the largest magnitude.
        error_if_nonfinite: raise where the norm is infinite or NaN, and change nothing.

    Returns:
        The norm before. It is summed in float64 and in an order of its own, so that it does not
        depend on the number of threads.
    """
    grads = _grads(parameters)
    return _kernels.optimizer_clip_norm(
        grads, float(max_norm), float(norm_type), error_if_nonfinite
    )


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Move every number of the gradients into ``[-clip_value, clip_value]``."""
    _kernels.optimizer_clip_value(_grads(parameters), float(clip_value))


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    grads = []
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        if p.grad is not None:
            # Gradients that came through a transpose have other strides.
            if not p.grad.flags.c_contiguous:
                p.grad = np.ascontiguousarray(p.grad)
            grads.append(p.grad)
    return grads
