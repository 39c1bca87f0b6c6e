"""A batch of a list of items."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


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
