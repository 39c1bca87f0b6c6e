"""Samplers: which items an epoch has, and in which order."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lamina.random import generator


class WeightedRandomSampler:
    """Indices drawn in proportion to weights, anew each time it is iterated over.

    As in a loader, the indices of an epoch depend on the seed and the number of the epoch alone.

    Args:
        weights: one of at least 0 for each item; they need not sum to 1.
        num_samples: indices in an epoch.
        replacement: whether an index may occur more than once.
        rng: source of the seed; the library's generator where ``None``.
        seed: the seed itself.
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        num_samples: int,
        replacement: bool = True,
        *,
        rng: np.random.Generator | None = None,
        seed: int | None = None,
    ) -> None:
        name = "WeightedRandomSampler"
        self.weights = np.asarray(weights, dtype=np.float64)
        if self.weights.ndim != 1:
            raise ValueError(f"{name}: weights: expected 1 axis, got {self.weights.ndim}")
        if not (self.weights >= 0).all() or not 0 < self.weights.sum() < np.inf:
            raise ValueError(f"{name}: weights: expected finite numbers from 0, not all of them 0")
        if num_samples < 1:
            raise ValueError(f"{name}: num_samples: expected at least 1, got {num_samples}")
        possible = int((self.weights > 0).sum())
        if not replacement and num_samples > possible:
            raise ValueError(
                f"{name}: num_samples: expected at most the {possible} items of a weight above 0, "
                f"got {num_samples}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.seed = int(generator(rng).integers(1 << 62)) if seed is None else seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Draw for that epoch next; loaders say so."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        shares = self.weights / self.weights.sum()
        return iter(rng.choice(len(shares), self.num_samples, self.replacement, shares).tolist())
