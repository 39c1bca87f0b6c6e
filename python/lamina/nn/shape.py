"""Layers that only change the shape."""

from lamina.nn.module import Module
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

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
