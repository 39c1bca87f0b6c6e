"""Arrays: arithmetic on recycled memory, the type of a result, axes."""

import contextvars
import itertools
import math
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from lamina import _kernels

Array = npt.NDArray[Any]
Dims = SupportsIndex | Sequence[SupportsIndex] | None

# Types that the kernels compute with.
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# Outputs from this many numbers on come from recycled memory, whose pages are already there.
_RECYCLED = 16_384
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}


class _Silence(threading.local):
    """A context without NumPy's warnings; entering it costs a tenth of ``np.errstate``.

    Only compiled functions run in it: it cannot be entered twice, as a signal handler might.
    """

    def __init__(self) -> None:
        self.run = contextvars.copy_context().run
        self.run(np.seterr, all="ignore")


_silence = _Silence()
_MINUS = {dtype: np.array(-1, dtype) for dtype in FLOATS}
_add_reduce: Callable[..., Any] = np.add.reduce
_multiply_reduce: Callable[..., Any] = np.multiply.reduce

_THREADED: dict[np.ufunc, Callable[[Array, Array], Array]] = {
    np.add: _kernels.arithmetic_add,
    np.subtract: _kernels.arithmetic_subtract,
    np.multiply: _kernels.arithmetic_multiply,
    np.divide: _kernels.arithmetic_divide,
    np.maximum: _kernels.arithmetic_maximum,
    np.minimum: _kernels.arithmetic_minimum,
}


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of unspecified values, from recycled memory where that pays."""
    size = 1
    for length in shape:
        size *= length
    if size >= _RECYCLED and dtype in FLOATS:
        return _kernels.empty(shape, dtype.itemsize == 8)
    return np.empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros, from recycled memory where that pays."""
    x = empty(shape, dtype)
    x.fill(0)
    return x


def apply(ufunc: np.ufunc, a: Array, b: Array) -> Array:
    """``ufunc(a, b)`` as an array, on all threads where that pays.

    Infinities and NaN come as from the kernels: without a warning.
    """
    m, n = a.size, b.size
    large = m >= _RECYCLED or n >= _RECYCLED or (m * n >= _RECYCLED and _outgrows(a, b))
    if large and a.dtype == b.dtype and a.dtype in FLOATS:
        kernel = _THREADED.get(ufunc)
        if kernel is not None:
            return kernel(a, b)
        shape = a.shape if a.shape == b.shape else np.broadcast_shapes(a.shape, b.shape)
        return _silence.run(ufunc, a, b, out=empty(shape, a.dtype))
    y = _silence.run(ufunc, a, b)
    return y if type(y) is np.ndarray else np.asarray(y)


def _outgrows(a: Array, b: Array) -> bool:
    """Whether small arrays make a large one together."""
    shape, other = (a.shape, b.shape) if a.ndim >= b.ndim else (b.shape, a.shape)
    if shape == other:
        return False
    pairs = zip(shape[len(shape) - len(other) :], other, strict=True)
    inner = [n if m == 1 else m for n, m in pairs]
    return math.prod(shape[: len(shape) - len(other)]) * math.prod(inner) >= _RECYCLED


def negative(x: Array) -> Array:
    """``-x``, on all threads where that pays."""
    if x.size >= _RECYCLED and x.dtype in FLOATS:
        return _kernels.arithmetic_multiply(x, _MINUS[x.dtype])
    y = np.negative(x)
    return y if type(y) is np.ndarray else np.asarray(y)


def apply_unary(ufunc: np.ufunc, x: Array) -> Array:
    """``ufunc(x)`` as an array, for functions that are defined everywhere."""
    if x.size >= _RECYCLED and x.dtype in FLOATS:
        result: Array = ufunc(x, out=empty(x.shape, x.dtype))
        return result
    y = ufunc(x)
    return y if type(y) is np.ndarray else np.asarray(y)


def silent_unary(ufunc: np.ufunc, x: Array) -> Array:
    """:func:`apply_unary` for functions that have infinities and NaN."""
    if x.size >= _RECYCLED and x.dtype in FLOATS:
        return _silence.run(ufunc, x, out=empty(x.shape, x.dtype))
    y = _silence.run(ufunc, x)
    return y if type(y) is np.ndarray else np.asarray(y)


def equal(a: Array, b: Array) -> Array:
    """One where ``a`` equals ``b``, which is no larger, else zero, in the type of ``a``."""
    return np.equal(a, b, out=empty(a.shape, a.dtype), casting="unsafe")


def choose(mask: Array, a: Array, b: Array) -> Array:
    """``a`` where ``mask`` holds, else ``b``, on all threads where that pays; all broadcast."""
    if max(mask.size, a.size, b.size) >= _RECYCLED and a.dtype == b.dtype and a.dtype in FLOATS:
        return _kernels.arithmetic_choose(mask.view(np.uint8), a, b)
    return np.where(mask, a, b)


def copy(x: Array, dtype: np.dtype[Any]) -> Array:
    """A copy in another type, in C order."""
    if x.size >= _RECYCLED and x.dtype == dtype and dtype in FLOATS:
        return _kernels.copied(x)
    y = empty(x.shape, dtype)
    np.copyto(y, x, casting="unsafe")
    return y


