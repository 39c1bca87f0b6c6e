"""Embedding: rows of a table."""

import numpy as np

from lamina import _kernels
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, as_tensor, wrap


def embedding(input: Operand, weight: Operand, padding_idx: int | None = None) -> Tensor:
    """The rows of ``weight`` that ``input`` names.

    Args:
        input: integers of any shape ``[...]``, from 0 to below V.
        weight: table ``[V, D]``.
        padding_idx: row whose gradient stays zero; negative counts from the end.

    Returns:
        ``[..., D]``.

    Raises:
        ValueError: an id is outside the table.
        TypeError: ``input`` does not hold integers.
    """
    ids = input.data if isinstance(input, Tensor) else np.asarray(input)
    if ids.dtype != np.int64 and ids.dtype != np.int32:
        if ids.dtype.kind not in "iu":
            raise TypeError(f"embedding: input: expected integers, got {ids.dtype} array")
        ids = ids.astype(np.int64)
    table = as_tensor(weight)
    needs = state.recording and table.requires_grad
    if needs and not isinstance(input, list):
        # The gradient needs them as they are now, whatever the caller does to them.
        ids = ids.copy()
    y = _kernels.embedding_forward(ids, table.data)
    rows = table.data.shape[0]
    padding = None if padding_idx is None else resolve_padding(padding_idx, rows)
    if not needs:
        return wrap(y)

    def vjp(dy: Array) -> Gradients:
        return None, _kernels.embedding_backward(dy, ids, rows, padding)

    return Tensor.record(y, (None, table), vjp)


def resolve_padding(padding_idx: int, rows: int) -> int:
    """``padding_idx`` as a row counted from the start."""
    if not -rows <= padding_idx < rows:
        raise ValueError(
            f"embedding: padding_idx: expected -{rows} to {rows - 1}, got {padding_idx}"
        )
    return padding_idx % rows
