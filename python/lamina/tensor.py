"""Tensors and the tape.

A :class:`Tensor` wraps a NumPy array. An operation on tensors records one node with a function that
turns the gradient of its output into those of its inputs; :meth:`Tensor.backward` walks the nodes
from the newest to the oldest.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import lamina
from lamina import arrays, tape
from lamina.arrays import Array, Dims, apply, apply_unary, empty, negative, sum_to
from lamina.methods import Methods
from lamina.tape import Gradients, Node, state

__all__ = [
    "Array",
    "ArrayLike",
    "Index",
    "Operand",
    "Tensor",
    "as_tensor",
    "empty",
    "sum_to",
    "wrap",
]

ArrayLike = npt.ArrayLike
Index = int | slice | EllipsisType | None | Array | Sequence[int] | tuple[Any, ...]

_PYTHON_NUMBERS = (int, float)
_NUMBERS = (int, float, np.bool_, np.integer, np.floating)
# Indices that NumPy and PyTorch read alike, and that give a view.
_BASIC = frozenset({int, slice, EllipsisType, type(None)})


class Tensor(Methods):
    """A NumPy array that remembers how it was computed.

    Args:
        data: whatever NumPy makes an array of; Python floats become float32, arrays of any library
            keep their type.
        requires_grad: whether :meth:`backward` leaves the gradient in :attr:`grad`, a NumPy array.
    """

    __slots__ = ("__weakref__", "_changed", "_index", "_node", "data", "grad", "requires_grad")
    # NumPy's operators leave `array + tensor` to the tensor.
    __array_priority__ = 1000
    __array_ufunc__ = None

    data: Array
    grad: Array | None
    requires_grad: bool
    # Which output of which operation this is, and when its numbers were last changed in place.
    _node: Node | None
    _index: int
    _changed: int

    def __init__(self, data: "ArrayLike | Tensor", requires_grad: bool = False) -> None:
        # Most come as arrays of numbers, which need no look.
        array = data if type(data) is np.ndarray and data.dtype.kind in "fiu" else _numbers(data)
        if requires_grad and array.dtype.kind != "f":
            raise TypeError(f"Tensor: requires_grad: expected floating data, got {array.dtype}")
        self.data = array
        self.grad = None
        self.requires_grad = requires_grad
        self._node = None
        self._index = 0
        self._changed = 0

    @staticmethod
    def record(
        data: Array, parents: "Sequence[Tensor | None]", vjp: Callable[[Array], Gradients]
    ) -> "Tensor":
        """The output ``data`` of an operation on ``parents``.

        ``vjp`` maps the gradient of the output to one gradient for each parent, or ``None`` for a
        parent that has none. It must keep arrays, not tensors, whose data may change.
        """
        # As wrap does, without a call: every operation comes through here.
        out = _new(Tensor)
        out.data = data
        out.grad = None
        out.requires_grad = False
        out._node = None
        out._index = 0
        out._changed = 0
        if state.recording:
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
        tensors = tuple(wrap(data) for data in outputs)
        if state.recording and any(p is not None and p.requires_grad for p in parents):
            node = Node(parents, vjp, len(tensors))
            for index, tensor in enumerate(tensors):
                tensor.requires_grad = True
                tensor._node = node
                tensor._index = index
        return tensors

    def backward(self, gradient: ArrayLike | None = None, retain_graph: bool = False) -> None:
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
        return wrap(self.data)

    def clone(self) -> "Tensor":
        """A copy of the data that gradients flow through."""
        return Tensor.record(arrays.copy(self.data, self.data.dtype), (self,), lambda dy: (dy,))

    def contiguous(self) -> "Tensor":
        """The tensor itself where its data lies in order, else a copy."""
        return self if self.data.flags.c_contiguous else self.clone()

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
        source, target = self.data.dtype, np.dtype(dtype)
        if target.kind not in "biuf":
            raise TypeError(f"to: dtype: expected a type of real numbers, got {target}")
        data = arrays.copy(self.data, target)
        if target.kind != "f":
            return wrap(data)
        return Tensor.record(data, (self,), lambda dy: (arrays.copy(dy, source),))

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
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __format__(self, spec: str) -> str:
        if self.data.ndim == 0 or (spec and self.data.size == 1):
            return format(self.data.item(), spec)
        return format(str(self), spec)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        dtype = "" if self.data.dtype == np.float32 else f", dtype={self.data.dtype}"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}{dtype}{grad})"

    # Arithmetic, broadcast as in NumPy, in the type that PyTorch gives the result.

    def __add__(self, other: "Operand") -> "Tensor":
        other, x, y = self._pair(other)
        z = apply(np.add, x, y)
        if not (state.recording and (self.requires_grad or other.requires_grad)):
            return wrap(z)
        a, b = x.shape, y.shape
        return Tensor.record(z, (self, other), lambda dy: (sum_to(dy, a), sum_to(dy, b)))

    def __sub__(self, other: "Operand") -> "Tensor":
        other, x, y = self._pair(other)
        a, b = x.shape, y.shape
        needs = other.requires_grad
        return Tensor.record(
            apply(np.subtract, x, y),
            (self, other),
            lambda dy: (sum_to(dy, a), sum_to(negative(dy), b) if needs else None),
        )

    def __mul__(self, other: "Operand") -> "Tensor":
        other, a, b = self._pair(other)
        needs = self.requires_grad, other.requires_grad
        return Tensor.record(
            apply(np.multiply, a, b),
            (self, other),
            lambda dy: (
                sum_to(apply(np.multiply, dy, b), a.shape) if needs[0] else None,
                sum_to(apply(np.multiply, dy, a), b.shape) if needs[1] else None,
            ),
        )

    def __truediv__(self, other: "Operand") -> "Tensor":
        other, a, b = self._pair(other)
        if a.dtype.kind != "f":
            a, b = a.astype(np.float32), b.astype(np.float32)
        y = apply(np.divide, a, b)
        needs = self.requires_grad, other.requires_grad

        def vjp(dy: Array) -> Gradients:
            da = apply(np.divide, dy, b)
            return (
                sum_to(da, a.shape) if needs[0] else None,
                sum_to(negative(apply(np.multiply, da, y)), b.shape) if needs[1] else None,
            )

        return Tensor.record(y, (self, other), vjp)

    def __pow__(self, other: "Operand") -> "Tensor":
        other, a, b = self._pair(other)
        needs = self.requires_grad, other.requires_grad
        if not b.ndim and b == 2 and not needs[1]:
            return Tensor.record(
                apply(np.multiply, a, a),
                (self,),
                lambda dy: (apply(np.multiply, dy, apply(np.add, a, a)),),
            )
        y = apply(np.power, a, b)

        def vjp(dy: Array) -> Gradients:
            da = db = None
            if needs[0]:
                slope = apply(np.power, a, np.where(b == 0, 1, b - 1).astype(b.dtype))
                slope = apply(np.multiply, slope, b)
                # A power of zero has derivative zero, also where the base is zero.
                np.copyto(slope, 0, where=b == 0)
                da = sum_to(apply(np.multiply, slope, dy), a.shape)
            if needs[1]:
                logs = np.log(np.where(a > 0, a, 1))
                db = sum_to(apply(np.multiply, apply(np.multiply, dy, y), logs), b.shape)
            return da, db

        return Tensor.record(y, (self, other), vjp)

    def __mod__(self, other: "Operand") -> "Tensor":
        other, a, b = self._pair(other)

        def vjp(dy: Array) -> Gradients:
            whole = apply(np.floor_divide, a, b)
            return sum_to(dy, a.shape), sum_to(-apply(np.multiply, dy, whole), b.shape)

        return Tensor.record(apply(np.remainder, a, b), (self, other), vjp)

    def __floordiv__(self, other: "Operand") -> "Tensor":
        # Steps have no slope: nothing is recorded.
        return wrap(apply(np.floor_divide, *self._pair(other)[1:]))

    def __neg__(self) -> "Tensor":
        y = negative(self.data)
        return Tensor.record(y, (self,), lambda dy: (negative(dy),))

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

    def __rmod__(self, other: "Operand") -> "Tensor":
        return self._operand(other) % self

    def __rfloordiv__(self, other: "Operand") -> "Tensor":
        return self._operand(other) // self

    def __matmul__(self, other: "Operand") -> "Tensor":
        return lamina.ops.matmul(self, self._operand(other))

    def __rmatmul__(self, other: "Operand") -> "Tensor":
        return self._operand(other) @ self

    add, sub, mul, div, pow, matmul = __add__, __sub__, __mul__, __truediv__, __pow__, __matmul__

    def __invert__(self) -> "Tensor":
        return wrap(apply_unary(np.invert, self.data))

    def __and__(self, other: "Operand") -> "Tensor":
        return wrap(apply(np.bitwise_and, *self._pair(other)[1:]))

    def __or__(self, other: "Operand") -> "Tensor":
        return wrap(apply(np.bitwise_or, *self._pair(other)[1:]))

    def __xor__(self, other: "Operand") -> "Tensor":
        return wrap(apply(np.bitwise_xor, *self._pair(other)[1:]))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __eq__(self, other: object) -> "Tensor":  # type: ignore[override]
        return wrap(np.asarray(self.data == _data(other)))

    def __ne__(self, other: object) -> "Tensor":  # type: ignore[override]
        return wrap(np.asarray(self.data != _data(other)))

    def __lt__(self, other: "Operand") -> "Tensor":
        return wrap(np.asarray(self.data < _data(other)))

    def __le__(self, other: "Operand") -> "Tensor":
        return wrap(np.asarray(self.data <= _data(other)))

    def __gt__(self, other: "Operand") -> "Tensor":
        return wrap(np.asarray(self.data > _data(other)))

    def __ge__(self, other: "Operand") -> "Tensor":
        return wrap(np.asarray(self.data >= _data(other)))

    def _operand(self, other: "Operand") -> "Tensor":
        if isinstance(other, Tensor):
            return other
        if isinstance(other, _PYTHON_NUMBERS) and self.data.dtype.kind == "f":
            return wrap(np.asarray(other, dtype=self.data.dtype))
        if isinstance(other, _NUMBERS):
            return wrap(arrays.scalar(other, self.data.dtype))
        return Tensor(other)

    def _pair(self, other: "Operand") -> "tuple[Tensor, Array, Array]":
        """``other`` as a tensor, and the arrays of both in the type of the result."""
        if not isinstance(other, Tensor):
            other = self._operand(other)
        a, b = self.data, other.data
        if a.dtype is not b.dtype:
            a, b = arrays.common(a, b)
        return other, a, b

    # Places and shapes.

    def __getitem__(self, index: "Index | Tensor") -> "Tensor":
        if type(index) not in _BASIC:
            for part in index if type(index) is tuple else (index,):
                if type(part) not in _BASIC:
                    return lamina.ops.selection.select(self, index)
        x = self.data
        y = x[index]
        shape, dtype = x.shape, x.dtype

        def vjp(dy: Array) -> Gradients:
            dx = arrays.zeros(shape, dtype)
            dx[index] = dy
            return (dx,)

        return Tensor.record(y if type(y) is np.ndarray else np.asarray(y), (self,), vjp)

    def __setitem__(self, index: "Index | Tensor", value: "Operand") -> None:
        lamina.ops.selection.write(self, index, value)

    def reshape(self, *shape: "int | Sequence[int]") -> "Tensor":
        """The same values in another shape; one length may be -1."""
        y = arrays.reshape(self.data, _flat(shape))
        if not (state.recording and self.requires_grad):
            return wrap(y)
        before = self.data.shape
        return Tensor.record(y, (self,), lambda dy: (arrays.reshape(dy, before),))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> "Tensor":
        """Axes ``start_dim`` to ``end_dim`` merged into one."""
        shape = self.data.shape
        start = arrays.axis("flatten", start_dim, len(shape))
        end = arrays.axis("flatten", end_dim, len(shape))
        if start > end:
            raise ValueError(
                f"flatten: start_dim: expected at most end_dim, got {start_dim} and {end_dim}"
            )
        merged = math.prod(shape[start : end + 1])
        return self.reshape((*shape[:start], merged, *shape[end + 1 :]))

    def permute(self, *dims: "int | Sequence[int]") -> "Tensor":
        """Axes in another order."""
        order = _flat(dims)
        y = self.data.transpose(order)

        def vjp(dy: Array) -> Gradients:
            return (dy.transpose(np.argsort([d % len(order) for d in order])),)

        return Tensor.record(y, (self,), vjp)

    def transpose(self, dim0: int, dim1: int) -> "Tensor":
        """Two axes swapped."""
        y = self.data.swapaxes(dim0, dim1)
        return Tensor.record(y, (self,), lambda dy: (dy.swapaxes(dim0, dim1),))

    @property
    def T(self) -> "Tensor":  # noqa: N802 - NumPy's name
        """Axes in reverse order."""
        return Tensor.record(self.data.T, (self,), lambda dy: (dy.T,))

    def squeeze(self, dim: Dims = None) -> "Tensor":
        """Axes of length one removed: all of them or ``dim``; longer ones stay."""
        shape = self.data.shape
        if dim is None:
            return self.reshape([n for n in shape if n != 1])
        if not isinstance(dim, tuple | list):
            at = arrays.axis("squeeze", dim, len(shape))  # type: ignore[arg-type]
            return self.reshape(shape[:at] + shape[at + 1 :] if shape[at:][:1] == (1,) else shape)
        dims = {arrays.axis("squeeze", d, len(shape)) for d in dim}
        return self.reshape([n for i, n in enumerate(shape) if n != 1 or i not in dims])

    def unsqueeze(self, dim: int) -> "Tensor":
        """An axis of length one put in at ``dim``."""
        before = self.data.shape
        y = np.expand_dims(self.data, dim)
        return Tensor.record(y, (self,), lambda dy: (dy.reshape(before),))

    def expand(self, *shape: "int | Sequence[int]") -> "Tensor":
        """Axes of length one repeated without a copy; -1 keeps a length."""
        wanted, before = _flat(shape), self.data.shape
        added = len(wanted) - len(before)
        try:
            if -1 in wanted:
                kept = (*(-1,) * added, *before)
                wanted = tuple(k if n == -1 else n for n, k in zip(wanted, kept, strict=True))
            y = np.broadcast_to(self.data, wanted)
        except ValueError:
            raise ValueError(
                f"expand: shape: {wanted} does not repeat axes of length 1 of shape {before}"
            ) from None
        return Tensor.record(y, (self,), lambda dy: (sum_to(dy, before),))


Operand = Tensor | ArrayLike


def as_tensor(x: Operand) -> Tensor:
    """``x`` itself where it is a tensor, else a tensor around it."""
    return x if isinstance(x, Tensor) else Tensor(x)


def as_floating(x: Operand) -> Tensor:
    """``x`` as a tensor of floats: integers become float32."""
    if not isinstance(x, Tensor):
        x = Tensor(x)
    return x if x.data.dtype.kind == "f" else x.to(np.float32)


def as_pair(a: Operand, b: Operand) -> tuple[Tensor, Tensor, Array, Array]:
    """Two operands as tensors, and their arrays in the type of a result of both."""
    if not isinstance(a, Tensor):
        a = b._operand(a) if isinstance(b, Tensor) else Tensor(a)
    elif isinstance(b, Tensor) and a.data.dtype is b.data.dtype:
        return a, b, a.data, b.data
    b, x, y = a._pair(b)
    return a, b, x, y


def _numbers(data: "ArrayLike | Tensor") -> Array:
    """An array of ``data``, or an error where that holds no numbers."""
    if isinstance(data, Tensor):
        data = data.data
    array = np.asarray(data)
    if array.dtype == np.float64 and not hasattr(data, "__array__"):
        array = array.astype(np.float32)
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise TypeError(f"Tensor: data: expected numbers, got {array.dtype} array")
    return array


_new = object.__new__


def wrap(data: Array) -> Tensor:
    """A tensor around an array that is known to be good."""
    out = _new(Tensor)
    out.data = data
    out.grad = None
    out.requires_grad = False
    out._node = None
    out._index = 0
    out._changed = 0
    return out


def _data(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _flat(shape: "Sequence[int | Sequence[int]]") -> tuple[int, ...]:
    if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        return tuple(shape[0])
    return tuple(shape)  # type: ignore[arg-type]
