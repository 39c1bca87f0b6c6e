"""What training a neural language model needs beside the loop: batches, loss and rate."""

import math
import operator
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lamina import nn, ops
from lamina.data import DataLoader, SequenceDataset
from lamina.models.recurrent import Carry
from lamina.tensor import Array, Tensor
from lamina.train.callbacks import Callback, Logs


def check_whole(name: str, number: int, least: int = 1) -> None:
    """Refuse what is not an integer of at least ``least``."""
    try:
        if isinstance(number, bool):
            raise TypeError
        operator.index(number)
    except TypeError:
        raise TypeError(f"NeuralLM: {name}: expected an integer, got {number!r}") from None
    if number < least:
        expected = "a positive number" if least == 1 else f"at least {least}"
        raise ValueError(f"NeuralLM: {name}: expected {expected}, got {number}")


def check_positive(name: str, number: float) -> None:
    """Refuse what is not a finite number above zero."""
    if not 0 < number < math.inf:
        raise ValueError(f"NeuralLM: {name}: expected a positive number, got {number}")


class Streams:
    """Pieces of a text for a model that carries its state: ids, the carry, and the ids one later.

    The text is cut into ``batch_size`` streams that are read side by side, so that each piece
    continues the one before it in the same row.

    Args:
        ids: ``[T]``, at least two.
        batch_size: number of streams; fewer if the text is shorter.
        length: tokens of a piece.
    """

    def __init__(self, ids: Array, batch_size: int, length: int) -> None:
        rows = min(batch_size, len(ids) - 1)
        columns = (len(ids) - 1) // rows
        self.inputs = ids[: rows * columns].reshape(rows, columns)
        self.targets = ids[1 : rows * columns + 1].reshape(rows, columns)
        self.length = length

    def __len__(self) -> int:
        return -(-self.inputs.shape[1] // self.length)

    def __iter__(self) -> Iterator[tuple[Array, Carry, Array]]:
        carry = Carry()
        for start in range(0, self.inputs.shape[1], self.length):
            piece = slice(start, start + self.length)
            yield self.inputs[:, piece], carry, self.targets[:, piece]


def batches(
    model: Any, ids: Array, batch_size: int, context: int, *, shuffle: bool
) -> Iterable[Any]:
    """Batches ``(inputs..., targets)`` of windows, or of streams for a recurrent model.

    Windows lie at random places where ``shuffle``, else side by side.
    """
    length = min(context, len(ids) - 1)
    if model.context is None:
        return Streams(ids, batch_size, length)
    dataset = SequenceDataset(ids, length, stride=1 if shuffle else None)
    return DataLoader(dataset, batch_size, shuffle=shuffle)


def next_token_loss(logits: Tensor, targets: Array) -> Tensor:
    """Mean cross-entropy of logits ``[N, L, V]`` for targets ``[N, L]``."""
    return ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def decayed_matrices(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for the optimiser: weight decay on matrices, none on biases and norms."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


class Deadline(Callback):
    """Ends a training after ``seconds`` of a clock."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock

    def on_train_begin(self) -> None:
        """Note the time."""
        self._start = self._clock()

    def on_train_batch_end(self, step: int, logs: Logs) -> None:
        """Look at the clock."""
        del step, logs
        if self._clock() - self._start >= self._seconds:
            self.run.stop("")


def cosine(
    steps: int | None,
    seconds: float | None,
    warmup: int,
    least: float,
    clock: Callable[[], float] | None = None,
) -> Callable[[int], float]:
    """Factor of the learning rate by step: a linear rise, then half a cosine down to ``least``.

    The end is at ``steps`` or, if that comes first, after ``seconds`` of ``clock`` from the first
    call.
    """
    start: float | None = None
    now = clock or time.monotonic

    def factor(step: int) -> float:
        nonlocal start
        start = now() if start is None else start
        rise = warmup if steps is None else min(warmup, steps // 10)
        if step < rise:
            return (step + 1) / (rise + 1)
        done = 0.0 if steps is None else (step - rise) / max(1, steps - rise)
        if seconds is not None:
            done = max(done, (now() - start) / seconds)
        return least + (1 - least) * (1 + math.cos(math.pi * min(1.0, done))) / 2

    return factor
