"""A conditional random field as the last layer of a tagger."""

import numpy as np

from lamina import ops
from lamina.nn import init
from lamina.nn.module import Module, Parameter
from lamina.ops.conv import integer
from lamina.ops.crf import crf_decode
from lamina.tensor import Array, Operand, Tensor, as_tensor, empty

_REDUCTIONS = ("none", "sum", "mean", "token_mean")


class CRF(Module):
    """Log-likelihood of tags that depend on their neighbours: ``score(tags) - log Z``.

    Names and parameters are those of pytorch-crf; here batches come first unless said otherwise.

    Parameters:
        start_transitions: ``[C]``. end_transitions: ``[C]``. transitions: ``[C, C]``, from row to
            column. All uniform on ``[-0.1, 0.1]``.

    Args:
        num_tags: C.
        batch_first: whether inputs are ``[N, L, ...]`` rather than ``[L, N, ...]``.
        rng: source of the initial parameters.

    Reference:
        Lample et al., Neural Architectures for Named Entity Recognition, 2016.
    """

    def __init__(self, num_tags: int, batch_first: bool = True, *, rng: init.Rng = None) -> None:
        super().__init__()
        num_tags = integer("CRF", "num_tags", num_tags)
        if num_tags < 1:
            raise ValueError(f"CRF: num_tags: expected a positive number, got {num_tags}")
        self.num_tags, self.batch_first = num_tags, batch_first
        for name, shape in (
            ("start_transitions", (num_tags,)),
            ("end_transitions", (num_tags,)),
            ("transitions", (num_tags, num_tags)),
        ):
            value = init.uniform_(Parameter(empty(shape, init.FLOAT)), -0.1, 0.1, rng=rng)
            setattr(self, name, value)

    start_transitions: Parameter
    end_transitions: Parameter
    transitions: Parameter

    def forward(
        self,
        emissions: Operand,
        tags: Operand,
        mask: Operand | None = None,
        reduction: str = "sum",
    ) -> Tensor:
        """Log-likelihood of ``tags`` ``[N, L]`` under ``emissions`` ``[N, L, C]``.

        Args:
            emissions: scores of each tag of each item.
            tags: integers.
            mask: ``[N, L]``, true for items, which come before padding.
            reduction: ``"sum"``, ``"mean"`` over sequences, ``"token_mean"`` over items, or
                ``"none"`` for ``[N]``.
        """
        if reduction not in _REDUCTIONS:
            expected = ", ".join(_REDUCTIONS)
            raise ValueError(f"CRF: reduction: expected one of {expected}, got {reduction!r}")
        x = self._turned(as_tensor(emissions))
        labels, there = self._batch_first(tags), None if mask is None else self._batch_first(mask)
        parameters = self.start_transitions, self.end_transitions, self.transitions
        values = ops.crf_log_likelihood(x, labels, *parameters, there)
        if reduction == "none":
            return values
        total = values.sum()
        if reduction == "sum":
            return total
        if reduction == "mean":
            return total / max(values.shape[0], 1)
        items = x.shape[0] * x.shape[1] if there is None else np.count_nonzero(there)
        return total / max(items, 1)

    def decode(self, emissions: Operand, mask: Operand | None = None) -> list[list[int]]:
        """The best tags of each sequence."""
        x = self._turned(as_tensor(emissions))
        parameters = self.start_transitions, self.end_transitions, self.transitions
        return crf_decode(x, *parameters, None if mask is None else self._batch_first(mask))

    def _turned(self, x: Tensor) -> Tensor:
        if x.ndim == 3 and x.shape[2] != self.num_tags:
            raise ValueError(f"CRF: emissions: expected {self.num_tags} tags, got {x.shape[2]}")
        return x if self.batch_first or x.ndim != 3 else x.transpose(0, 1)

    def _batch_first(self, value: Operand) -> Array:
        array = np.asarray(value.data if isinstance(value, Tensor) else value)
        return array if self.batch_first or array.ndim != 2 else array.T

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_tags}, batch_first={self.batch_first}"
