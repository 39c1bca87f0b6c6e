"""What the ending of a word says of its tag."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Suffixes:
    """Probabilities of tags by the last letters of a word.

    They are smoothed from no letter at all to the longest ending known::

        p(tag | ending) = (p_ML(tag | ending) + theta p(tag | ending without its first letter))
                          / (1 + theta)

    where theta is the standard deviation of the probabilities of the tags. There is one such model
    for each :func:`kind` of words.

    Args:
        max_suffix: letters of the longest endings.

    Reference:
        Samuelsson, Morphological tagging based entirely on Bayesian inference, 1993; Brants, TnT:
        a statistical part-of-speech tagger, 2000.
    """

    def __init__(self, max_suffix: int) -> None:
        self._longest = max_suffix
        self._counts: dict[tuple[str, str], Array] = {}
        self._base: Array = np.zeros(0)
        self._theta = 0.0

    def fit(self, words: Iterable[tuple[str, Array]], sizes: Array) -> Self:
        """Learn from words and how often each has each tag, ``[K]``.

        Args:
            words: those that are like the words to come, as rare ones are.
            sizes: how often each tag occurs, ``[K]``.
        """
        self._base = sizes / sizes.sum()
        self._theta = float(self._base.std(ddof=1)) if len(sizes) > 1 else 1.0
        self._counts = {}
        for word, counts in words:
            for key in self._endings(word):
                if key in self._counts:
                    self._counts[key] += counts
                else:
                    self._counts[key] = counts.astype(np.float64)
        return self

    def _endings(self, word: str) -> list[tuple[str, str]]:
        """From none to the longest."""
        group, letters = kind(word), word.lower()
        most = min(self._longest, len(letters))
        return [(group, letters[len(letters) - n :]) for n in range(most + 1)]

    def tags(self, word: str) -> Array:
        """Probabilities of the tags of a word, ``[K]``."""
        found = self._base
        for key in self._endings(word):
            counts = self._counts.get(key)
            if counts is None:
                # Longer ones do not occur either; of this kind of word there may be none at all.
                break
            found = (counts / counts.sum() + self._theta * found) / (1 + self._theta)
        return found


def kind(word: str) -> str:
    """What the letters of a word look like."""
    if any(letter.isdigit() for letter in word):
        return "digit"
    if not any(letter.isalnum() for letter in word):
        return "sign"
    if "-" in word:
        return "hyphen"
    if len(word) > 1 and word.isupper():
        return "upper"
    return "title" if word[:1].isupper() else "lower"
