"""Correlation of two lists of numbers."""

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Correlation(NamedTuple):
    """A correlation.

    Attributes:
        statistic: -1 to 1.
        pvalue: probability of one as far from zero if there were none, by Student's t.
    """

    statistic: float
    pvalue: float


def ranks(x: Array) -> Array:
    """Ranks; equal numbers share the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def pearson(x: Array, y: Array) -> Correlation:
    """Pearson's correlation of two arrays ``[N]``; of their ranks it is Spearman's."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    if scale == 0:
        return Correlation(math.nan, math.nan)
    r = min(max(float(x @ y) / scale, -1.0), 1.0)
    # Student's t of r has the two tails of an incomplete beta function.
    return Correlation(r, incomplete_beta((len(x) - 2) / 2, 0.5, 1 - r * r))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function by its continued fraction."""
    if x <= 0 or x >= 1 or a <= 0:
        return float(x > 0)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(front + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 300):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value
