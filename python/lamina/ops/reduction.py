"""Sums, means, extremes and the like, over one axis, several, or all where ``dim`` is ``None``."""

from typing import Any, SupportsIndex

import numpy as np

from lamina import arrays
from lamina.arrays import Array, Dims, apply, axes, spread, total
from lamina.ops.selection import Selected, take
from lamina.tensor import Operand, Tensor, as_floating, as_tensor


def sum(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum over the axes ``dim``; integers add up to int64."""
    x = input if isinstance(input, Tensor) else Tensor(input)
    data = x.data
    shape = data.shape
    at: Any = dim
    if dim is not None and not (type(dim) is int and 0 <= dim < len(shape)):
        at = axes("sum", dim, len(shape))
    y = total(data, at, keepdim)
    return Tensor.record(y, (x,), lambda dy: (spread(dy, shape, at, keepdim),))


def mean(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Mean over the axes ``dim``; that of integers is float32."""
    x = as_tensor(input)
    shape = x.data.shape
    at = None if dim is None else axes("mean", dim, len(shape))
    y = total(x.data, at, keepdim)
    if y.dtype.kind != "f":
        y = y.astype(np.float32)
    count = _count(x.data, y)
    if count:
        np.divide(y, count, out=y)
    else:
        y.fill(np.nan)

    def vjp(dy: Array) -> tuple[Array]:
        return (spread(np.asarray(dy / (count or 1)), shape, at, keepdim),)

    return Tensor.record(y, (x,), vjp)


def _count(x: Array, y: Array) -> int:
    """How many elements of ``x`` make one of ``y``."""
    return x.size // y.size if y.size else 0


def var(input: Operand, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Variance over ``dim``, divided by the count less ``correction``."""
    x = as_floating(input)
    at = axes("var", dim, x.ndim)
    centred, y, count = _moments(x.data, at, correction, keepdim)
    shape = centred.shape

    def vjp(dy: Array) -> tuple[Array]:
        slope = apply(np.divide, apply(np.add, dy, dy), count)
        return (apply(np.multiply, centred, spread(slope, shape, at, keepdim)),)

    return Tensor.record(y, (x,), vjp)


def std(input: Operand, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Square root of the variance; gradient zero where all values are equal."""
    x = as_floating(input)
    at = axes("std", dim, x.ndim)
    centred, variance, count = _moments(x.data, at, correction, keepdim)
    y = arrays.silent_unary(np.sqrt, variance)
    shape = centred.shape

    def vjp(dy: Array) -> tuple[Array]:
        slope = apply(np.divide, dy, apply(np.multiply, y, count))
        slope[y == 0] = 0
        return (apply(np.multiply, centred, spread(slope, shape, at, keepdim)),)

    return Tensor.record(y, (x,), vjp)


def _moments(x: Array, at: Any, correction: int, keepdim: bool) -> tuple[Array, Array, Array]:
    """Differences from the mean, the variance, and what its sum was divided by."""
    means = total(x, at, True)
    count = _count(x, means)
    centred = apply(np.subtract, x, apply(np.divide, means, np.asarray(count, means.dtype)))
    squares = total(apply(np.multiply, centred, centred), at, keepdim)
    left = np.asarray(count - correction if count > correction else 0, x.dtype)
    return centred, apply(np.divide, squares, left), left


def amax(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest values over ``dim``; several equal ones share the gradient."""
    return _extreme("amax", np.maximum, input, dim, keepdim)


def amin(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest values over ``dim``; several equal ones share the gradient."""
    return _extreme("amin", np.minimum, input, dim, keepdim)


def max(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Any:
    """The largest value, or ``(values, indices)`` over one axis: the first ones of equals.

    Without ``dim``, several equal ones share the gradient; with it, the first has all of it.
    """
    if dim is None:
        return _extreme("amax", np.maximum, input, None, keepdim)
    return _first(input, argmax(input, dim, True), dim, keepdim)


def min(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Any:
    """The smallest value, or ``(values, indices)`` over one axis: the first ones of equals.

    Without ``dim``, several equal ones share the gradient; with it, the first has all of it.
    """
    if dim is None:
        return _extreme("amin", np.minimum, input, None, keepdim)
    return _first(input, argmin(input, dim, True), dim, keepdim)


def _first(input: Operand, indices: Tensor, dim: SupportsIndex, keepdim: bool) -> Selected:
    values = take(input, indices.data, dim)
    if keepdim or not values.ndim:
        return Selected(values, indices)
    return Selected(values.squeeze(dim), indices.squeeze(dim))


def _extreme(op: str, ufunc: np.ufunc, input: Operand, dim: Dims, keepdim: bool) -> Tensor:
    x = as_tensor(input)
    data = x.data
    at = axes(op, dim, data.ndim)
    y = np.asarray(ufunc.reduce(data, axis=at, keepdims=keepdim))

    def vjp(dy: Array) -> tuple[Array]:
        extremes = spread(y, data.shape, at, keepdim)
        chosen = arrays.equal(data, extremes)
        if np.isnan(y).any():
            # NaN is no less than anything, and equals nothing.
            np.copyto(chosen, 1, where=np.isnan(data))
        count = np.asarray(chosen.sum(axis=at, keepdims=True, dtype=np.float64))
        dy = dy if at is None or keepdim else np.expand_dims(dy, at)
        return (apply(np.multiply, chosen, np.asarray(dy / count, data.dtype)),)

    return Tensor.record(y, (x,), vjp)


def prod(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Tensor:
    """Product over all elements or the axis ``dim``; that of integers is int64."""
    x = as_tensor(input)
    data = x.data
    at = axes("prod", dim, data.ndim)
    if isinstance(at, tuple):
        raise TypeError(f"prod: dim: expected one axis or none, got {dim}")
    y = arrays.product(data, at, keepdim)

    def vjp(dy: Array) -> tuple[Array]:
        # The others' product at each place, without a division: some may be zero.
        rows = data.reshape(-1) if at is None else np.moveaxis(data, at, -1)
        ones = np.ones((*rows.shape[:-1], 1), rows.dtype)
        before = np.concatenate([ones, rows[..., :-1]], -1)
        after = np.concatenate([ones, rows[..., :0:-1]], -1)
        others = apply(
            np.multiply,
            arrays.accumulated(np.multiply, before, -1),
            arrays.accumulated(np.multiply, after, -1)[..., ::-1],
        )
        others = others.reshape(data.shape) if at is None else np.moveaxis(others, -1, at)
        return (apply(np.multiply, others, spread(dy, data.shape, at, keepdim)),)

    return Tensor.record(y, (x,), vjp)


def norm(input: Operand, p: float | str = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """``(sum |x|^p)^(1/p)`` over ``dim``.

    Args:
        input: any shape.
        p: the order; ``float("inf")`` and its negative for the largest and smallest magnitude, 0
            for the count of elements that are not zero, ``"fro"`` for 2.
        dim: axes.
        keepdim: whether these stay, with length one.
    """
    order = 2.0 if p == "fro" else float(p)
    x = as_floating(input)
    if order == 0:
        return Tensor(total((x.data != 0).astype(x.dtype), axes("norm", dim, x.ndim), keepdim))
    if np.isinf(order):
        return (amax if order > 0 else amin)(x.abs(), dim, keepdim)
    data = x.data
    at = axes("norm", dim, data.ndim)
    sizes = np.abs(data)
    exponent = np.asarray(order, data.dtype)
    y = apply(np.power, total(apply(np.power, sizes, exponent), at, keepdim), 1 / exponent)
    y = np.asarray(y, data.dtype)

    def vjp(dy: Array) -> tuple[Array]:
        norms = spread(y, data.shape, at, keepdim)
        slope = np.asarray(apply(np.power, apply(np.divide, sizes, norms), exponent - 1))
        # The smallest of the slopes there, as in PyTorch; a quotient would be NaN.
        slope[sizes == 0] = 0
        slope = apply(np.multiply, slope, np.sign(data))
        return (apply(np.multiply, slope, spread(dy, data.shape, at, keepdim)),)

    return Tensor.record(y, (x,), vjp)


def logsumexp(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Logarithm of the sum of the exponentials over ``dim``, without their overflow."""
    x = as_floating(input)
    data = x.data
    at = axes("logsumexp", dim, data.ndim)
    largest = np.asarray(np.max(data, axis=at, keepdims=True, initial=-np.inf))
    largest[~np.isfinite(largest)] = 0
    sums = total(arrays.silent_unary(np.exp, apply(np.subtract, data, largest)), at, True)
    y = np.asarray(arrays.silent_unary(np.log, sums)) + largest
    if not keepdim:
        y = np.squeeze(y, at) if at is not None else y.reshape(())

    def vjp(dy: Array) -> tuple[Array]:
        shares = arrays.silent_unary(
            np.exp, apply(np.subtract, data, spread(y, data.shape, at, keepdim))
        )
        return (apply(np.multiply, shares, spread(dy, data.shape, at, keepdim)),)

    return Tensor.record(np.asarray(y), (x,), vjp)


def cumsum(input: Operand, dim: SupportsIndex) -> Tensor:
    """Sums of the elements up to each along ``dim``; integers add up to int64."""
    x = as_tensor(input)
    at = arrays.axis("cumsum", dim, x.ndim)
    if not x.ndim:
        return x.clone()
    wide = x.data if x.dtype.kind == "f" else x.data.astype(np.int64)

    def vjp(dy: Array) -> tuple[Array]:
        return (np.flip(arrays.accumulated(np.add, np.flip(dy, at), at), at),)

    return Tensor.record(arrays.accumulated(np.add, wide, at), (x,), vjp)


def argmax(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest value."""
    x = as_tensor(input).data
    return Tensor(np.asarray(np.argmax(x, axis=_one("argmax", dim, x.ndim), keepdims=keepdim)))


def argmin(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first smallest value."""
    x = as_tensor(input).data
    return Tensor(np.asarray(np.argmin(x, axis=_one("argmin", dim, x.ndim), keepdims=keepdim)))


def _one(op: str, dim: SupportsIndex | None, ndim: int) -> int | None:
    return None if dim is None or not ndim else arrays.axis(op, dim, ndim)


def any(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any element over ``dim`` is not zero."""
    x = as_tensor(input).data
    return Tensor(np.asarray(x.any(axis=axes("any", dim, x.ndim), keepdims=keepdim)))


def all(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether no element over ``dim`` is zero."""
    x = as_tensor(input).data
    return Tensor(np.asarray(x.all(axis=axes("all", dim, x.ndim), keepdims=keepdim)))
