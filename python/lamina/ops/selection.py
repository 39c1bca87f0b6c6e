"""Elements chosen by their place, by a mask or by their order."""

import operator
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from lamina import _kernels, tape
from lamina.arrays import FLOATS, Array, axis, zeros
from lamina.ops.join import where
from lamina.tensor import Operand, Tensor, as_tensor


class Selected(NamedTuple):
    """Elements and where along their axis they were."""

    values: Tensor
    indices: Tensor


def select(x: Tensor, index: Any) -> Tensor:
    """``x[index]`` for an index with arrays in it."""
    data = x.data
    own = x.requires_grad and tape.is_grad_enabled()
    selects: Any = None
    if isinstance(index, tuple):
        key: Any = tuple([_part(p, own) for p in index])
        if {int, np.ndarray} <= {type(p) for p in key}:
            selects, key = _split(key, data.ndim)
    else:
        key = _part(index, own)
    shape, dtype = data.shape, data.dtype

    def vjp(dy: Array) -> tuple[Array]:
        dx = zeros(shape, dtype)
        target = dx if selects is None else dx[selects]
        # Places that integers name may come twice.
        if any(isinstance(p, np.ndarray) and p.dtype.kind != "b" for p in _parts(key)):
            np.add.at(target, key, dy)
        else:
            target[key] = dy
        return (dx,)

    y = data[key] if selects is None else data[selects][key]
    return Tensor.record(y if type(y) is np.ndarray else np.asarray(y), (x,), vjp)


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def write(x: Tensor, index: Any, value: Operand) -> None:
    """``x[index] = value``, where no gradient is lost by it."""
    given = isinstance(value, Tensor) and value.requires_grad
    if x._node is not None or (tape.is_grad_enabled() and (x.requires_grad or given)):
        raise RuntimeError(
            "a tensor that requires a gradient cannot be assigned to: use ops.where or "
            "masked_fill, or, for a leaf, assign inside lamina.no_grad()"
        )
    selects, rest = _split([_part(p, False) for p in _parts(index)], x.ndim)
    x.data[selects][rest] = value.data if isinstance(value, Tensor) else value
    tape.mark_changed((x,))


def _split(parts: Sequence[Any], ndim: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """An index in two steps: its integers, then the rest.

    In one step NumPy would count the integers as arrays, and put the axes of several arrays that
    stand apart in front.
    """
    used = 0
    for part in parts:
        if isinstance(part, np.ndarray):
            used += part.ndim if part.dtype == bool else 1
        elif part is not None and part is not Ellipsis:
            used += 1
    if used > ndim:
        raise IndexError(f"index: expected at most {ndim} axes, got {used}")
    selects: list[Any] = []
    rest: list[Any] = []
    for part in parts:
        if isinstance(part, int):
            selects.append(part)
            continue
        rest.append(part)
        if part is Ellipsis:
            selects += [slice(None)] * (ndim - used)
        elif isinstance(part, np.ndarray):
            selects += [slice(None)] * (part.ndim if part.dtype == bool else 1)
        elif part is not None:
            selects.append(slice(None))
    return (*selects, Ellipsis), tuple(rest)


def _part(part: Any, own: bool) -> Any:
    """Part of an index as NumPy reads it: an array of the caller's is copied to ``own`` it."""
    if type(part) is np.ndarray and part.ndim:
        return part.copy() if own else part
    if part is None or isinstance(part, slice | EllipsisType):
        return part
    array = np.asarray(part.data if isinstance(part, Tensor) else part)
    if array.ndim == 0 and array.dtype.kind in "iu":
        return int(array)
    if array.size == 0 and isinstance(part, list | tuple):
        return array.astype(np.intp)
    return array.copy() if own and not isinstance(part, list | tuple) else array


def take(input: Operand, indices: Array, dim: SupportsIndex) -> Tensor:
    """The elements that ``indices`` names along ``dim``, none of them twice."""
    x = as_tensor(input)
    data = x.data
    at = axis("take", dim, data.ndim)
    if not data.ndim:
        return x.clone()
    return taken(x, np.take_along_axis(data, indices, at), indices, at)


def taken(x: Tensor, y: Array, indices: Array, at: int, keepdim: bool = True) -> Tensor:
    """``y``, which is what ``indices`` name along an axis of ``x``, none of them twice."""
    shape, dtype = x.data.shape, x.data.dtype
    # The caller has the indices too, and may change them.
    kept = indices.copy() if x.requires_grad and tape.is_grad_enabled() else indices

    def vjp(dy: Array) -> tuple[Array]:
        places = kept
        if not keepdim:
            dy, places = np.expand_dims(dy, at), np.expand_dims(kept, at)
        if dtype in FLOATS:
            return (_kernels.gather_backward(dy, at, places, shape[at]),)
        dx = zeros(shape, dtype)
        np.put_along_axis(dx, places, dy, at)
        return (dx,)

    return Tensor.record(y, (x,), vjp)


def gather(input: Operand, dim: SupportsIndex, index: Operand) -> Tensor:
    """``y[i][j] = input[i][index[i][j]]`` for ``dim=1``, and so on for other axes.

    Args:
        input: any shape.
        dim: axis along which ``index`` counts.
        index: integers with the axes of ``input``, none longer than there but ``dim``.

    Raises:
        IndexError: an index is outside the axis.
        ValueError: the shapes do not fit.
    """
    x = as_tensor(input)
    data = x.data
    at = axis("gather", dim, data.ndim)
    ids = np.asarray(index.data if isinstance(index, Tensor) else index)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"gather: index: expected integers, got {ids.dtype} array")
    if ids.ndim != data.ndim or any(n > data.shape[i] for i, n in enumerate(ids.shape) if i != at):
        raise ValueError(f"gather: index: expected a shape within {data.shape}, got {ids.shape}")
    if not data.ndim:
        return x.clone()
    if x.requires_grad and tape.is_grad_enabled():
        # The caller has the index too, and may change it.
        ids = ids.copy()
    shape, dtype = data.shape, data.dtype
    if ids.shape[:at] + ids.shape[at + 1 :] == shape[:at] + shape[at + 1 :] and dtype in FLOATS:
        try:
            return _gather(x, at, ids.astype(np.int64, copy=False))
        except ValueError:
            pass  # What is outside is named below.
    if ids.size and not 0 <= ids.min() <= ids.max() < shape[at]:
        raise IndexError(
            f"gather: index: expected 0 to {shape[at] - 1}, got {ids.min()} to {ids.max()}"
        )
    key = list(np.ogrid[tuple(slice(n) for n in ids.shape)])
    key[at] = ids
    places = tuple(key)

    def vjp(dy: Array) -> tuple[Array]:
        dx = zeros(shape, dtype)
        np.add.at(dx, places, dy)
        return (dx,)

    return Tensor.record(data[places], (x,), vjp)


