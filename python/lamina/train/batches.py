"""What training and evaluation take for batches, and what a batch is."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lamina.data import BatchDataset, DataLoader, TensorDataset
from lamina.tensor import Array, Tensor


def as_array(value: Any) -> Array:
    """The array of a tensor, or of what makes one."""
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def as_batches(data: Any, batch_size: int, shuffle: bool = False) -> Iterable[Any]:
    """A loader of a tuple of arrays or of a data set; anything else as it is."""
    several = isinstance(data, tuple) and len(data) > 1
    if several and all(isinstance(part, np.ndarray | Tensor) for part in data):
        data = TensorDataset(*map(as_array, data))
    if isinstance(data, BatchDataset) or _has_items_alone(data):
        return DataLoader(data, batch_size, shuffle)
    return data


def _has_items_alone(data: Any) -> bool:
    kind = type(data)
    return (
        hasattr(kind, "__getitem__") and hasattr(kind, "__len__") and not hasattr(kind, "__iter__")
    )


def split_batch(batch: Any) -> tuple[tuple[Any, ...], Any]:
    """Inputs and target of a batch."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        kind = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"loader: expected batches (inputs..., target), got {kind}")
    return tuple(batch[:-1]), batch[-1]


def count_items(inputs: tuple[Any, ...], target: Any) -> int:
    """Number of items of a batch: of its target or, where that tells none, of its inputs."""
    for value in (target, inputs):
        count = _count(value)
        if count is not None:
            return count
    raise TypeError(
        f"loader: expected a batch of items along the first axis, got a {type(target).__name__} "
        "as target and no inputs with an axis"
    )


def _count(value: Any) -> int | None:
    # The parts of a tuple or mapping have an item for each of the batch; a list is the items.
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return next((count for count in map(_count, value) if count is not None), None)
    if isinstance(value, list):
        return len(value)
    shape = getattr(value, "shape", ())
    return int(shape[0]) if shape else None


def loss_number(value: Any, where: str) -> float:
    """The number of a loss, which must be one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{where}: loss: expected a Tensor of it, got {type(value).__name__}")
    if value.data.size != 1:
        raise ValueError(
            f"{where}: loss: expected one number for the batch, such as the mean, "
            f"got shape {[*value.shape]}"
        )
    return float(value.data.item())
