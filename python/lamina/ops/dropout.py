"""Dropout."""

import numpy as np

from lamina import _kernels
from lamina.random import generator
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor


def dropout(
    input: Operand,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """``input`` with each number zero with probability ``p``, the others divided by ``1 - p``.

    The mask follows from one draw of the generator: it is the same for any number of threads.
    Srivastava et al., 2014.

    Args:
        input: any shape.
        p: share dropped, 0 to 1.
        training: without it the input comes back as it is.
        rng: source of the mask; the library's own where it is ``None``.
    """
    x = as_tensor(input)
    _check(p)
    if not training or p == 0:
        return x
    seed = int(generator(rng).integers(0, 2**64, dtype=np.uint64))

    def vjp(dy: Array) -> Gradients:
        return (_kernels.dropout_apply(dy, p, seed),)

    return Tensor.record(_kernels.dropout_apply(x.data, p, seed), (x,), vjp)


def dropout2d(
    input: Operand,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """:func:`dropout` of whole channels of ``input`` ``[N, C, ...]``. Tompson et al., 2015."""
    x = as_tensor(input)
    _check(p)
    if x.ndim < 3:
        raise ValueError(f"dropout2d: input: expected at least 3 axes, got shape {x.shape}")
    if not training or p == 0:
        return x
    channels = np.ones((*x.shape[:2], *[1] * (x.ndim - 2)), x.dtype)
    return x * dropout(channels, p, rng=rng)


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p: expected 0 to 1, got {p}")
