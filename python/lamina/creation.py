"""Tensors made from sizes: constants, ranges, random numbers."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

import lamina
from lamina.random import generator
from lamina.tensor import ArrayLike, Operand, Tensor, as_tensor

Rng = np.random.Generator | None
Size = SupportsIndex | Sequence[SupportsIndex]


def tensor(
    data: ArrayLike | Tensor, dtype: npt.DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of ``data``; Python floats become float32."""
    made = Tensor(data)
    return Tensor(np.array(made.data, dtype=dtype or made.dtype), requires_grad)


def zeros(*size: Size, dtype: npt.DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros; the lengths stand one by one or in a sequence."""
    return Tensor(np.zeros(_size(size), dtype), requires_grad)


def ones(*size: Size, dtype: npt.DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return Tensor(np.ones(_size(size), dtype), requires_grad)


def full(
    size: Size,
    fill_value: Any,
    *,
    dtype: npt.DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number everywhere, which decides the type unless ``dtype`` does."""
    fill = Tensor(fill_value)
    return Tensor(np.full(_size((size,)), fill.data, dtype or fill.dtype), requires_grad)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: npt.DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from ``start``, or 0, to below ``end``; int64 unless one of them is a float."""
    if end is None:
        start, end = 0, start
    whole = all(isinstance(x, int | np.integer) for x in (start, end, step))
    kind = dtype or (np.int64 if whole else np.float32)
    return Tensor(np.arange(start, end, step).astype(kind), requires_grad)


def randn(
    *size: Size,
    dtype: npt.DTypeLike = np.float32,
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """Numbers of the standard normal distribution."""
    values = np.asarray(generator(rng).standard_normal(_size(size)))
    return Tensor(values.astype(dtype), requires_grad)


def rand(
    *size: Size,
    dtype: npt.DTypeLike = np.float32,
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """Numbers uniform on ``[0, 1)``."""
    kind = np.dtype(dtype)
    # Drawn as they are kept: rounding to a shorter type can give 1.
    source = np.dtype(np.float64) if kind == np.float64 else np.dtype(np.float32)
    values = np.asarray(generator(rng).random(_size(size), source))
    return Tensor(values.astype(kind, copy=False), requires_grad)


def zeros_like(
    input: Operand, dtype: npt.DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros in the shape and type of ``input``."""
    x = as_tensor(input)
    return Tensor(np.zeros(x.shape, dtype or x.dtype), requires_grad)


def ones_like(
    input: Operand, dtype: npt.DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones in the shape and type of ``input``."""
    x = as_tensor(input)
    return Tensor(np.ones(x.shape, dtype or x.dtype), requires_grad)


def tril(input: Operand, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes: :func:`lamina.ops.tril`."""
    return lamina.ops.tril(input, diagonal)


def triu(input: Operand, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes: :func:`lamina.ops.triu`."""
    return lamina.ops.triu(input, diagonal)


def _size(size: Sequence[Any]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], tuple | list):
        size = size[0]
    return tuple(n.__index__() for n in size)
