"""Tensors and the tape.

A :class:`Tensor` wraps a NumPy array. An operation on tensors records one node with a function that
turns the gradient of its output into those of its inputs; :meth:`Tensor.backward` walks the nodes
from the newest to the oldest.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import lamina
from lamina import _kernels, tape
from lamina.tape import FLOATS, Gradients, Node, is_grad_enabled

Array = npt.NDArray[Any]
ArrayLike = npt.ArrayLike
Number = int | float
Index = int | slice | EllipsisType | None | Array | Sequence[int] | tuple[Any, ...]

# Outputs from this many numbers on come from recycled memory, whose pages are already there.
_RECYCLED = 16_384
# Operands from this many numbers on are worth a kernel that repeats them over another.
_REPEATED = 64
_THREADED: dict[np.ufunc, Callable[[Array, Array], Array]] = {
    np.add: _kernels.arithmetic_add,
    np.subtract: _kernels.arithmetic_subtract,
    np.multiply: _kernels.arithmetic_multiply,
}


class Tensor:
    """A NumPy array that remembers how it was computed.

    Args:
        data: whatever NumPy makes an array of; Python floats become float32, arrays keep their
            type.
        requires_grad: whether :meth:`backward` leaves the gradient in :attr:`grad`, a NumPy array.
    """

    __slots__ = ("__weakref__", "_index", "_node", "data", "grad", "requires_grad")
    # NumPy's operators leave `array + tensor` to the tensor.
    __array_priority__ = 1000
    __array_ufunc__ = None

    data: Array
    grad: Array | None
    requires_grad: bool
    _node: Node | None
    _index: int

    def __init__(self, data: "ArrayLike | Tensor", requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.data
        array = np.asarray(data)
        if array.dtype == np.float64 and not isinstance(data, np.ndarray | np.generic):
            array = array.astype(np.float32)
        if array.dtype == object or array.dtype.kind not in "biuf":
            raise TypeError(f"Tensor: data: expected numbers, got {array.dtype} array")
        if requires_grad and array.dtype.kind != "f":
            raise TypeError(f"Tensor: requires_grad: expected floating data, got {array.dtype}")
        self.data = array
        self.grad = None
        self.requires_grad = requires_grad
        self._node = None
        self._index = 0

    @staticmethod
    def record(
        data: Array, parents: "Sequence[Tensor | None]", vjp: Callable[[Array], Gradients]
    ) -> "Tensor":
        """The output ``data`` of an operation on ``parents``.

        ``vjp`` maps the gradient of the output to one gradient for each parent, or ``None`` for a
        parent that has none. It must keep arrays, not tensors, whose data may change.
        """
        out = _wrap(data)
        if is_grad_enabled():
            for parent in parents:
                if parent is not None and parent.requires_grad:
                    out.requires_grad = True
                    out._node = Node(parents, vjp, 1)
                    break
        return out

    @staticmethod
    def record_all(
        outputs: Sequence[Array],
        parents: "Sequence[Tensor | None]",
        vjp: Callable[..., Gradients],
    ) -> "tuple[Tensor, ...]":
        """Like :meth:`record` for several outputs.

        ``vjp`` takes one gradient for each, ``None`` for an output the result does not depend on.
        """
        tensors = tuple(_wrap(data) for data in outputs)
        if is_grad_enabled() and any(p is not None and p.requires_grad for p in parents):
            node = Node(parents, vjp, len(tensors))
            for index, tensor in enumerate(tensors):
                tensor.requires_grad = True
                tensor._node = node
                tensor._index = index
        return tensors

    def backward(self, gradient: ArrayLike | None = None, *, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to :attr:`grad` of every leaf it was computed from.

        Args:
            gradient: gradient of this tensor; needed unless it holds a single number.
            retain_graph: keep what a second call needs; without it the memory is released.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this tensor does not depend on one that requires a gradient"
            )
        if gradient is None:
            if self.data.size != 1:
                raise RuntimeError(
                    f"backward: gradient: expected for a tensor of shape {self.shape}, got none"
                )
            dy = np.ones_like(self.data)
        else:
            dy = np.asarray(gradient, dtype=self.data.dtype)
            if dy.shape != self.data.shape:
                raise ValueError(f"backward: gradient: expected shape {self.shape}, got {dy.shape}")
        tape.backward(self, dy, retain_graph)

    # Views of the data.

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.data.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._node is None

    def numel(self) -> int:
        """Number of elements."""
        return self.data.size

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def item(self) -> Any:
        """The only element as a Python number."""
        return self.data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.data.tolist()

    def detach(self) -> "Tensor":
        """The same data, cut off from the tape."""
        return _wrap(self.data)

    def clone(self) -> "Tensor":
        """A copy of the data that gradients flow through."""
        return Tensor.record(_copy(self.data, self.data.dtype), (self,), lambda dy: (dy,))

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set :attr:`requires_grad` of a leaf in place."""
        if self._node is not None:
            raise RuntimeError("requires_grad_: only a leaf can change, use detach()")
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"requires_grad_: expected floating data, got {self.data.dtype}")
        self.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def to(self, dtype: npt.DTypeLike) -> "Tensor":
        """The data as another type; gradients come back in this one."""
        source = self.data.dtype
        data = _copy(self.data, np.dtype(dtype))
        if data.dtype.kind != "f":
            return _wrap(data)
        return Tensor.record(data, (self,), lambda dy: (_copy(dy, source),))

    def float(self) -> "Tensor":
        """As float32."""
        return self.to(np.float32)

    def double(self) -> "Tensor":
        """As float64."""
        return self.to(np.float64)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self.data)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> Any:
        return float(self.data)

    def __int__(self) -> int:
        return int(self.data)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        dtype = "" if self.data.dtype == np.float32 else f", dtype={self.data.dtype}"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}{dtype}{grad})"

    # Arithmetic, broadcast as in NumPy.

    def __add__(self, other: "Operand") -> "Tensor":
        other = self._operand(other)
        a, b = self.data.shape, other.data.shape
        return Tensor.record(
            _apply(np.add, self.data, other.data),
            (self, other),
            lambda dy: (sum_to(dy, a), sum_to(dy, b)),
        )

    def __sub__(self, other: "Operand") -> "Tensor":
        other = self._operand(other)
        a, b = self.data.shape, other.data.shape
        needs = other.requires_grad
        return Tensor.record(
            _apply(np.subtract, self.data, other.data),
            (self, other),
            lambda dy: (sum_to(dy, a), sum_to(_apply_unary(np.negative, dy), b) if needs else None),
        )

    def __mul__(self, other: "Operand") -> "Tensor":
        other = self._operand(other)
        a, b = self.data, other.data
        needs = self.requires_grad, other.requires_grad
        return Tensor.record(
            _apply(np.multiply, a, b),
            (self, other),
            lambda dy: (
                sum_to(_apply(np.multiply, dy, b), a.shape) if needs[0] else None,
                sum_to(_apply(np.multiply, dy, a), b.shape) if needs[1] else None,
            ),
        )

    def __truediv__(self, other: "Operand") -> "Tensor":
        other = self._operand(other)
        a, b = self.data, other.data
        y = _apply(np.divide, a, b)
        needs = self.requires_grad, other.requires_grad

        def vjp(dy: Array) -> Gradients:
            da = _apply(np.divide, dy, b)
            return (
                sum_to(da, a.shape) if needs[0] else None,
                sum_to(_apply_unary(np.negative, _apply(np.multiply, da, y)), b.shape)
                if needs[1]
                else None,
            )

        return Tensor.record(y, (self, other), vjp)

    def __pow__(self, other: "Operand") -> "Tensor":
        other = self._operand(other)
        a, b = self.data, other.data
        y = _apply(np.power, a, b)
        needs = self.requires_grad, other.requires_grad

        def vjp(dy: Array) -> Gradients:
            da = db = None
            if needs[0]:
                slope = _apply(np.power, a, np.where(b == 0, 1, b - 1).astype(b.dtype))
                slope = _apply(np.multiply, slope, b)
                # A power of zero has derivative zero, also where the base is zero.
                np.copyto(slope, 0, where=b == 0)
                da = sum_to(_apply(np.multiply, slope, dy), a.shape)
            if needs[1]:
                log = np.log(np.where(a > 0, a, 1))
                db = sum_to(dy * y * log, b.shape)
            return da, db

        return Tensor.record(y, (self, other), vjp)

    def __neg__(self) -> "Tensor":
        y = _apply_unary(np.negative, self.data)
        return Tensor.record(y, (self,), lambda dy: (_apply_unary(np.negative, dy),))

    def __radd__(self, other: "Operand") -> "Tensor":
        return self + other

    def __rsub__(self, other: "Operand") -> "Tensor":
        return self._operand(other) - self

    def __rmul__(self, other: "Operand") -> "Tensor":
        return self * other

    def __rtruediv__(self, other: "Operand") -> "Tensor":
        return self._operand(other) / self

    def __rpow__(self, other: "Operand") -> "Tensor":
        return self._operand(other) ** self

    def __eq__(self, other: object) -> "Tensor":  # type: ignore[override]
        return _wrap(np.asarray(self.data == _data(other)))

    def __ne__(self, other: object) -> "Tensor":  # type: ignore[override]
        return _wrap(np.asarray(self.data != _data(other)))

    def __lt__(self, other: "Operand") -> "Tensor":
        return _wrap(np.asarray(self.data < _data(other)))

    def __le__(self, other: "Operand") -> "Tensor":
        return _wrap(np.asarray(self.data <= _data(other)))

    def __gt__(self, other: "Operand") -> "Tensor":
        return _wrap(np.asarray(self.data > _data(other)))

    def __ge__(self, other: "Operand") -> "Tensor":
        return _wrap(np.asarray(self.data >= _data(other)))

    def _operand(self, other: "Operand") -> "Tensor":
        if isinstance(other, Tensor):
            return other
        if isinstance(other, int | float) and self.data.dtype.kind == "f":
            # A Python number does not change the type of the result.
            return _wrap(np.asarray(other, dtype=self.data.dtype))
        return Tensor(other)

    # Element-wise functions.

    def abs(self) -> "Tensor":
        """Absolute values; gradient zero at zero."""
        x = self.data
        return Tensor.record(
            _apply_unary(np.abs, x),
            (self,),
            lambda dy: (_apply(np.multiply, dy, _apply_unary(np.sign, x)),),
        )

    def sqrt(self) -> "Tensor":
        """Square roots."""
        y = _apply_unary(np.sqrt, self.data)
        half = np.asarray(0.5, y.dtype)
        return Tensor.record(
            y, (self,), lambda dy: (_apply(np.divide, _apply(np.multiply, dy, half), y),)
        )

    def log(self) -> "Tensor":
        """Natural logarithms."""
        return lamina.ops.log(self)

    def exp(self) -> "Tensor":
        """Powers of e."""
        return lamina.ops.exp(self)

    def tanh(self) -> "Tensor":
        """Hyperbolic tangents."""
        return lamina.ops.tanh(self)

    def sigmoid(self) -> "Tensor":
        """Logistic functions."""
        return lamina.ops.sigmoid(self)

    def relu(self) -> "Tensor":
        """Positive parts."""
        return lamina.ops.relu(self)

    def softmax(self, dim: int) -> "Tensor":
        """Shares of the exponentials over the axis ``dim``."""
        return lamina.ops.softmax(self, dim)

    def clamp(self, min: Number | None = None, max: Number | None = None) -> "Tensor":
        """Values moved into ``[min, max]``; gradient zero outside."""
        x = self.data
        if x.dtype in FLOATS:
            y = empty(x.shape, x.dtype)
            np.clip(x, min, max, out=y)
        else:
            y = np.clip(x, min, max)
        return Tensor.record(y, (self,), lambda dy: (_apply(np.multiply, dy, _equal(x, y)),))

    # Reductions. `dim` is an axis, several, or all where it is None.

    def sum(self, dim: "Axes" = None, keepdim: bool = False) -> "Tensor":
        """Sum over the axes ``dim``."""
        shape = self.data.shape
        dtype = self.data.dtype if self.data.dtype.kind == "f" else None
        y = np.asarray(self.data.sum(axis=dim, keepdims=keepdim, dtype=dtype))
        return Tensor.record(y, (self,), lambda dy: (_spread(dy, shape, dim, keepdim),))

    def mean(self, dim: "Axes" = None, keepdim: bool = False) -> "Tensor":
        """Mean over the axes ``dim``."""
        y = self.sum(dim, keepdim)
        return y * (y.size / max(self.size, 1)) if self.size else y * np.nan

    def var(self, dim: "Axes" = None, correction: int = 1, keepdim: bool = False) -> "Tensor":
        """Variance over ``dim``, divided by the count less ``correction``."""
        centred = self - self.mean(dim, keepdim=True)
        squares = (centred * centred).sum(dim, keepdim)
        count = self.size / max(squares.size, 1)
        return squares / max(count - correction, 0)

    def std(self, dim: "Axes" = None, correction: int = 1, keepdim: bool = False) -> "Tensor":
        """Square root of the variance."""
        return self.var(dim, correction, keepdim).sqrt()

    def max(self, dim: "Axes" = None, keepdim: bool = False) -> "Tensor":
        """Largest values; several equal ones share the gradient."""
        return self._extreme(np.max, dim, keepdim)

    def min(self, dim: "Axes" = None, keepdim: bool = False) -> "Tensor":
        """Smallest values; several equal ones share the gradient."""
        return self._extreme(np.min, dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        """Index of the first largest value."""
        return _wrap(np.asarray(np.argmax(self.data, axis=dim, keepdims=keepdim)))

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        """Index of the first smallest value."""
        return _wrap(np.asarray(np.argmin(self.data, axis=dim, keepdims=keepdim)))

    def _extreme(self, reduce: Callable[..., Any], dim: "Axes", keepdim: bool) -> "Tensor":
        x = self.data
        y = np.asarray(reduce(x, axis=dim, keepdims=keepdim))

        def vjp(dy: Array) -> Gradients:
            chosen = _equal(x, _spread(y, x.shape, dim, keepdim))
            count = chosen.sum(axis=dim, keepdims=True, dtype=np.float64)
            spread = dy if dim is None or keepdim else np.expand_dims(dy, dim)
            return (_apply(np.multiply, chosen, (spread / count).astype(x.dtype)),)

        return Tensor.record(y, (self,), vjp)

    # Shapes.

    def reshape(self, *shape: "int | Sequence[int]") -> "Tensor":
        """The same values in another shape; one length may be -1."""
        before = self.data.shape
        y = _reshape(self.data, _flat(shape))
        return Tensor.record(y, (self,), lambda dy: (_reshape(dy, before),))

    def view(self, *shape: "int | Sequence[int]") -> "Tensor":
        """PyTorch's other name of :meth:`reshape`."""
        return self.reshape(*shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> "Tensor":
        """Axes ``start_dim`` to ``end_dim`` merged into one."""
        shape = self.data.shape or (1,)
        start, end = range(len(shape))[start_dim], range(len(shape))[end_dim]
        merged = int(np.prod(shape[start : end + 1], dtype=np.intp))
        return self.reshape(*shape[:start], merged, *shape[end + 1 :])

    def permute(self, *dims: "int | Sequence[int]") -> "Tensor":
        """Axes in another order."""
        order = _flat(dims)
        y = self.data.transpose(order)
        back = np.argsort([d % len(order) for d in order])
        return Tensor.record(y, (self,), lambda dy: (dy.transpose(back),))

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Two axes swapped."""
        y = self.data.swapaxes(dim0, dim1)
        return Tensor.record(y, (self,), lambda dy: (dy.swapaxes(dim0, dim1),))

    @property
    def T(self) -> "Tensor":  # noqa: N802 - NumPy's name
        """Axes in reverse order."""
        return self.permute(*reversed(range(self.ndim)))

    def squeeze(self, dim: "Axes" = None) -> "Tensor":
        """Axes of length one removed: all of them or ``dim``; longer ones stay."""
        shape = self.data.shape
        if dim is None:
            return self.reshape([n for n in shape if n != 1])
        dims = {d % self.ndim for d in ((dim,) if isinstance(dim, int) else dim)}
        return self.reshape([n for i, n in enumerate(shape) if n != 1 or i not in dims])

    def unsqueeze(self, dim: int) -> "Tensor":
        """An axis of length one put in at ``dim``."""
        before = self.data.shape
        y = np.expand_dims(self.data, dim)
        return Tensor.record(y, (self,), lambda dy: (dy.reshape(before),))

    def expand(self, *shape: "int | Sequence[int]") -> "Tensor":
        """Axes of length one repeated without a copy; -1 keeps a length."""
        wanted = _flat(shape)
        kept = (*[1] * (len(wanted) - self.ndim), *self.data.shape)
        target = tuple(k if n == -1 else n for n, k in zip(wanted, kept, strict=True))
        before = self.data.shape
        y = np.broadcast_to(self.data, target)
        return Tensor.record(y, (self,), lambda dy: (sum_to(dy, before),))

    def __getitem__(self, index: "Index | Tensor") -> "Tensor":
        key = _index_key(index)
        x = self.data
        y = np.asarray(x[key])

        def vjp(dy: Array) -> Gradients:
            dx = empty(x.shape, x.dtype)
            dx.fill(0)
            if _is_basic(key):
                dx[key] = dy
            else:
                np.add.at(dx, key, dy)
            return (dx,)

        return Tensor.record(y, (self,), vjp)

    def __matmul__(self, other: "Operand") -> "Tensor":
        return lamina.ops.matmul(self, self._operand(other))

    def __rmatmul__(self, other: "Operand") -> "Tensor":
        return self._operand(other) @ self


Operand = Tensor | ArrayLike
Axes = int | tuple[int, ...] | None


def as_tensor(x: Operand) -> Tensor:
    """``x`` itself where it is a tensor, else a tensor around it."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _wrap(data: Array) -> Tensor:
    """A tensor around an array that is known to be good."""
    out = Tensor.__new__(Tensor)
    out.data = data
    out.grad = None
    out.requires_grad = False
    out._node = None
    out._index = 0
    return out


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of unspecified values, from recycled memory where that pays."""
    size = 1
    for length in shape:
        size *= length
    if size >= _RECYCLED and dtype in FLOATS:
        return _kernels.empty(shape, dtype.itemsize == 8)
    return np.empty(shape, dtype)


def _apply(ufunc: np.ufunc, a: Array, b: Array) -> Array:
    if a.dtype == b.dtype and a.dtype in FLOATS and max(a.size, b.size) >= _RECYCLED:
        shape = a.shape
        # The kernels repeat a `b` of the last axes, if it is more than a few numbers.
        if shape == b.shape or (b.size >= _REPEATED and shape[-b.ndim :] == b.shape):
            kernel = _THREADED.get(ufunc)
            if kernel is not None:
                return kernel(a, b)
        else:
            shape = np.broadcast_shapes(shape, b.shape)
        result: Array = ufunc(a, b, out=empty(shape, a.dtype))
        return result
    return np.asarray(ufunc(a, b))


def _apply_unary(ufunc: np.ufunc, x: Array) -> Array:
    if x.size >= _RECYCLED and x.dtype in FLOATS:
        result: Array = ufunc(x, out=empty(x.shape, x.dtype))
        return result
    return np.asarray(ufunc(x))


def _equal(a: Array, b: Array) -> Array:
    """One where ``a`` equals ``b``, which is no larger, else zero, in the type of ``a``."""
    return np.equal(a, b, out=empty(a.shape, a.dtype), casting="unsafe")


def _copy(x: Array, dtype: np.dtype[Any]) -> Array:
    y = empty(x.shape, dtype)
    np.copyto(y, x, casting="unsafe")
    return y


def _reshape(x: Array, shape: tuple[int, ...]) -> Array:
    # Axes in another order must be copied; others NumPy can often leave where they are.
    if x.size >= _RECYCLED and any(a < b for a, b in itertools.pairwise(x.strides)):
        x = _copy(x, x.dtype)
    return x.reshape(shape)


def _data(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _flat(shape: "Sequence[int | Sequence[int]]") -> tuple[int, ...]:
    if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        return tuple(shape[0])
    return tuple(shape)  # type: ignore[arg-type]


def _index_key(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_data(part) for part in index)
    return _data(index)


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(p is None or isinstance(p, int | np.integer | slice | EllipsisType) for p in parts)


def sum_to(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum of ``dy`` over the axes that broadcasting added or stretched."""
    if dy.shape == shape:
        return dy
    added = dy.ndim - len(shape)
    stretched = tuple(added + i for i, n in enumerate(shape) if n == 1 and dy.shape[added + i] != 1)
    return dy.sum(axis=(*range(added), *stretched), dtype=dy.dtype).reshape(shape)


def _spread(dy: Array, shape: tuple[int, ...], dim: Axes, keepdim: bool) -> Array:
    """``dy`` of a reduction over ``dim``, repeated over the reduced axes."""
    if dim is not None and not keepdim:
        dy = np.expand_dims(dy, dim)
    return np.broadcast_to(dy, shape)
