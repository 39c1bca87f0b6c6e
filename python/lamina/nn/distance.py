"""Distances as layers."""

from lamina import ops
from lamina.nn.module import Module
from lamina.tensor import Operand, Tensor


class CosineSimilarity(Module):
    """``x1 x2 / (max(|x1|, eps) max(|x2|, eps))`` over one axis.

    Args:
        dim: the axis of the vectors.
        eps: smallest length that a vector is divided by.
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Operand, x2: Operand) -> Tensor:
        """Map two shapes that broadcast to that shape without the axis."""
        return ops.cosine_similarity(x1, x2, self.dim, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dim={self.dim}, eps={self.eps}"
