"""Choosing the next token from scores ``[N, V]``: logits or log-probabilities.

Each filter returns new scores in which the tokens it rules out are ``-inf``.
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.arrays import FLOATS

Array = npt.NDArray[Any]


def apply_temperature(scores: Array, temperature: float) -> Array:
    """Scores divided by ``temperature``: below 1 sharper, above 1 flatter."""
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    return scores / temperature


def apply_top_k(scores: Array, top_k: int) -> Array:
    """Keep the ``top_k`` best tokens of each row; of equal ones the first.

    Reference:
        Fan et al., Hierarchical Neural Story Generation, 2018.
    """
    _check_top_k(top_k)
    size = scores.shape[-1]
    if top_k >= size:
        return scores
    kept = np.zeros(scores.shape, bool)
    np.put_along_axis(kept, _best(scores, top_k), True, axis=-1)
    return np.where(kept, scores, -np.inf)


def apply_top_p(scores: Array, top_p: float) -> Array:
    """Keep the fewest best tokens of each row whose probabilities sum to ``top_p`` or more.

    Reference:
        Holtzman et al., The Curious Case of Neural Text Degeneration, 2020.
    """
    _check_share("top_p", top_p)
    if top_p == 1:
        return scores
    probs = _probabilities(scores)
    # All tokens this unlikely together are less than what may be left out: no need to sort them.
    likely = probs > (1 - top_p) / (2 * scores.shape[-1])
    columns = np.flatnonzero(likely.reshape(-1, scores.shape[-1]).any(axis=0))
    order = _best(scores[..., columns], len(columns))
    probs = np.take_along_axis(probs[..., columns], order, axis=-1)
    before = probs.cumsum(axis=-1) - probs
    kept = np.zeros(scores.shape, bool)
    np.put_along_axis(kept, columns[order], before < top_p, axis=-1)
    return np.where(kept, scores, -np.inf)


def apply_min_p(scores: Array, min_p: float) -> Array:
    """Keep the tokens at least ``min_p`` times as probable as the best of their row.

    Reference:
        Nguyen et al., Turning Up the Heat: Min-p Sampling, 2024.
    """
    _check_share("min_p", min_p)
    best = scores.max(axis=-1, keepdims=True)
    return np.where(scores >= best + np.log(min_p), scores, -np.inf)


def apply_repetition_penalty(scores: Array, ids: Array, penalty: float) -> Array:
    """Make the tokens in ``ids`` ``[N, L]`` less likely: scores above 0 divided, others multiplied.

    The result depends on where zero is, so logits and log-probabilities differ.

    Reference:
        Keskar et al., CTRL, 2019.
    """
    if not 0 < penalty < np.inf:
        raise ValueError(f"repetition_penalty: expected a number above 0, got {penalty}")
    seen = np.zeros(scores.shape, bool)
    np.put_along_axis(seen, ids, True, axis=-1)
    return np.where(seen, np.where(scores > 0, scores / penalty, scores * penalty), scores)


def greedy(scores: Array) -> Array:
    """The best token of each row ``[N]``; of equal ones the first."""
    return np.asarray(scores.argmax(axis=-1), dtype=np.int64)


def sample(scores: Array, rng: np.random.Generator) -> Array:
    """One token for each row ``[N]``, drawn from ``softmax(scores)``."""
    kept = (scores > -np.inf).any(axis=0)
    # Filters leave few tokens, and the others have no part in the sums.
    columns = None if kept.all() else np.flatnonzero(kept)
    cumulated = _probabilities(scores if columns is None else scores[:, columns]).cumsum(axis=-1)
    total = cumulated[:, -1:]
    # Stays below the total, so that rounding never picks a token of probability zero.
    draw = np.minimum(rng.random((len(scores), 1)) * total, np.nextafter(total, 0))
    chosen = np.asarray((cumulated <= draw).sum(axis=-1), dtype=np.int64)
    return chosen if columns is None else columns[chosen]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How the next token is chosen; the options have Hugging Face's names.

    They apply in this order: repetition penalty, temperature, top-k, top-p, min-p. Without
    ``do_sample``, or at temperature 0, the best token after the repetition penalty is taken.

    Args:
        do_sample: draw at random rather than take the best.
        temperature: at least 0; 0 means the best token.
        top_k: keep this many tokens.
        top_p: keep the best tokens with this much probability together, in ``(0, 1]``.
        min_p: keep tokens with this share of the best one's probability, in ``(0, 1]``.
        repetition_penalty: above 1 discourages tokens that occurred, below 1 favours them.
    """

    do_sample: bool = True
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < np.inf:
            raise ValueError(
                f"temperature: expected a number above 0, or 0 for the best token, "
                f"got {self.temperature}"
            )
        if self.top_k is not None:
            _check_top_k(self.top_k)
        if self.top_p is not None:
            _check_share("top_p", self.top_p)
        if self.min_p is not None:
            _check_share("min_p", self.min_p)
        if not 0 < self.repetition_penalty < np.inf:
            raise ValueError(
                f"repetition_penalty: expected a number above 0, got {self.repetition_penalty}"
            )

    def __call__(self, scores: Array, ids: Array, rng: np.random.Generator) -> Array:
        """The next token ``[N]`` of each row, from ``scores`` ``[N, V]`` after ``ids`` ``[N, L]``.

        Raises:
            ValueError: a row holds NaN, or no token has a probability above zero.
        """
        scores = np.asarray(scores, dtype=np.float64)
        best = scores.max(axis=-1)
        for row in np.flatnonzero(~np.isfinite(best)):
            raise ValueError(f"scores: expected a finite maximum in row {row}, got {best[row]}")
        if self.repetition_penalty != 1:
            scores = apply_repetition_penalty(scores, ids, self.repetition_penalty)
        if not self.do_sample or self.temperature == 0:
            return greedy(scores)
        if self.temperature != 1:
            # The best at zero stays finite even where a tiny temperature makes others infinite.
            with np.errstate(over="ignore"):
                relative = scores - scores.max(axis=-1, keepdims=True)
                scores = apply_temperature(relative, self.temperature)
        if self.top_k is not None:
            scores = apply_top_k(scores, self.top_k)
        if self.top_p is not None:
            scores = apply_top_p(scores, self.top_p)
        if self.min_p is not None:
            scores = apply_min_p(scores, self.min_p)
        return sample(scores, rng)


def _best(scores: Array, count: int) -> Array:
    """Where the ``count`` best of each row are, in order; of equal ones the first comes first."""
    scores = scores if scores.dtype in FLOATS else scores.astype(np.float64)
    return _kernels.order_top(scores, count, True)[1]


def _probabilities(scores: Array) -> Array:
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def _check_top_k(top_k: int) -> None:
    try:
        operator.index(top_k)
    except TypeError:
        raise TypeError(f"top_k: expected an integer, got {top_k!r}") from None
    if top_k < 1:
        raise ValueError(f"top_k: expected at least 1, got {top_k}")


def _check_share(name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"{name}: expected a number in (0, 1], got {share}")
