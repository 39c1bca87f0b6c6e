"""The table of embeddings."""

from typing import Any, Self

import numpy as np

from lamina import ops
from lamina.nn import init
from lamina.nn.module import Module, Parameter
from lamina.ops.conv import integer
from lamina.ops.embedding import resolve_padding
from lamina.tensor import Operand, Tensor


class Embedding(Module):
    """Rows of a table by their number.

    Parameters:
        weight: ``[V, D]``, standard normal; the row ``padding_idx`` is zero and stays it.

    Args:
        num_embeddings: V.
        embedding_dim: D.
        padding_idx: row without gradient; negative counts from the end.
        rng: source of the initial table.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        num_embeddings = integer("Embedding", "num_embeddings", num_embeddings)
        embedding_dim = integer("Embedding", "embedding_dim", embedding_dim)
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(
                f"Embedding: sizes must be positive, got {num_embeddings}, {embedding_dim}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight, rng=rng)
        if padding_idx is not None:
            self.padding_idx = resolve_padding(padding_idx, num_embeddings)
            self.weight.data[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor | np.ndarray[Any, Any],
        freeze: bool = True,
        padding_idx: int | None = None,
    ) -> Self:
        """A table of given vectors.

        Args:
            embeddings: ``[V, D]``, copied.
            freeze: whether training leaves it as it is.
            padding_idx: row without gradient.
        """
        rows = np.array(embeddings.data if isinstance(embeddings, Tensor) else embeddings)
        if rows.ndim != 2:
            raise ValueError(f"from_pretrained: embeddings: expected 2 dimensions, got {rows.ndim}")
        # A generator of its own, as nothing drawn here is kept.
        new = cls(1, rows.shape[1], rng=np.random.default_rng(0))
        new.num_embeddings = len(rows)
        new.weight = Parameter(rows, requires_grad=not freeze)
        if padding_idx is not None:
            new.padding_idx = resolve_padding(padding_idx, len(rows))
        return new

    def forward(self, input: Operand) -> Tensor:
        """Map ids ``[...]`` to rows ``[..., D]``."""
        return ops.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """The arguments."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
