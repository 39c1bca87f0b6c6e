"""Clipping of gradients, in place."""

import itertools
from collections.abc import Iterable
from typing import Any

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
    lists = _grads(parameters)
    if len(lists) < 2:
        grads = lists[0] if lists else []
        return _kernels.optimizer_clip_norm(
            grads, float(max_norm), float(norm_type), error_if_nonfinite
        )
    # An infinite limit changes nothing: first the norm of each type, then that of all.
    limit = float("inf")
    norms = [
        np.array([_kernels.optimizer_clip_norm(grads, limit, float(norm_type), error_if_nonfinite)])
        for grads in lists
    ]
    norm = _kernels.optimizer_clip_norm(norms, limit, float(norm_type), error_if_nonfinite)
    by = max_norm / (norm + 1e-6)
    if not by >= 1:
        for grad in itertools.chain(*lists):
            grad *= by
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Move every number of the gradients into ``[-clip_value, clip_value]``."""
    for grads in _grads(parameters):
        _kernels.optimizer_clip_value(grads, float(clip_value))


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[list[Array]]:
    """Gradients of each type, each of them changeable without the others."""
    lists: dict[Any, list[Array]] = {}
    seen: set[int] = set()
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        grad = p.grad
        if grad is None:
            continue
        # Gradients that came through a transpose have other strides; two parameters that enter a
        # sum may have the same array, or views of one.
        owner = grad.base if isinstance(grad.base, np.ndarray) else grad
        if not grad.flags.c_contiguous or id(owner) in seen:
            grad = owner = p.grad = grad.copy(order="C")
        seen.add(id(owner))
        lists.setdefault(grad.dtype, []).append(grad)
    return list(lists.values())
