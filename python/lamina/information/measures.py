"""Measures of two or more variables: tables of their probabilities or counts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.information.estimators import Array, entropy_nats, log_of, nonnegative


def joint_entropy(joint: npt.ArrayLike, *, base: float = 2.0, method: str = "ml") -> float:
    """Entropy ``H(X, Y, ...)`` of all variables of a table together.

    Args:
        joint: probabilities or counts, an axis for each variable.
        base: of the logarithm.
        method: as of :func:`lamina.information.entropy`.
    """
    values = nonnegative("joint_entropy", "joint", joint)
    return entropy_nats("joint_entropy", values, method) / log_of("joint_entropy", base)


def conditional_entropy(
    joint: npt.ArrayLike,
    *,
    given: int | Sequence[int] = 0,
    base: float = 2.0,
    method: str = "ml",
) -> float:
    """Entropy of the other variables where those of the axes ``given`` are known.

    ``H(Y | X) = H(X, Y) - H(X)``, with either entropy as the method estimates it: a corrected one
    may be below zero.

    Args:
        joint: probabilities or counts, an axis for each variable.
        given: the axis, or axes, of what is known.
        base: of the logarithm.
        method: as of :func:`lamina.information.entropy`.
    """
    op = "conditional_entropy"
    values = nonnegative(op, "joint", joint)
    kept = [given] if isinstance(given, int) else list(given)
    if any(not -values.ndim <= axis < values.ndim for axis in kept):
        raise ValueError(f"{op}: given: expected axes of joint, {values.ndim}-d, got {given}")
    known = {axis % values.ndim for axis in kept}
    others = tuple(axis for axis in range(values.ndim) if axis not in known)
    marginal = values.sum(axis=others, keepdims=True)
    if method == "ml":
        nats = _cross_nats(values, np.broadcast_to(marginal, values.shape), values.sum())
        return max(0.0, nats) / log_of(op, base)
    nats = entropy_nats(op, values, method) - entropy_nats(op, marginal, method)
    return nats / log_of(op, base)


def _cross_nats(values: Array, marginal: Array, total: Any) -> float:
    """``-sum values / total log(values / marginal)``."""
    there = values > 0
    return -float(np.sum(values[there] / total * np.log(values[there] / marginal[there])))


def mutual_information(joint: npt.ArrayLike, *, base: float = 2.0, method: str = "ml") -> float:
    """How much either of two variables tells of the other: ``H(X) + H(Y) - H(X, Y)``.

    Of counts, ``ml`` is too high on average by about ``(X - 1)(Y - 1) / 2N``; a corrected one may
    be below zero.

    Args:
        joint: probabilities or counts ``[X, Y]``.
        base: of the logarithm.
        method: as of :func:`lamina.information.entropy`.
    """
    op = "mutual_information"
    values = _matrix(op, joint)
    if method == "ml":
        independent = values.sum(1, keepdims=True) * (values.sum(0) / values.sum())
        return max(0.0, -_cross_nats(values, independent, values.sum())) / log_of(op, base)
    parts = values.sum(1), values.sum(0)
    nats = sum(entropy_nats(op, part, method) for part in parts) - entropy_nats(op, values, method)
    return nats / log_of(op, base)


def pointwise_mutual_information(joint: npt.ArrayLike, *, base: float = 2.0) -> Array:
    """``log p(x, y) / (p(x) p(y))`` of each pair ``[X, Y]``.

    Minus infinity where a pair never occurs; not a number where a row or column is empty. Its mean
    over the pairs is the mutual information.

    Args:
        joint: probabilities or counts ``[X, Y]``.
        base: of the logarithm.
    """
    values = _matrix("pointwise_mutual_information", joint)
    p = values / values.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = p / (p.sum(1, keepdims=True) * p.sum(0))
        return np.log(ratio) / log_of("pointwise_mutual_information", base)


def cross_entropy(p: npt.ArrayLike, q: npt.ArrayLike, *, base: float = 2.0) -> float:
    """``-sum p log q``: what symbols from ``p`` cost in a code made for ``q``.

    Infinite where ``q`` is zero and ``p`` is not.

    Args:
        p: probabilities or counts, which are divided by their sum.
        q: likewise, of the same shape.
        base: of the logarithm.
    """
    first, second = _pair("cross_entropy", p, q)
    there = first > 0
    with np.errstate(divide="ignore"):
        nats = -float(np.sum(first[there] * np.log(second[there])))
    return abs(nats) / log_of("cross_entropy", base)


def kl_divergence(p: npt.ArrayLike, q: npt.ArrayLike, *, base: float = 2.0) -> float:
    """``sum p log(p / q)``: what a code made for ``q`` costs more than that for ``p``.

    Kullback and Leibler's divergence, relative entropy: zero where both are equal, infinite where
    ``q`` is zero and ``p`` is not.

    Args:
        p: probabilities or counts, which are divided by their sum.
        q: likewise, of the same shape.
        base: of the logarithm.
    """
    first, second = _pair("kl_divergence", p, q)
    return _kl_nats(first, second) / log_of("kl_divergence", base)


def js_divergence(p: npt.ArrayLike, q: npt.ArrayLike, *, base: float = 2.0) -> float:
    """Mean of both divergences from the mean of ``p`` and ``q``: symmetric, at most ``log 2``.

    Jensen and Shannon's; the square root of it is a metric.

    Args:
        p: probabilities or counts, which are divided by their sum.
        q: likewise, of the same shape.
        base: of the logarithm.

    Reference:
        Lin, Divergence measures based on the Shannon entropy, 1991.
    """
    first, second = _pair("js_divergence", p, q)
    middle = (first + second) / 2
    nats = (_kl_nats(first, middle) + _kl_nats(second, middle)) / 2
    return nats / log_of("js_divergence", base)


def _kl_nats(p: Array, q: Array) -> float:
    there = p > 0
    with np.errstate(divide="ignore"):
        return max(0.0, float(np.sum(p[there] * (np.log(p[there]) - np.log(q[there])))))


def _matrix(op: str, joint: npt.ArrayLike) -> Array:
    values = nonnegative(op, "joint", joint)
    if values.ndim != 2:
        raise ValueError(f"{op}: joint: expected a table [X, Y], got shape {values.shape}")
    return values


def _pair(op: str, p: npt.ArrayLike, q: npt.ArrayLike) -> tuple[Array, Array]:
    first, second = nonnegative(op, "p", p), nonnegative(op, "q", q)
    if first.shape != second.shape:
        raise ValueError(f"{op}: q: expected shape {first.shape}, got {second.shape}")
    return first / first.sum(), second / second.sum()
