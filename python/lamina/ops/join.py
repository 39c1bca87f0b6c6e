"""Putting tensors together, taking them apart, choosing between them."""

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from lamina.arrays import Array, apply, axis, choose, common, copy, joined, sum_to, total
from lamina.tape import Gradients
from lamina.tensor import Operand, Tensor, as_pair, as_tensor


def cat(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Tensors one after the other along the axis ``dim``; the other axes must agree.

    Their types may differ: floats win over integers.

    Raises:
        ValueError: there is no tensor, or the shapes do not fit.
    """
    parts = [as_tensor(tensor) for tensor in tensors]
    y = _joined("cat", [part.data for part in parts], dim)
    before = (slice(None),) * (dim % y.ndim)
    ends = [*itertools.accumulate([part.data.shape[dim] for part in parts])]

    def vjp(dy: Array) -> Gradients:
        return tuple([dy[(*before, slice(*cut))] for cut in itertools.pairwise([0, *ends])])

    return Tensor.record(y, parts, vjp)


def stack(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis at ``dim``.

    Raises:
        ValueError: there is no tensor, or the shapes differ.
    """
    parts = [as_tensor(tensor) for tensor in tensors]
    shapes = [part.data.shape for part in parts]
    if shapes != shapes[:1] * len(shapes):
        raise ValueError(f"stack: tensors: expected one shape, got {', '.join(map(str, shapes))}")
    at = axis("stack", dim, len(shapes[0]) + 1) if shapes else 0
    before = (slice(None),) * at
    y = _joined("stack", [part.data[(*before, None)] for part in parts], at)

    def vjp(dy: Array) -> Gradients:
        places: Iterable[Any] = ((*before, i) for i in range(len(parts)))
        return tuple([dy[place] for place in places])

    return Tensor.record(y, parts, vjp)


def _joined(op: str, data: list[Array], dim: int) -> Array:
    """Arrays one after the other along ``dim``, in the type of their result."""
    if not data:
        raise ValueError(f"{op}: tensors: expected at least one, got none")
    for x in data:
        if x.dtype is not data[0].dtype:
            data = common(*data)
            break
    try:
        whole = joined(data, dim)
        return np.concatenate(data, axis=dim) if whole is None else whole
    except ValueError as error:
        shapes = ", ".join(str(x.shape) for x in data)
        raise ValueError(f"{op}: tensors: shapes {shapes} along axis {dim}: {error}") from None


def split(
    tensor: Operand,
    split_size_or_sections: SupportsIndex | Sequence[SupportsIndex],
    dim: SupportsIndex = 0,
) -> list[Tensor]:
    """Pieces along ``dim``: of one length (the last may be shorter) or of the lengths given.

    Raises:
        ValueError: the lengths do not add up to that of the axis.
    """
    tensor = as_tensor(tensor)
    if not tensor.ndim:
        raise ValueError("split: tensor: expected at least 1 axis, got none")
    at = axis("split", dim, tensor.ndim)
    length = tensor.shape[at]
    if isinstance(split_size_or_sections, Sequence | np.ndarray):
        sections = [operator.index(n) for n in split_size_or_sections]
        if sum(sections) != length or min(sections, default=0) < 0:
            raise ValueError(
                f"split: split_size_or_sections: expected a sum of {length}, got {sections}"
            )
    else:
        size = operator.index(split_size_or_sections)
        if size < 1:
            raise ValueError(f"split: split_size_or_sections: expected at least 1, got {size}")
        # An empty axis is one empty piece.
        sections = [min(size, length - start) for start in range(0, length, size)] or [0]
    before = (slice(None),) * at
    ends = np.cumsum(sections)
    return [
        tensor[(*before, slice(int(end) - size, int(end)))]
        for end, size in zip(ends, sections, strict=True)
    ]


def chunk(input: Operand, chunks: SupportsIndex, dim: SupportsIndex = 0) -> list[Tensor]:
    """At most ``chunks`` pieces of equal length along ``dim``; the last may be shorter."""
    input, count = as_tensor(input), operator.index(chunks)
    if count < 1:
        raise ValueError(f"chunk: chunks: expected at least 1, got {count}")
    if not input.ndim:
        raise ValueError("chunk: input: expected at least 1 axis, got none")
    length = input.shape[axis("chunk", dim, input.ndim)]
    return split(input, -(-length // count) if length else [0] * count, dim)


def where(condition: Operand, input: Operand, other: Operand) -> Tensor:
    """``input`` where the condition holds, else ``other``; all three broadcast."""
    chosen = np.asarray(as_tensor(condition).data, dtype=bool)
    input, other, x, z = as_pair(input, other)
    a, b = x.shape, z.shape

    def vjp(dy: Array) -> Gradients:
        zero = np.zeros((), dy.dtype)
        return sum_to(choose(chosen, dy, zero), a), sum_to(choose(chosen, zero, dy), b)

    return Tensor.record(choose(chosen, x, z), (input, other), vjp)


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of each pair; equal ones share the gradient."""
    return _extreme(np.maximum, input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of each pair; equal ones share the gradient."""
    return _extreme(np.minimum, input, other)


def _extreme(ufunc: np.ufunc, input: Operand, other: Operand) -> Tensor:
    input, other, a, b = as_pair(input, other)

    def vjp(dy: Array) -> Gradients:
        # NaN is beyond all others.
        first = (a >= b if ufunc is np.maximum else a <= b) | np.isnan(a)
        zero = np.zeros((), dy.dtype)
        da, db = choose(first, dy, zero), choose(first, zero, dy)
        equal = a == b
        if equal.any():
            half = apply(np.multiply, dy, np.asarray(0.5, dy.dtype))
            da, db = choose(equal, half, da), choose(equal, half, db)
        return sum_to(da, a.shape), sum_to(db, b.shape)

    return Tensor.record(apply(ufunc, a, b), (input, other), vjp)


def repeat(input: Operand, *sizes: SupportsIndex | Sequence[SupportsIndex]) -> Tensor:
    """Copies laid side by side, ``sizes`` times along each axis; more sizes than axes add axes."""
    x = as_tensor(input)
    given = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    times = tuple(operator.index(n) for n in given)  # type: ignore[arg-type]
    if len(times) < x.ndim or min(times, default=0) < 0:
        raise ValueError(f"repeat: sizes: expected at least {x.ndim} counts, got {times}")
    data = x.data
    shape = data.shape
    full = (1,) * (len(times) - len(shape)) + shape
    once = tuple([n for length in full for n in (1, length)])
    copies = tuple([n for pair in zip(times, full, strict=True) for n in pair])
    whole = copy(np.broadcast_to(data.reshape(once), copies), data.dtype)

    def vjp(dy: Array) -> Gradients:
        dx = dy.reshape(copies)
        for place, count in enumerate(times):
            if count != 1:
                dx = total(dx, 2 * place, True)
        return (dx.reshape(shape),)

    return Tensor.record(
        whole.reshape([n * m for n, m in zip(times, full, strict=True)]), (x,), vjp
    )
