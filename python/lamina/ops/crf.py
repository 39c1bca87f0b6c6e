"""Linear-chain conditional random fields over scores that a network gives."""

import numpy as np

from lamina import _kernels
from lamina.tape import Gradients, is_grad_enabled
from lamina.tensor import Array, Operand, Tensor, as_tensor


def crf_log_likelihood(
    emissions: Operand,
    tags: Operand,
    start_transitions: Operand,
    end_transitions: Operand,
    transitions: Operand,
    mask: Operand | None = None,
) -> Tensor:
    """Log-likelihood of the tags of each sequence, ``[N]``.

    ``score - log Z``, where the score of tags is the sum of their emissions, of the transitions
    between them and of those into the first and out of the last, and Z sums up the exponentials
    of the scores of all tags there could be.

    Args:
        emissions: ``[N, L, C]``.
        tags: integers ``[N, L]``, whatever stands where ``mask`` is false.
        start_transitions: into the first tag, ``[C]``.
        end_transitions: out of the last tag, ``[C]``.
        transitions: from row to column, ``[C, C]``.
        mask: ``[N, L]``, true for items; those of a sequence come first. By default all are.

    Reference:
        Lafferty, McCallum & Pereira, Conditional Random Fields, 2001.
    """
    op = "crf_log_likelihood"
    x, start, end, pairs = map(
        as_tensor, (emissions, start_transitions, end_transitions, transitions)
    )
    labels = integers(op, tags)
    lengths = lengths_of(op, x.data, mask)
    inputs = (x, start, end, pairs)
    wanted = is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    values, units = _kernels.crf_forward(
        x.data, labels, lengths, start.data, end.data, pairs.data, wanted
    )

    def vjp(dy: Array) -> Gradients:
        if units is None:
            return None, None, None, None
        states = units[0] * dy[:, None, None]
        dstart = np.zeros_like(start_data)
        dend = np.zeros_like(start_data)
        rows = np.flatnonzero(lengths)
        if rows.size:
            dstart += states[rows, 0].sum(0)
            dend += states[rows, lengths[rows] - 1].sum(0)
        return states, dstart, dend, np.tensordot(dy, units[1], 1)

    start_data = start.data
    return Tensor.record(values, inputs, vjp)


def crf_decode(
    emissions: Operand,
    start_transitions: Operand,
    end_transitions: Operand,
    transitions: Operand,
    mask: Operand | None = None,
) -> list[list[int]]:
    """The best tags of each sequence; arguments as of :func:`crf_log_likelihood`."""
    x, start, end, pairs = (
        as_tensor(value).data
        for value in (emissions, start_transitions, end_transitions, transitions)
    )
    lengths = lengths_of("crf_decode", x, mask)
    tags, _ = _kernels.crf_decode(x, lengths, start, end, pairs)
    ends = np.cumsum(lengths)
    return [part.tolist() for part in np.split(tags, ends[:-1])][: len(lengths)]


def integers(op: str, tags: Operand) -> Array:
    """``tags`` as integers."""
    array = np.asarray(tags.data if isinstance(tags, Tensor) else tags)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{op}: tags: expected integers, got {array.dtype} array")
    return array.astype(np.int64, copy=False)


def lengths_of(op: str, emissions: Array, mask: Operand | None) -> Array:
    """Items of each sequence ``[N]``."""
    if emissions.ndim != 3:
        raise ValueError(f"{op}: emissions: expected 3 axes, got {emissions.ndim}")
    batch, steps, _ = emissions.shape
    if mask is None:
        return np.full(batch, steps, np.int64)
    given = np.asarray(mask.data if isinstance(mask, Tensor) else mask) != 0
    if given.shape != (batch, steps):
        raise ValueError(f"{op}: mask: expected shape {(batch, steps)}, got {given.shape}")
    if (given[:, 1:] > given[:, :-1]).any():
        raise ValueError(f"{op}: mask: expected the items of a sequence before its padding")
    return given.sum(1, dtype=np.int64)
