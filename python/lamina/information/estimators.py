"""Estimators of entropy from counts, plain and corrected for the bias of small samples."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_EULER = 0.5772156649015329
# From here on the asymptotic series of the harmonic numbers is exact in float64.
_SERIES = 64


def entropy(p: npt.ArrayLike, *, base: float = 2.0, method: str = "ml") -> float:
    """Entropy ``-sum p log p`` of probabilities or counts, of any shape.

    Both are divided by their sum. A sample of N symbols, of which ``K`` are different, makes the
    plug-in estimate ``ml`` too low by about ``(K - 1) / 2N``; the other methods correct it, and
    take counts only:

    - ``ml``: maximum likelihood, the plug-in estimate.
    - ``miller_madow``: adds ``(K - 1) / 2N`` (Miller, Note on the bias of information estimates,
      1955).
    - ``jackknife``: ``N H - (N - 1)`` times the mean of H without one of the symbols (Zahl,
      Jackknifing an index of diversity, 1977).
    - ``grassberger``: ``log N - sum n G(n) / N`` with ``G(n) = psi(n) + (-1)^n / 2
      (psi((n + 1) / 2) - psi(n / 2))`` (Grassberger, Entropy estimates from insufficient
      samplings, 2003).
    - ``chao_shen``: the sum over seen and unseen symbols by Horvitz and Thompson, with the
      coverage of Good and Turing (Chao & Shen, Nonparametric estimation of Shannon's index of
      diversity when there are unseen species in sample, 2003).

    Args:
        p: probabilities or counts.
        base: of the logarithm; 2 gives bits, ``math.e`` nats.
        method: one of ``METHODS``.

    Raises:
        ValueError: numbers are negative, not finite or all zero; the method is unknown, or is
            given other numbers than whole ones; the base is not above 0 or is 1.
    """
    return entropy_nats("entropy", nonnegative("entropy", "p", p), method) / log_of("entropy", base)


def entropy_nats(op: str, values: Array, method: str) -> float:
    """Entropy in nats of numbers that :func:`nonnegative` has passed."""
    estimate = METHODS.get(method)
    if estimate is None:
        raise ValueError(f"{op}: method: expected {', '.join(METHODS)}, got {method!r}")
    if method != "ml" and not np.array_equal(values, np.floor(values)):
        raise ValueError(f"{op}: method: {method} expects counts, whole numbers, got fractions")
    return estimate(values[values > 0])


def nonnegative(op: str, name: str, values: npt.ArrayLike) -> Array:
    """``values`` as float64, which are finite, none below zero and not all zero."""
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{op}: {name}: expected real numbers, got {array.dtype}")
    array = array.astype(np.float64)
    if not array.size:
        raise ValueError(f"{op}: {name}: expected at least one number, got shape {array.shape}")
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError(f"{op}: {name}: expected finite numbers of at least 0")
    with np.errstate(over="ignore"):
        total = array.sum()
    if not 0 < total < math.inf:
        raise ValueError(f"{op}: {name}: expected a finite sum above 0, got {total:g}")
    return array


def log_of(op: str, base: float) -> float:
    """Natural logarithm of ``base``."""
    if not 0 < base < math.inf or base == 1:
        raise ValueError(f"{op}: base: expected a positive number other than 1, got {base}")
    return math.log(base)


def _plug_in(counts: Array) -> float:
    p = counts / counts.sum()
    p = p[p > 0]
    # No term is above zero.
    return abs(float(np.sum(p * np.log(p))))


def _miller_madow(counts: Array) -> float:
    return _plug_in(counts) + (len(counts) - 1) / (2 * float(counts.sum()))


def _jackknife(counts: Array) -> float:
    # N H and (N - 1) times the mean both hold the sum of n log n: it is left out of both.
    total = counts.sum(keepdims=True)
    return float((_step(total) - np.sum(counts * _step(counts)) / total)[0])


def _step(n: Array) -> Array:
    """``n log n - (n - 1) log(n - 1)``, zero for 1."""
    return np.log(n) - (n - 1) * np.log1p(-1 / np.maximum(n, 2))


def _grassberger(counts: Array) -> float:
    total = float(counts.sum())
    return math.log(total) - float(np.sum(counts * _g(counts))) / total


def _g(counts: Array) -> Array:
    """G of counts: that of an odd one above 1 is G of the even one below it."""
    half = np.floor(counts / 2)
    return 2 * _harmonic(2 * half) - _harmonic(half) - _EULER - math.log(2)


def _harmonic(n: Array) -> Array:
    """Sums of the first ``n`` of 1, 1/2, 1/3 ..."""
    table = np.concatenate([[0.0], np.cumsum(1 / np.arange(1.0, _SERIES))])
    x = np.maximum(n, _SERIES)
    series = np.log(x) + _EULER + 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4)
    return np.where(n < _SERIES, table[np.minimum(n, _SERIES - 1).astype(np.int64)], series)


def _chao_shen(counts: Array) -> float:
    total = float(counts.sum())
    once = float(np.count_nonzero(counts == 1))
    # A coverage of nothing at all, where every symbol was seen once, tells nothing.
    coverage = 1 - (once if once < total else total - 1) / total
    p = coverage * counts / total
    with np.errstate(divide="ignore"):
        # Underflows to 0, as it should, where a symbol is certain to be seen.
        seen = -np.expm1(total * np.log1p(-p))
    terms = np.where(p < 1, p * np.log(p) / seen, 0.0)
    return abs(float(np.sum(terms)))


METHODS: dict[str, Callable[[Array], float]] = {
    "ml": _plug_in,
    "miller_madow": _miller_madow,
    "jackknife": _jackknife,
    "grassberger": _grassberger,
    "chao_shen": _chao_shen,
}
"""Estimators of entropy by name, see :func:`entropy`."""
