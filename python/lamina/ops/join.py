"""Putting tensors together, taking them apart, choosing between them."""

from collections.abc import Sequence

import numpy as np

from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor, empty, sum_to


def cat(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Tensors one after the other along the axis ``dim``; the other axes must agree.

    Raises:
        ValueError: there is no tensor, or the shapes do not fit.
    """
    parts = [as_tensor(tensor) for tensor in tensors]
    if not parts:
        raise ValueError("cat: tensors: expected at least one, got none")
    try:
        y = _concatenate([part.data for part in parts], dim)
    except ValueError as error:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ValueError(f"cat: tensors: shapes {shapes} along axis {dim}: {error}") from None
    cuts = np.cumsum([part.shape[dim] for part in parts])[:-1]
    return Tensor.record(y, parts, lambda dy: tuple(np.split(dy, cuts, axis=dim)))


def _concatenate(parts: list[Array], dim: int) -> Array:
    first = parts[0]
    if any(p.dtype != first.dtype or p.ndim != first.ndim for p in parts) or not first.ndim:
        return np.concatenate(parts, axis=dim)
    shape = list(first.shape)
    if -len(shape) <= dim < len(shape):
        shape[dim] = sum(p.shape[dim] for p in parts)
    return np.concatenate(parts, axis=dim, out=empty(tuple(shape), first.dtype))


def stack(tensors: Sequence[Operand], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis at ``dim``."""
    return cat([as_tensor(tensor).unsqueeze(dim) for tensor in tensors], dim)


def split(
    tensor: Operand, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> list[Tensor]:
    """Pieces along ``dim``: of one length (the last may be shorter) or of the lengths given.

    Raises:
        ValueError: the lengths do not add up to that of the axis.
    """
    tensor = as_tensor(tensor)
    length = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        if split_size_or_sections < 1:
            raise ValueError(
                f"split: split_size_or_sections: expected at least 1, got {split_size_or_sections}"
            )
        size = split_size_or_sections
        sections = [min(size, length - start) for start in range(0, length, size)]
    else:
        sections = list(split_size_or_sections)
        if sum(sections) != length or min(sections, default=0) < 0:
            raise ValueError(
                f"split: split_size_or_sections: expected a sum of {length}, got {sections}"
            )
    before = (slice(None),) * (dim % tensor.ndim)
    ends = np.cumsum(sections)
    return [
        tensor[(*before, slice(int(end) - size, int(end)))]
        for end, size in zip(ends, sections, strict=True)
    ]


def chunk(input: Operand, chunks: int, dim: int = 0) -> list[Tensor]:
    """At most ``chunks`` pieces of equal length along ``dim``; the last may be shorter."""
    input = as_tensor(input)
    if chunks < 1:
        raise ValueError(f"chunk: chunks: expected at least 1, got {chunks}")
    return split(input, max(1, -(-input.shape[dim] // chunks)), dim)


def where(condition: Operand, input: Operand, other: Operand) -> Tensor:
    """``input`` where the condition holds, else ``other``; all three broadcast."""
    chosen = np.asarray(as_tensor(condition).data, dtype=bool)
    input, other = as_tensor(input), as_tensor(other)
    y = _choose(chosen, input.data, other.data)
    a, b = input.shape, other.shape

    def vjp(dy: Array) -> Gradients:
        return sum_to(_choose(chosen, dy, 0), a), sum_to(_choose(chosen, 0, dy), b)

    return Tensor.record(y, (input, other), vjp)


def _choose(chosen: Array, a: Array | int, b: Array | int) -> Array:
    shapes = [x.shape for x in (chosen, a, b) if isinstance(x, np.ndarray)]
    y = empty(np.broadcast_shapes(*shapes), np.result_type(a, b))
    np.copyto(y, b)
    np.copyto(y, a, where=chosen)
    return y


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of each pair; equal ones share the gradient."""
    return _extreme(np.maximum, input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of each pair; equal ones share the gradient."""
    return _extreme(np.minimum, input, other)


def _extreme(choose: np.ufunc, input: Operand, other: Operand) -> Tensor:
    input, other = as_tensor(input), as_tensor(other)
    a, b = input.data, other.data
    y = np.asarray(choose(a, b))

    def vjp(dy: Array) -> Gradients:
        share = np.where(a == b, 0.5, a == y)
        return sum_to(dy * share, a.shape), sum_to(dy * (1 - share), b.shape)

    return Tensor.record(y, (input, other), vjp)
