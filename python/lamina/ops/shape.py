"""Padding, and integers as rows of zeros and one."""

import math
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from lamina import _kernels
from lamina.arrays import FLOATS
from lamina.ops.conv import integer, integers
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor, empty

_Slices = tuple[slice, ...]


def pad(
    input: Operand,
    pad: Sequence[SupportsIndex],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """``input`` with more numbers before and after its last axes.

    Args:
        input: any shape.
        pad: how many before and after the last axis, then before and after the one in front of it,
            and so on. A negative number cuts off, where the mode is constant.
        mode: ``"constant"``; ``"reflect"`` about the first and the last number, which are not
            repeated; ``"replicate"`` of these; ``"circular"`` from the other end.
        value: what a constant padding holds, 0 by default.
    """
    x = as_tensor(input)
    amounts = integers("pad", "pad", pad)
    if len(amounts) % 2 or len(amounts) > 2 * x.ndim:
        raise ValueError(
            f"pad: pad: expected a pair for each of at most {x.ndim} axes, got {list(amounts)}"
        )
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    if mode == "constant":
        return _constant(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], value or 0)
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(
            f"pad: mode: expected 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}"
        )
    if value is not None:
        raise ValueError(f"pad: value: expected none with mode {mode!r}, got {value}")
    for axis, (before, after) in enumerate(pairs, 1):
        if before or after:
            x = _along(x, x.ndim - axis, before, after, mode)
    return x


def _constant(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    shape, data = x.shape, x.data
    if any(n + before + after < 0 for n, (before, after) in zip(shape, pairs, strict=True)):
        raise ValueError(f"pad: pad: expected to cut off at most the shape {shape}, got {pairs}")
    back = [(-before, -after) for before, after in pairs]
    return Tensor.record(_padded(data, pairs, value), (x,), lambda dy: (_padded(dy, back, 0),))


def _padded(x: Array, pairs: list[tuple[int, int]], value: float) -> Array:
    if x.dtype in FLOATS:
        return _kernels.padded(x, pairs, value)
    inner = [slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, pairs, strict=True)]
    around = [(max(a, 0), max(b, 0)) for a, b in pairs]
    return np.pad(x[tuple(inner)], around, constant_values=np.asarray(value, x.dtype))


def _along(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    shape = x.shape
    n = shape[axis]
    # How much there is to copy: without the mirror itself, or any number of the outermost one.
    most = {"reflect": n - 1, "circular": n, "replicate": math.inf if n else 0}[mode]
    if not (0 <= before <= most and 0 <= after <= most):
        raise ValueError(
            f"pad: pad: expected 0 to {most} for an axis of length {n} with mode {mode!r}, "
            f"got {before} and {after}"
        )
    y = empty((*shape[:axis], before + n + after, *shape[axis + 1 :]), x.dtype)
    parts = _copies(n, before, after, mode)
    for to, source in parts:
        y[_at(axis, to)] = x.data[_at(axis, source)]

    def vjp(dy: Array) -> Gradients:
        (core, _), *edges = parts
        dx = dy[_at(axis, core)].copy()
        for to, source in edges:
            part = dy[_at(axis, to)]
            if mode == "replicate":
                part = part.sum(axis, keepdims=True, dtype=part.dtype)
            dx[_at(axis, source)] += part
        return (dx,)

    return Tensor.record(y, (x,), vjp)


def _copies(n: int, before: int, after: int, mode: str) -> list[tuple[slice, slice]]:
    """Where the numbers, what is before and what is after them go to and come from."""
    first, last = slice(0, before), slice(before + n, before + n + after)
    if mode == "reflect":
        left = slice(before, 0, -1)
        # A stop before the start has no index of its own.
        end = n - 2 - after
        right = slice(n - 2, end if end >= 0 else None, -1) if after else slice(0, 0)
    elif mode == "circular":
        left, right = slice(n - before, n), slice(0, after)
    else:
        left, right = slice(0, 1), slice(n - 1, n)
    return [(slice(before, before + n), slice(0, n)), (first, left), (last, right)]


def _at(axis: int, part: slice) -> _Slices:
    return (*[slice(None)] * axis, part)


def one_hot(input: Operand, num_classes: int = -1) -> Tensor:
    """Zeros, and a one at each of the class indices ``input``; int64.

    Args:
        input: integers of any shape ``[...]``, at least 0.
        num_classes: C; one more than the largest index where it is -1.

    Returns:
        ``[..., C]``.

    Raises:
        ValueError: an index is outside the classes.
        TypeError: ``input`` does not hold integers.
    """
    ids = as_tensor(input).data
    classes = integer("one_hot", "num_classes", num_classes)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"one_hot: input: expected integers, got {ids.dtype} array")
    if classes == -1:
        if not ids.size:
            raise ValueError("one_hot: num_classes: expected a number where input is empty, got -1")
        classes = int(ids.max()) + 1
    if classes < 1:
        raise ValueError(f"one_hot: num_classes: expected -1 or at least 1, got {num_classes}")
    if ids.size and not (ids.min() >= 0 and ids.max() < classes):
        raise ValueError(
            f"one_hot: input: expected indices from 0 to {classes - 1}, "
            f"got {ids.min()} to {ids.max()}"
        )
    y = np.zeros((*ids.shape, classes), np.int64)
    np.put_along_axis(y, ids[..., np.newaxis].astype(np.int64), 1, axis=-1)
    return Tensor(y)
