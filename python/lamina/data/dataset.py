"""Data sets: items by index, and several at once where the items lie in arrays."""

import math
import operator
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self, SupportsIndex, runtime_checkable

import numpy as np
import numpy.typing as npt

from lamina.random import generator

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Batch = tuple[Array, ...]


class Dataset(Protocol):
    """Anything with a length and items by index, a list for example."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int, /) -> Any:
        """One item: an array, a number, or a tuple of them."""


@runtime_checkable
class BatchDataset(Protocol):
    """A data set that gives many items at once, as arrays with one more axis in front."""

    def __len__(self) -> int:
        """Number of items."""

    def batch(self, indices: Indices, /) -> Batch:
        """The items of ``indices`` ``[N]``, one array ``[N, ...]`` for each part of an item."""


class TensorDataset:
    """Arrays whose first axis counts the items.

    Args:
        arrays: one ``[N, ...]`` for each part of an item, usually inputs and targets.
    """

    def __init__(self, *arrays: npt.ArrayLike) -> None:
        if not arrays:
            raise ValueError("TensorDataset: arrays: expected at least one, got none")
        self.arrays: Batch = tuple(np.asarray(array) for array in arrays)
        for i, array in enumerate(self.arrays):
            if array.ndim == 0:
                raise ValueError(f"TensorDataset: arrays[{i}]: expected at least 1 axis, got none")
            if len(array) != len(self.arrays[0]):
                raise ValueError(
                    f"TensorDataset: arrays[{i}]: expected {len(self.arrays[0])} items, "
                    f"got {len(array)}"
                )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> Batch:
        return tuple(array[index] for array in self.arrays)

    def batch(self, indices: Indices) -> Batch:
        """The items of ``indices``."""
        return tuple(array[indices] for array in self.arrays)


class SequenceDataset:
    """Windows of a long sequence of ids for language models: ids, and the ids one place later.

    Args:
        ids: ``[T]``, integers; a memory map is read window by window.
        context: length L of a window.
        stride: places between the starts of two windows. With ``None``, ``context``: every id is
            a target once. With 1, every start is a window.
    """

    def __init__(self, ids: npt.ArrayLike, context: int, stride: int | None = None) -> None:
        self.ids = np.asanyarray(ids)
        if self.ids.ndim != 1 or self.ids.dtype.kind not in "iu":
            raise TypeError(
                "SequenceDataset: ids: expected a 1-d integer array, "
                f"got {self.ids.ndim}-d {self.ids.dtype}"
            )
        self.context = _size("context", context)
        self.stride = self.context if stride is None else _size("stride", stride)
        if context < 1 or self.stride < 1:
            raise ValueError(
                f"SequenceDataset: expected positive sizes, got context={context}, stride={stride}"
            )
        if len(self.ids) <= context:
            raise ValueError(
                f"SequenceDataset: ids: expected more than context={context}, got {len(self.ids)}"
            )

    def __len__(self) -> int:
        return (len(self.ids) - self.context - 1) // self.stride + 1

    def __getitem__(self, index: int) -> Batch:
        if not -len(self) <= index < len(self):
            raise IndexError(f"SequenceDataset: expected an index below {len(self)}, got {index}")
        inputs, targets = self.batch(np.array([index % len(self)]))
        return inputs[0], targets[0]

    def batch(self, indices: Indices) -> Batch:
        """Inputs and targets ``[N, L]``, int64."""
        starts = np.asarray(indices) * self.stride
        places = starts[:, None] + np.arange(self.context)
        inputs = self.ids[places].astype(np.int64, copy=False)
        return inputs, self.ids[places + 1].astype(np.int64, copy=False)


def _size(name: str, value: SupportsIndex) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"SequenceDataset: {name}: expected a whole number, got {value!r:.60}"
        ) from None


class Subset:
    """The items of ``dataset`` at ``indices``.

    Args:
        dataset: where one that gives many items at once, so does its subset.
        indices: ``[N]``, integers from 0.
    """

    def __new__(cls, dataset: Dataset | None = None, *_: Any, **__: Any) -> Self:
        """An object of the class that has ``batch``, where the data set below can."""
        batched = cls is Subset and isinstance(dataset, BatchDataset)
        return object.__new__(_BatchSubset if batched else cls)  # type: ignore[return-value]

    def __init__(self, dataset: Dataset, indices: npt.ArrayLike) -> None:
        given = np.asarray(indices)
        if given.ndim != 1:
            raise ValueError(f"Subset: indices: expected 1 axis, got {given.ndim}")
        if given.dtype == np.bool_:
            raise TypeError(
                "Subset: indices: expected integers, got a mask, "
                "whose indices numpy.flatnonzero gives"
            )
        if given.dtype.kind not in "iu" and given.size:
            raise TypeError(f"Subset: indices: expected integers, got {given.dtype}")
        self.dataset = dataset
        self.indices: Indices = given.astype(np.int64)
        wrong = (self.indices < 0) | (self.indices >= len(dataset))
        if wrong.any():
            raise ValueError(
                f"Subset: indices: expected below {len(dataset)}, "
                f"got {self.indices[wrong.argmax()]}"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]


class _BatchSubset(Subset):
    dataset: Any

    def batch(self, indices: Indices) -> Batch:
        """The items of ``indices``."""
        return self.dataset.batch(self.indices[indices])


class ConcatDataset:
    """The items of several data sets, one after the other."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets: expected at least one, got none")
        self.cumulative_sizes: list[int] = np.cumsum([len(d) for d in self.datasets]).tolist()

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: expected an index below {len(self)}, got {index}")
        index %= len(self)
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(
    dataset: Dataset, lengths: Sequence[float], *, rng: np.random.Generator | None = None
) -> list[Subset]:
    """Cut a data set into random parts that do not overlap.

    Args:
        dataset: what to cut.
        lengths: numbers of items that sum to all of them, or shares that sum to 1; items left over
            by rounding go to the first parts.
        rng: source of the order; the library's generator where ``None``.
    """
    total = len(dataset)
    if math.isclose(sum(lengths), 1) and all(0 <= share <= 1 for share in lengths):
        counts = [math.floor(total * share) for share in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(length) for length in lengths]
    if sum(counts) != total or any(count < 0 for count in counts) or not counts:
        raise ValueError(
            f"random_split: lengths: expected shares of 1 or numbers that sum to {total}, "
            f"got {list(lengths)}"
        )
    order = generator(rng).permutation(total)
    ends = np.cumsum(counts)
    return [Subset(dataset, order[end - n : end]) for end, n in zip(ends, counts, strict=True)]
