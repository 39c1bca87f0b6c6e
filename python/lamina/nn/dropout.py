"""Dropout layers."""

import numpy as np

from lamina import ops
from lamina.nn.module import Module, Stage
from lamina.tensor import Tensor


class Dropout(Module):
    """In training each number is zero with probability ``p``, the others are divided by ``1 - p``.

    Args:
        p: share dropped, 0 to 1.
        rng: source of the masks; the library's own where it is ``None``.

    Reference:
        Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p: expected 0 to 1, got {p}")
        self.p = p
        self.rng = rng

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return ops.dropout(x, self.p, self.training, rng=self.rng)

    def _make_stage(self) -> Stage | None:
        return None if self.training else ("identity", None, None, None)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """:class:`Dropout` of whole channels.

    Args:
        p: share dropped, 0 to 1.
        rng: source of the masks; the library's own where it is ``None``.

    Reference:
        Tompson et al., Efficient object localization using convolutional networks, 2015.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, ...]`` to the same shape."""
        return ops.dropout2d(x, self.p, self.training, rng=self.rng)

    _make_stage = Dropout._make_stage
