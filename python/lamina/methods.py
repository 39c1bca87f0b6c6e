"""The functions of :mod:`lamina.ops` as methods of tensors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy.typing as npt

import lamina
from lamina.arrays import Array, Dims

if TYPE_CHECKING:
    from lamina.ops.selection import Selected
    from lamina.tensor import Operand, Tensor

Number = int | float


class Methods:
    """What :class:`~lamina.Tensor` has from :mod:`lamina.ops`."""

    __slots__ = ()

    if TYPE_CHECKING:
        # Functions take whatever has this.
        def __array__(
            self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
        ) -> Array: ...

    # Functions of each element.

    def abs(self) -> "Tensor":
        """Absolute values; gradient zero at zero."""
        return lamina.ops.abs(self)

    __abs__ = abs

    def sqrt(self) -> "Tensor":
        """Square roots."""
        return lamina.ops.sqrt(self)

    def log(self) -> "Tensor":
        """Natural logarithms."""
        return lamina.ops.log(self)

    def exp(self) -> "Tensor":
        """Powers of e."""
        return lamina.ops.exp(self)

    def sin(self) -> "Tensor":
        """Sines."""
        return lamina.ops.sin(self)

    def cos(self) -> "Tensor":
        """Cosines."""
        return lamina.ops.cos(self)

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
        return lamina.ops.clamp(self, min, max)

    def masked_fill(self, mask: "Operand", value: "Operand") -> "Tensor":
        """``value`` where the mask holds, else the values there are."""
        return lamina.ops.masked_fill(self, mask, value)

    # Reductions. `dim` is an axis, several, or all where it is None; `numpy` has NumPy's names for
    # the arguments, with which np.sum(tensor) and the like call these methods.

    def sum(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Sum over the axes ``dim``."""
        if numpy:
            dim, keepdim = _named(dim, keepdim, numpy)
        return lamina.ops.sum(self, dim, keepdim)

    def prod(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Product over the axis ``dim``."""
        return lamina.ops.prod(self, *_named(dim, keepdim, numpy))

    def mean(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Mean over the axes ``dim``."""
        if numpy:
            dim, keepdim = _named(dim, keepdim, numpy)
        return lamina.ops.mean(self, dim, keepdim)

    def var(
        self, dim: Dims = None, correction: int = 1, keepdim: bool = False, **other: Any
    ) -> "Tensor":
        """Variance over ``dim``, divided by the count less ``correction``.

        ``unbiased=False`` and NumPy's ``ddof=0`` are other words for ``correction=0``.
        """
        return lamina.ops.var(self, *_corrected(dim, correction, keepdim, other))

    def std(
        self, dim: Dims = None, correction: int = 1, keepdim: bool = False, **other: Any
    ) -> "Tensor":
        """Square root of the variance, with the arguments of :meth:`var`."""
        return lamina.ops.std(self, *_corrected(dim, correction, keepdim, other))

    def norm(
        self, p: "Number | str" = 2, dim: Dims = None, keepdim: bool = False, **numpy: Any
    ) -> "Tensor":
        """The ``p``-norm of all elements or over ``dim``."""
        return lamina.ops.norm(self, p, *_named(dim, keepdim, numpy))

    def logsumexp(self, dim: Dims, keepdim: bool = False) -> "Tensor":
        """Logarithm of the sum of the exponentials over ``dim``."""
        return lamina.ops.logsumexp(self, dim, keepdim)

    def amax(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Largest values over the axes ``dim``; several equal ones share the gradient."""
        if numpy:
            dim, keepdim = _named(dim, keepdim, numpy)
        return lamina.ops.amax(self, dim, keepdim)

    def amin(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Smallest values over the axes ``dim``; several equal ones share the gradient."""
        if numpy:
            dim, keepdim = _named(dim, keepdim, numpy)
        return lamina.ops.amin(self, dim, keepdim)

    def max(self, dim: SupportsIndex | None = None, keepdim: bool = False, **numpy: Any) -> Any:
        """The largest value; with ``dim`` the named tuple ``(values, indices)`` over that axis."""
        if numpy:
            dim, keepdim = _named(dim, keepdim, numpy)
        return lamina.ops.max(self, dim, keepdim)

    def min(self, dim: SupportsIndex | None = None, keepdim: bool = False, **numpy: Any) -> Any:
        """The smallest value; with ``dim`` the named tuple ``(values, indices)`` over that axis."""
        if numpy:
            dim, keepdim = _named(dim, keepdim, numpy)
        return lamina.ops.min(self, dim, keepdim)

    def argmax(self, dim: SupportsIndex | None = None, keepdim: bool = False) -> "Tensor":
        """Index of the first largest value."""
        return lamina.ops.reduction.argmax(self, dim, keepdim)

    def argmin(self, dim: SupportsIndex | None = None, keepdim: bool = False) -> "Tensor":
        """Index of the first smallest value."""
        return lamina.ops.reduction.argmin(self, dim, keepdim)

    def any(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Whether any element over ``dim`` is not zero."""
        return lamina.ops.reduction.any(self, *_named(dim, keepdim, numpy))

    def all(self, dim: Dims = None, keepdim: bool = False, **numpy: Any) -> "Tensor":
        """Whether no element over ``dim`` is zero."""
        return lamina.ops.reduction.all(self, *_named(dim, keepdim, numpy))

    def cumsum(self, dim: SupportsIndex) -> "Tensor":
        """Sums of the elements up to each along ``dim``."""
        return lamina.ops.cumsum(self, dim)

    def gather(self, dim: SupportsIndex, index: "Operand") -> "Tensor":
        """The elements that ``index`` names along ``dim``."""
        return lamina.ops.gather(self, dim, index)

    def sort(self, dim: SupportsIndex = -1, descending: bool = False) -> "Selected":
        """Elements in order along ``dim``, and where they were; equal ones keep their order."""
        return lamina.ops.sort(self, dim, descending)

    def argsort(self, dim: SupportsIndex = -1, descending: bool = False) -> "Tensor":
        """The indices of :meth:`sort`."""
        return lamina.ops.selection.argsort(self, dim, descending)

    def topk(self, k: SupportsIndex, dim: SupportsIndex = -1, largest: bool = True) -> "Selected":
        """The ``k`` largest or smallest elements along ``dim``, in order, and where they were."""
        return lamina.ops.topk(self, k, dim, largest)

    def split(
        self,
        split_size_or_sections: SupportsIndex | Sequence[SupportsIndex],
        dim: SupportsIndex = 0,
    ) -> "list[Tensor]":
        """Pieces along ``dim``, of one length or of those given."""
        return lamina.ops.split(self, split_size_or_sections, dim)

    def chunk(self, chunks: SupportsIndex, dim: SupportsIndex = 0) -> "list[Tensor]":
        """At most ``chunks`` pieces of equal length along ``dim``."""
        return lamina.ops.chunk(self, chunks, dim)

    def repeat(self, *sizes: "int | Sequence[int]") -> "Tensor":
        """Copies laid side by side, ``sizes`` times along each axis."""
        return lamina.ops.repeat(self, *sizes)


def _named(dim: Any, keepdim: bool, numpy: dict[str, Any]) -> tuple[Any, bool]:
    """``dim`` and ``keepdim``, which NumPy calls ``axis`` and ``keepdims``."""
    dim, keepdim = numpy.pop("axis", dim), numpy.pop("keepdims", keepdim)
    for name, value in numpy.items():
        # NumPy's functions pass these on when they were not given either.
        if value is not None or name not in ("dtype", "out"):
            raise TypeError(f"unexpected argument {name}={value!r}")
    return dim, keepdim


def _corrected(
    dim: Any, correction: int, keepdim: bool, other: dict[str, Any]
) -> tuple[Any, int, bool]:
    """The arguments of ``var`` from its other names."""
    if isinstance(dim, bool):
        dim, correction = None, dim
    correction = int(other.pop("unbiased", other.pop("ddof", correction)))
    dim, keepdim = _named(dim, keepdim, other)
    return dim, correction, keepdim