def joined(parts: Sequence[Array], dim: int) -> Array | None:
    """Arrays one after the other along an axis; ``None`` where kernels do not pay or do not fit."""
    first = parts[0]
    if sum([p.size for p in parts]) < _RECYCLED or first.dtype not in FLOATS:
        return None
    if not -first.ndim <= dim < first.ndim:
        return None
    shape, at = first.shape, dim % first.ndim
    outer = math.prod(shape[:at])
    for part in parts:
        alike = part.shape[:at] == shape[:at] and part.shape[at + 1 :] == shape[at + 1 :]
        if not alike or part.dtype != first.dtype:
            return None
    y = _kernels.joined([p.reshape(outer, p.size // outer) for p in parts])
    return y.reshape(*shape[:at], sum([p.shape[at] for p in parts]), *shape[at + 1 :])


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """``x`` in another shape."""
    # Axes in another order must be copied; others NumPy can often leave where they are.
    if x.size >= _RECYCLED and any(a < b for a, b in itertools.pairwise(x.strides)):
        x = copy(x, x.dtype)
    return x.reshape(shape)


def total(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Sum over axes; integers add up to int64."""
    run = neighbours(x, dim)
    if run is not None:
        return _kernels.reduction_sum(x, run, keepdim)
    if x.dtype.kind == "u":
        x = x.astype(np.int64)
    y: Any = _silence.run(_add_reduce, x, dim, None, None, keepdim)
    return y if type(y) is np.ndarray else np.asarray(y)


def neighbours(x: Array, dim: Any) -> tuple[int, int] | None:
    """The first of the axes ``dim`` and the one after the last, for kernels that reduce over them.

    ``None`` where others lie between, where they are not neighbours in memory, and for nothing.
    """
    if x.dtype not in FLOATS or not x.size or not x.flags.c_contiguous:
        return None
    ndim = x.ndim
    if dim is None:
        return 0, ndim
    if type(dim) is int and ndim:
        dim %= ndim
        return dim, dim + 1
    dims = sorted(d % ndim for d in (dim if isinstance(dim, tuple) else (dim,)))
    if not dims or dims != [*range(dims[0], dims[0] + len(dims))]:
        return None
    return dims[0], dims[-1] + 1


def length(x: Array, dim: Any, keepdim: bool) -> Array:
    """Square roots of sums of squares over axes."""
    run = neighbours(x, dim)
    if run is not None:
        return _kernels.reduction_norm(x, run, keepdim)
    return silent_unary(np.sqrt, total(apply(np.multiply, x, x), dim, keepdim))


def product(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Product over an axis or all; integers give int64."""
    run = neighbours(x, dim)
    if run is not None:
        return _kernels.reduction_product(x, run, keepdim)
    if x.dtype.kind == "u":
        x = x.astype(np.int64)
    return np.asarray(_silence.run(_multiply_reduce, x, dim, None, None, keepdim))


def accumulated(ufunc: np.ufunc, x: Array, dim: int, reverse: bool = False) -> Array:
    """Sums or products of the elements up to each along an axis, or from each on."""
    run = neighbours(x, dim)
    if run is not None:
        return _kernels.reduction_scan(x, run[0], ufunc is np.multiply, reverse)
    if reverse:
        return np.flip(_silence.run(ufunc.accumulate, np.flip(x, dim), dim), dim)
    return _silence.run(ufunc.accumulate, x, dim)


def sum_to(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum of ``dy`` over the axes that broadcasting added or stretched."""
    if dy.shape == shape:
        return dy
    added = dy.ndim - len(shape)
    stretched = tuple(added + i for i, n in enumerate(shape) if n == 1 and dy.shape[added + i] != 1)
    return total(dy, (*range(added), *stretched)).reshape(shape)


def spread(dy: Array, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Array:
    """``dy`` of a reduction over ``dim``, repeated over the reduced axes."""
    if dim is not None and not keepdim:
        dy = np.expand_dims(dy, dim)
    return np.broadcast_to(dy, shape)


# The type of a result is PyTorch's: floats before integers before booleans, and what has no axes
# does not widen what has some.


def scalar(value: Any, dtype: np.dtype[Any]) -> Array:
    """A number beside an array of ``dtype``, whose type it takes unless its kind is above it."""
    array = np.asarray(value)
    # A Python integer beyond int64 is an object to NumPy.
    if _RANK.get(array.dtype.kind, 1) <= _RANK[dtype.kind]:
        return np.asarray(value, dtype=dtype)
    # float64 is what NumPy makes of Python's numbers, not what somebody asked for.
    return array.astype(np.float32) if isinstance(value, float) else array


def common_type(arrays: Sequence[Array]) -> np.dtype[Any]:
    """The type of a result of ``arrays``."""
    highest = max(_RANK[x.dtype.kind] for x in arrays)
    deciding = [x for x in arrays if _RANK[x.dtype.kind] == highest]
    return np.result_type(*(x.dtype for x in [x for x in deciding if x.ndim] or deciding))


def common(*arrays: Array) -> list[Array]:
    """The arrays in the type of their result."""
    dtype = common_type(arrays)
    return [x.astype(dtype, copy=False) for x in arrays]


def axis(op: str, dim: SupportsIndex, ndim: int) -> int:
    """``dim`` counted from the start; what has no axes takes 0 and -1, as in PyTorch."""
    index, count = operator.index(dim), ndim or 1
    if not -count <= index < count:
        raise np.exceptions.AxisError(f"{op}: dim: expected {-count} to {count - 1}, got {index}")
    return index % count


def axes(op: str, dim: Dims, ndim: int) -> int | tuple[int, ...] | None:
    """``dim`` as NumPy's ``axis``: one, several, or ``None`` for all, which no dims are too."""
    if dim is None:
        return None
    if isinstance(dim, int) and -ndim <= dim < ndim:
        return dim
    if not isinstance(dim, tuple | list):
        index = axis(op, dim, ndim)  # type: ignore[arg-type]
        return index if ndim else None
    dims = tuple(axis(op, d, ndim) for d in dim)
    if len(set(dims)) < len(dims):
        raise ValueError(f"{op}: dim: expected each axis once, got {tuple(dim)}")
    return dims if dims and ndim else None
