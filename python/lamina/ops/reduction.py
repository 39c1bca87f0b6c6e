"""Sums, means, extremes and the like, over one axis, several, or all where ``dim`` is ``None``."""

import math
from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np

from lamina import _kernels, arrays
from lamina.arrays import Array, Dims, apply, axes, spread, total
from lamina.ops.selection import Selected, take, taken
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
    data = x.data
    shape = data.shape
    at = None if dim is None else axes("mean", dim, len(shape))
    run = arrays.neighbours(data, at)
    if run is not None:
        y = _kernels.reduction_mean(data, run, keepdim)
        count = data.size // y.size
    else:
        y = total(data, at, keepdim)
        if y.dtype.kind != "f":
            y = y.astype(np.float32)
        count = _count(data, y)
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
    y, left, scaled = _spread_of("var", x.data, at, correction, keepdim)

    def vjp(dy: Array) -> tuple[Array]:
        return (scaled(apply(np.divide, apply(np.add, dy, dy), left)),)

    return Tensor.record(y, (x,), vjp)


def std(input: Operand, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Square root of the variance; gradient zero where all values are equal."""
    x = as_floating(input)
    at = axes("std", dim, x.ndim)
    y, left, scaled = _spread_of("std", x.data, at, correction, keepdim)

    def vjp(dy: Array) -> tuple[Array]:
        slope = apply(np.divide, dy, apply(np.multiply, y, left))
        slope[y == 0] = 0
        return (scaled(slope),)

    return Tensor.record(y, (x,), vjp)


_SPREADS = {"var": _kernels.reduction_variance, "std": _kernels.reduction_deviation}


def _spread_of(
    op: str, x: Array, at: Any, correction: int, keepdim: bool
) -> tuple[Array, Array, Callable[[Array], Array]]:
    """The variance or its root, what its sum was divided by, and what multiplies the differences
    from the mean by a number for each variance.
    """
    dtype = x.dtype
    run = arrays.neighbours(x, at)
    if run is not None:
        shape = x.shape
        left = _left(math.prod(shape[run[0] : run[1]]), correction)
        means, y = _SPREADS[op](x, run, keepdim, left)
        return (
            y,
            np.asarray(left, dtype),
            lambda slope: _kernels.reduction_variance_backward(slope, x, means, run),
        )
    means = total(x, at, True)
    count = _count(x, means)
    centred = apply(np.subtract, x, apply(np.divide, means, np.asarray(count, dtype)))
    squares = total(apply(np.multiply, centred, centred), at, keepdim)
    divisor = np.asarray(_left(count, correction), dtype)
    variance = apply(np.divide, squares, divisor)
    return (
        variance if op == "var" else arrays.silent_unary(np.sqrt, variance),
        divisor,
        lambda slope: apply(np.multiply, centred, spread(slope, centred.shape, at, keepdim)),
    )


def _left(count: int, correction: int) -> int:
    """What squares are divided by."""
    return count - correction if count > correction else 0


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
    return _first("argmax", input, dim, keepdim)


def min(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Any:
    """The smallest value, or ``(values, indices)`` over one axis: the first ones of equals.

    Without ``dim``, several equal ones share the gradient; with it, the first has all of it.
    """
    if dim is None:
        return _extreme("amin", np.minimum, input, None, keepdim)
    return _first("argmin", input, dim, keepdim)


_PLACES = {
    "argmax": (np.argmax, _kernels.reduction_first_largest),
    "argmin": (np.argmin, _kernels.reduction_first_smallest),
}
_Forward = Callable[[Array, tuple[int, int], bool], Array]
_Backward = Callable[[Array, Array, Array, tuple[int, int]], Array]
_EXTREMES: dict[np.ufunc, _Forward] = {
    np.maximum: _kernels.reduction_largest,
    np.minimum: _kernels.reduction_smallest,
}


def _first(op: str, input: Operand, dim: SupportsIndex, keepdim: bool) -> Selected:
    x = as_tensor(input)
    data = x.data
    at = _one(op, dim, data.ndim)
    run = arrays.neighbours(data, at) if data.ndim else None
    if run is not None:
        largest, places = _PLACES[op][1](data, run, keepdim)
        return Selected(taken(x, largest, places, run[0], keepdim), Tensor(places))
    indices = np.asarray(_PLACES[op][0](data, axis=at, keepdims=True))
    values, firsts = take(x, indices, dim), Tensor(indices)
    if keepdim or not values.ndim:
        return Selected(values, firsts)
    return Selected(values.squeeze(dim), firsts.squeeze(dim))


def _extreme(op: str, ufunc: np.ufunc, input: Operand, dim: Dims, keepdim: bool) -> Tensor:
    x = as_tensor(input)
    data = x.data
    at = axes(op, dim, data.ndim)
    run = arrays.neighbours(data, at)
    if run is not None:
        backward = _kernels.reduction_extreme_backward
        return _reduced(x, run, keepdim, _EXTREMES[ufunc], backward)
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


def _reduced(
    x: Tensor, run: tuple[int, int], keepdim: bool, forward: _Forward, backward: _Backward
) -> Tensor:
    """What kernels make of axes that :func:`arrays.neighbours` found."""
    data = x.data
    y = forward(data, run, keepdim)
    return Tensor.record(y, (x,), lambda dy: (backward(dy, data, y, run),))


def prod(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Tensor:
    """Product over all elements or the axis ``dim``; that of integers is int64."""
    x = as_tensor(input)
    data = x.data
    at = axes("prod", dim, data.ndim)
    if isinstance(at, tuple):
        raise TypeError(f"prod: dim: expected one axis or none, got {dim}")
    y = arrays.product(data, at, keepdim)

    def vjp(dy: Array) -> tuple[Array]:
        run = arrays.neighbours(data, at)
        if run is not None:
            slope = apply(np.multiply, dy, y)
            if _divides(dy, y, slope):
                return (_kernels.reduction_product_backward(slope, data, run),)
        # The others' product at each place, without a division: some may be zero.
        rows, axis = (data.reshape(-1), 0) if at is None else (data, at % data.ndim)
        ones = np.ones([1 if i == axis else n for i, n in enumerate(rows.shape)], rows.dtype)
        most = (slice(None),) * axis
        before = arrays.accumulated(np.multiply, rows, axis)[(*most, slice(-1))]
        after = arrays.accumulated(np.multiply, rows, axis, True)[(*most, slice(1, None))]
        others = apply(
            np.multiply,
            np.concatenate([ones, before], axis),
            np.concatenate([after, ones], axis),
        ).reshape(data.shape)
        return (apply(np.multiply, others, spread(dy, data.shape, at, keepdim)),)

    return Tensor.record(y, (x,), vjp)


def _divides(dy: Array, y: Array, slope: Array) -> bool:
    """Whether ``slope``, which is ``dy * y``, over the factors of ``y`` has all its digits."""
    tiny = np.finfo(y.dtype).tiny
    normal, exact = (np.isfinite(x) & (np.abs(x) >= tiny) for x in (y, slope))
    return bool(np.all(normal & (exact | (dy == 0))))


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
    if order == 2:
        return _length(x, at, keepdim)
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


def _length(x: Tensor, at: Any, keepdim: bool) -> Tensor:
    """The norm of order 2."""
    data = x.data
    run = arrays.neighbours(data, at)
    y = arrays.length(data, at, keepdim)

    def vjp(dy: Array) -> tuple[Array]:
        slope = apply(np.divide, dy, y)
        # The smallest of the slopes there, as in PyTorch; a quotient would be NaN.
        slope[y == 0] = 0
        if run is None:
            return (apply(np.multiply, data, spread(slope, data.shape, at, keepdim)),)
        return (_kernels.reduction_norm_backward(slope, data, run),)

    return Tensor.record(y, (x,), vjp)


def logsumexp(input: Operand, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Logarithm of the sum of the exponentials over ``dim``, without their overflow."""
    x = as_floating(input)
    data = x.data
    at = axes("logsumexp", dim, data.ndim)
    run = arrays.neighbours(data, at)
    if run is not None:
        kernels = _kernels.reduction_logsumexp, _kernels.reduction_logsumexp_backward
        return _reduced(x, run, keepdim, *kernels)
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
        return (arrays.accumulated(np.add, np.ascontiguousarray(dy), at, True),)

    return Tensor.record(arrays.accumulated(np.add, wide, at), (x,), vjp)


def argmax(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest value."""
    return _place("argmax", input, dim, keepdim)


def argmin(input: Operand, dim: SupportsIndex | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first smallest value."""
    return _place("argmin", input, dim, keepdim)


def _place(op: str, input: Operand, dim: SupportsIndex | None, keepdim: bool) -> Tensor:
    x = as_tensor(input).data
    at = _one(op, dim, x.ndim)
    plain, kernel = _PLACES[op]
    run = arrays.neighbours(x, at)
    if run is not None:
        return Tensor(kernel(x, run, keepdim)[1])
    return Tensor(np.asarray(plain(x, axis=at, keepdims=keepdim)))


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
