"""Vectors of length one, and the angle between vectors."""

import numpy as np

from lamina.arrays import apply, length, total
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor


def normalize(input: Operand, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(|x|, eps)`` with the norm ``(sum |x|^p)^(1/p)`` over one axis.

    Args:
        input: any shape.
        p: exponent of the norm, at least 1.
        dim: the axis.
        eps: smallest divisor.
    """
    x = as_tensor(input)
    data = x.data
    if data.dtype.kind != "f":
        raise TypeError(f"normalize: input: expected floats, got {data.dtype}")
    if not 1 <= p < np.inf:
        raise ValueError(f"normalize: p: expected a finite number of at least 1, got {p}")
    if not -data.ndim <= dim < data.ndim:
        raise ValueError(f"normalize: dim: expected an axis of shape {data.shape}, got {dim}")
    if p == 2:
        norm = length(data, dim, True)
    else:
        norm = np.linalg.norm(data, ord=p, axis=dim, keepdims=True)
    divisor = np.maximum(norm, eps).astype(data.dtype, copy=False)
    y = apply(np.divide, data, divisor)

    def vjp(dy: Array) -> Gradients:
        dx = apply(np.divide, dy, divisor)
        # How the norm grows with each number: sign(x) (|x| / norm)^(p - 1).
        slope = y if p == 2 else np.sign(data) * np.abs(y) ** (p - 1)
        pull = total(apply(np.multiply, dx, y), dim, True)
        pull = np.where(norm >= eps, pull, np.zeros((), pull.dtype))
        return (apply(np.subtract, dx, apply(np.multiply, pull, slope)),)

    return Tensor.record(y, (x,), vjp)


def cosine_similarity(x1: Operand, x2: Operand, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 x2 / (max(|x1|, eps) max(|x2|, eps))`` over one axis; the others broadcast.

    Args:
        x1: any shape.
        x2: a shape that broadcasts with it.
        dim: the axis of the vectors, in the broadcast shape.
        eps: smallest length that a vector is divided by.
    """
    a, b = as_tensor(x1), as_tensor(x2)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"cosine_similarity: x2: expected a shape that broadcasts with {a.shape}, got {b.shape}"
        ) from None
    if not -len(shape) <= dim < len(shape):
        raise ValueError(f"cosine_similarity: dim: expected an axis of shape {shape}, got {dim}")
    a, b = a.expand(*shape), b.expand(*shape)
    return (normalize(a, 2.0, dim, eps) * normalize(b, 2.0, dim, eps)).sum(dim)
