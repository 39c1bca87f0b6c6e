"""Centres of groups of observations, from which mixtures start."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lamina import _kernels

Array = npt.NDArray[Any]

_UPDATES = 50


def means(x: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Centres ``[K, D]`` of ``count`` groups of ``x`` ``[T, D]``, and the group of each row.

    By k-means.

    Reference:
        Arthur & Vassilvitskii, k-means++: the advantages of careful seeding, 2007.
    """
    centres = _seeds(x, count, rng)
    groups = np.zeros(len(x), np.int64)
    for _ in range(_UPDATES):
        before, groups = groups, _nearest(x, centres).argmax(1)
        member = np.zeros((len(x), count))
        member[np.arange(len(x)), groups] = 1
        sums = _kernels.hmm_moments(member, x, 0)
        filled = sums[:, 0] > 0
        centres[filled] = sums[filled, 1:] / sums[filled, :1]
        if np.array_equal(before, groups):
            break
    return centres, groups


def _nearest(x: Array, centres: Array) -> Array:
    """Minus half the squared distances, ``[T, K]``."""
    return _kernels.hmm_gaussian(x, centres, np.ones_like(centres), False, np.zeros(len(centres)))


def _seeds(x: Array, count: int, rng: np.random.Generator) -> Array:
    centres = x[rng.integers(len(x), size=1)]
    while len(centres) < count:
        away = -_nearest(x, centres).max(1)
        total = away.sum()
        chosen = rng.choice(len(x), p=away / total) if total > 0 else int(rng.integers(len(x)))
        centres = np.vstack([centres, x[chosen]])
    return centres
