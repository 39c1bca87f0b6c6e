"""The loader: batches of a data set, in an order that a seed gives."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from lamina.data.collate import default_collate
from lamina.data.dataset import BatchDataset, Dataset, Indices
from lamina.random import generator as library_generator


class DataLoader:
    """Batches of a data set, anew each time it is iterated over.

    The order of an epoch depends on the seed and the number of the epoch alone, so a loader with
    the state of another goes on exactly where that one stood. Leaving an epoch early ends it.
    Data sets with a ``batch`` method are asked for a batch at once, others item by item.

    Several iterators at once have an epoch each; the state is that of the one begun last.

    Args:
        dataset: what to load: items by index, or, without an order of its own, an iterable of them.
        batch_size: N.
        shuffle: whether each epoch has an order of its own.
        drop_last: whether to leave out a last batch of fewer than N items.
        collate_fn: makes a batch of a list of items, instead of stacking them.
        rng: source of the seed; the library's generator where ``None``.
        seed: the seed itself.
        sampler: indices of an epoch in their order, instead of ``shuffle``. One with ``set_epoch``
            is told the number of the epoch; one that has not must repeat itself to be resumed.
        batch_sampler: lists of indices, one for each batch, instead of all that says so.
        generator: PyTorch's name of ``rng``.
        num_workers: 0, as batches are made where they are asked for.
    """

    def __init__(
        self,
        dataset: Dataset | Iterable[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        rng: np.random.Generator | None = None,
        seed: int | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Iterable[int]] | None = None,
        generator: np.random.Generator | None = None,
        num_workers: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size: expected at least 1, got {batch_size}")
        if rng is not None and generator is not None:
            raise ValueError("DataLoader: expected rng or generator, got both")
        rng = generator if rng is None else rng
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise TypeError(f"DataLoader: rng: expected a numpy.random.Generator, got {rng!r:.60}")
        if rng is not None and seed is not None:
            raise ValueError("DataLoader: expected rng or seed, got both")
        if seed is not None and seed < 0:
            raise ValueError(f"DataLoader: seed: expected at least 0, got {seed}")
        if num_workers != 0:
            raise ValueError(
                "DataLoader: num_workers: expected 0, as batches are made by the process that "
                f"asks for them, got {num_workers}"
            )
        self._indexed = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        if not self._indexed and not isinstance(dataset, Iterable):
            raise TypeError(
                "DataLoader: dataset: expected items by index or an iterable, "
                f"got {type(dataset).__name__}"
            )
        ordered = sampler is not None or batch_sampler is not None
        if shuffle and (ordered or not self._indexed):
            raise ValueError("DataLoader: shuffle: expected no sampler with it, and items by index")
        if ordered and not self._indexed:
            raise ValueError("DataLoader: sampler: expected a data set of items by index with it")
        if batch_sampler is not None and (sampler is not None or batch_size != 1 or drop_last):
            raise ValueError(
                "DataLoader: batch_sampler: expected no batch_size, sampler or drop_last with it"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        if seed is None:
            # An order that is not random does not disturb the generator.
            seed = int(library_generator(rng).integers(1 << 62)) if shuffle else 0
        self.seed = seed
        self.epoch = 0
        self.position = 0
        # The iterator that moves the state, which a new one takes over.
        self._latest: object | None = None

    def __len__(self) -> int:
        """Number of batches in an epoch.

        Raises:
            TypeError: the data set or the sampler has no length.
        """
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        items: Any = self.dataset if self.sampler is None else self.sampler
        full, rest = divmod(len(items), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self._latest is not None or self._is_complete():
            self.epoch += 1
            self.position = 0
        self._latest = object()
        return self._batches(self._latest, self.epoch, self.position)

    def _is_complete(self) -> bool:
        # An epoch without any batch is complete after it, not before.
        try:
            return self.position >= max(len(self), 1)
        except TypeError:
            return False

    def _batches(self, latest: object, epoch: int, start: int) -> Iterator[Any]:
        parts = itertools.islice(self._parts(epoch), start, None)
        for position, part in enumerate(parts, start):
            batch = self._load(part)
            if self._latest is latest:
                self.position = position + 1
            yield batch
        if self._latest is latest:
            self.epoch = epoch + 1
            self.position = 0
            self._latest = None

    def _parts(self, epoch: int) -> Iterator[Any]:
        """Indices of each batch, or its items where the data set has no indices."""
        chosen: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        if hasattr(chosen, "set_epoch"):
            chosen.set_epoch(epoch)
        if self.batch_sampler is not None:
            yield from (np.asarray(list(part), dtype=np.int64) for part in self.batch_sampler)
        elif self._indexed and self.sampler is None:
            order = self._order(epoch)
            for first in range(0, len(self) * self.batch_size, self.batch_size):
                yield order[first : first + self.batch_size]
        else:
            items: Any = iter(self.dataset if chosen is None else chosen)
            while part := list(itertools.islice(items, self.batch_size)):
                if len(part) == self.batch_size or not self.drop_last:
                    yield np.asarray(part, dtype=np.int64) if self._indexed else part

    def _order(self, epoch: int) -> Indices:
        if self.shuffle:
            return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))  # type: ignore[arg-type]
        return np.arange(len(self.dataset))  # type: ignore[arg-type]

    def _load(self, part: Any) -> Any:
        if self._indexed and self.collate_fn is None and isinstance(self.dataset, BatchDataset):
            return self.dataset.batch(part)
        items = [self.dataset[i] for i in part.tolist()] if self._indexed else part  # type: ignore[index]
        return (self.collate_fn or default_collate)(items)

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch, and number of batches of it already given."""
        seed = int(getattr(self.sampler, "seed", self.seed))
        return {"seed": seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where the loader that gave ``state`` stood.

        Raises:
            ValueError: the state is not one of a loader of this length.
        """
        if state.keys() != {"seed", "epoch", "position"}:
            raise ValueError(f"DataLoader: state: expected seed, epoch, position, got {[*state]}")
        values = {key: int(value) for key, value in state.items()}
        try:
            most = len(self)
        except TypeError:
            most = values["position"]
        if min(values.values()) < 0 or values["position"] > most:
            raise ValueError(f"DataLoader: state: expected position <= {most}, got {values}")
        self.seed, self.epoch, self.position = (values[k] for k in ("seed", "epoch", "position"))
        if hasattr(self.sampler, "seed"):
            self.sampler.seed = self.seed  # type: ignore[union-attr]
        self._latest = None
