"""The loader: batches of a data set, in an order that a seed gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lamina.data.dataset import BatchDataset, Dataset, Indices
from lamina.random import generator


def default_collate(items: Sequence[Any]) -> Any:
    """Stack items: arrays and numbers along a new first axis, tuples and mappings part by part."""
    first = items[0]
    if isinstance(first, tuple | list):
        if any(len(item) != len(first) for item in items):
            raise ValueError("default_collate: items have different numbers of parts")
        return tuple(default_collate(part) for part in zip(*items, strict=True))
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, str):
        return list(items)
    arrays = [np.asarray(item) for item in items]
    if any(array.shape != arrays[0].shape for array in arrays):
        shapes = sorted({array.shape for array in arrays})
        raise ValueError(
            f"default_collate: items of shapes {shapes[0]} and {shapes[1]} cannot be stacked; "
            "pass a collate_fn that pads them"
        )
    batch = np.stack(arrays)
    # Python floats are meant as float32, as in Tensor.
    return batch.astype(np.float32) if isinstance(first, float) else batch


class DataLoader:
    """Batches of a data set, anew each time it is iterated over.

    The order of an epoch depends on the seed and the number of the epoch alone, so a loader with
    the state of another goes on exactly where that one stood. Leaving an epoch early ends it.
    Data sets with a ``batch`` method are asked for a batch at once, others item by item.

    Args:
        dataset: what to load.
        batch_size: N.
        shuffle: whether each epoch has an order of its own.
        drop_last: whether to leave out a last batch of fewer than N items.
        collate_fn: makes a batch of a list of items, instead of stacking them.
        rng: source of the seed; the library's generator where ``None``.
        seed: the seed itself.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        rng: np.random.Generator | None = None,
        seed: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size: expected at least 1, got {batch_size}")
        if rng is not None and seed is not None:
            raise ValueError("DataLoader: expected rng or seed, got both")
        if seed is not None and seed < 0:
            raise ValueError(f"DataLoader: seed: expected at least 0, got {seed}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        if seed is None:
            # An order that is not random does not disturb the generator.
            seed = int(generator(rng).integers(1 << 62)) if shuffle else 0
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._resumed = False

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self.position >= max(len(self), 1) or (self.position > 0 and not self._resumed):
            self.epoch += 1
            self.position = 0
        self._resumed = False
        return self._batches(self.epoch, self.position)

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        order = self._order(epoch)
        for position in range(start, len(self)):
            indices = order[position * self.batch_size : (position + 1) * self.batch_size]
            batch = self._load(indices)
            self.position = position + 1
            yield batch
        self.epoch = epoch + 1
        self.position = 0

    def _order(self, epoch: int) -> Indices:
        if self.shuffle:
            return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        return np.arange(len(self.dataset))

    def _load(self, indices: Indices) -> Any:
        if self.collate_fn is None and isinstance(self.dataset, BatchDataset):
            return self.dataset.batch(indices)
        items = [self.dataset[i] for i in indices.tolist()]
        return (self.collate_fn or default_collate)(items)

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch, and number of batches of it already given."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the loader that gave ``state`` stood.

        Raises:
            ValueError: the state is not one of a loader of this length.
        """
        if state.keys() != {"seed", "epoch", "position"}:
            raise ValueError(f"DataLoader: state: expected seed, epoch, position, got {[*state]}")
        values = {key: int(value) for key, value in state.items()}
        if min(values.values()) < 0 or values["position"] > len(self):
            raise ValueError(f"DataLoader: state: expected position <= {len(self)}, got {values}")
        self.seed, self.epoch, self.position = (values[k] for k in ("seed", "epoch", "position"))
        self._resumed = True