def _gather(x: Tensor, at: int, ids: Array) -> Tensor:
    """:func:`gather` for an index as long as ``x`` on all axes but ``at``."""
    n = x.data.shape[at]
    y = _kernels.gather_forward(x.data, at, ids)
    return Tensor.record(y, (x,), lambda dy: (_kernels.gather_backward(dy, at, ids, n),))


def masked_fill(input: Operand, mask: Operand, value: Operand) -> Tensor:
    """``value`` where the mask holds, else ``input``; all broadcast."""
    return where(mask, value, input)


def tril(input: Operand, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, up to a diagonal; zero above it."""
    return _triangle("tril", input, diagonal, True)


def triu(input: Operand, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, from a diagonal on; zero below it."""
    return _triangle("triu", input, diagonal, False)


def _triangle(op: str, input: Operand, diagonal: int, lower: bool) -> Tensor:
    x = as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"{op}: input: expected at least 2 axes, got shape {x.shape}")
    shape = x.data.shape
    if x.data.dtype not in FLOATS:
        kept = np.tri(shape[-2], shape[-1], diagonal if lower else diagonal - 1, dtype=bool)
        return where(kept if lower else ~kept, x, 0)
    # Diagonals farther off are alike.
    diagonal = max(-shape[-2] - 1, min(operator.index(diagonal), shape[-1] + 1))
    y = _kernels.triangle(x.data, diagonal, lower)
    return Tensor.record(y, (x,), lambda dy: (_kernels.triangle(dy, diagonal, lower),))


def argsort(input: Operand, dim: SupportsIndex = -1, descending: bool = False) -> Tensor:
    """Where the elements of :func:`sort` were."""
    x = as_tensor(input).data
    return Tensor(_order(x, axis("sort", dim, x.ndim), descending)[1])


def sort(input: Operand, dim: SupportsIndex = -1, descending: bool = False) -> Selected:
    """Elements in order along ``dim``, and where they were.

    Equal ones keep their order; NaN counts as larger than all.
    """
    x = as_tensor(input)
    return _first(x, axis("sort", dim, x.ndim), descending)


def topk(
    input: Operand, k: SupportsIndex, dim: SupportsIndex = -1, largest: bool = True
) -> Selected:
    """The ``k`` largest or smallest elements along ``dim``, in order, and where they were.

    Raises:
        ValueError: the axis is shorter than ``k``.
    """
    x = as_tensor(input)
    at, count = axis("topk", dim, x.ndim), operator.index(k)
    length = x.shape[at] if x.ndim else 1
    if not 0 <= count <= length:
        raise ValueError(f"topk: k: expected 0 to {length}, got {count}")
    return _first(x, at, largest, count)


def _first(x: Tensor, at: int, descending: bool, count: int | None = None) -> Selected:
    values, order = _order(x.data, at, descending, count)
    chosen = take(x, order, at) if values is None else taken(x, values, order, at)
    return Selected(chosen, Tensor(order))


def _order(
    x: Array, at: int, descending: bool, count: int | None = None
) -> tuple[Array | None, Array]:
    """Where the first ``count`` elements in order are, or all; before it their values, if known."""
    if not x.ndim:
        return None, np.zeros((), np.intp)
    length = x.shape[at]
    count = length if count is None else count
    if x.dtype in FLOATS:
        if at == x.ndim - 1:
            return _kernels.order_top(x, count, descending)
        values, order = _kernels.order_top(x.swapaxes(at, -1), count, descending)
        values, order = values.swapaxes(at, -1), order.swapaxes(at, -1)
        return np.ascontiguousarray(values), np.ascontiguousarray(order)
    if descending:
        # Backwards twice, so that equal ones keep their order.
        order = np.flip(np.argsort(np.flip(x, at), at, kind="stable"), at)
        order = length - 1 - order
    else:
        order = np.argsort(x, at, kind="stable")
    return None, order[(slice(None),) * at + (slice(count),)]
