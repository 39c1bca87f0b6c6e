"""Layers that only change the shape."""

from collections.abc import Sequence

from lamina import ops
from lamina.nn.module import Module, Stage
from lamina.ops.conv import integer, integers
from lamina.tensor import Operand, Tensor, as_tensor


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` merged into one.

    Args:
        start_dim: first axis of those; by default all but the batch.
        end_dim: last axis of those.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, ...]`` to ``[N, D]``."""
        return as_tensor(x).flatten(self.start_dim, self.end_dim)

    def _make_stage(self) -> Stage | None:
        usual = self.start_dim == 1 and self.end_dim == -1
        return ("flatten", None, None, None) if usual else None

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis cut into several, the reverse of :class:`Flatten`.

    Args:
        dim: the axis.
        unflattened_size: lengths that take its place; one may be -1.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = integer("Unflatten", "dim", dim)
        self.unflattened_size = integers("Unflatten", "unflattened_size", unflattened_size)
        if not self.unflattened_size or min(self.unflattened_size) < -1:
            raise ValueError(
                f"Unflatten: unflattened_size: expected lengths, got {unflattened_size}"
            )

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, D]`` to ``[N, ...]``."""
        x = as_tensor(x)
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"Unflatten: dim: expected an axis of {x.shape}, got {self.dim}")
        dim = self.dim % x.ndim
        return x.reshape(*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :])

    def extra_repr(self) -> str:
        """The axis and its parts."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class ZeroPad2d(Module):
    """Zeros around images.

    Args:
        padding: how many on all sides, or left, right, above and below; a negative number cuts off.
    """

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        amounts = integers("ZeroPad2d", "padding", padding)
        if len(amounts) not in (1, 4):
            raise ValueError(f"ZeroPad2d: padding: expected 1 or 4 numbers, got {padding}")
        self.padding = amounts * 4 if len(amounts) == 1 else amounts

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C, OH, OW]``."""
        return ops.pad(x, self.padding)

    def extra_repr(self) -> str:
        """The amounts."""
        return f"{self.padding}"
