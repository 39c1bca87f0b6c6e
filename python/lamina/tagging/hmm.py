"""A part-of-speech tagger on a hidden Markov model."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.lm.hmm import storage
from lamina.tagging.suffixes import Suffixes

Array = npt.NDArray[Any]
Sentence = Sequence[tuple[str, str]]

_MAX_TAGS = 255


class HMMTagger:
    """Tags words by the words themselves and the tags around them.

    The tags of a sentence are those that make most of::

        prod_t p(tag_t | tag_t-2, tag_t-1) p(word_t | tag_t)     and p(end | tag_n-1, tag_n)

    Transitions of one, two and three tags are mixed with weights that deleted interpolation
    finds. Words that training lacks, and in part rare ones, are judged by their endings and
    whether they have a capital letter or a digit; see :class:`~lamina.tagging.suffixes.Suffixes`.

    Args:
        order: 3 looks at two tags before a tag, 2 at one.
        max_suffix: letters of the longest endings.
        rare: endings are learnt from words that occur at most so often.

    Attributes:
        tags: in the order of their numbers.
        weights: of one, two and three tags, ``[3]``.

    Reference:
        Brants, TnT: a statistical part-of-speech tagger, 2000.
    """

    def __init__(self, order: int = 3, *, max_suffix: int = 10, rare: int = 10) -> None:
        if order not in (2, 3):
            raise ValueError(f"HMMTagger: order: expected 2 or 3, got {order!r}")
        for name, value in (("max_suffix", max_suffix), ("rare", rare)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"HMMTagger: {name}: expected a positive integer, got {value!r}")
        self.order = order
        self.max_suffix = max_suffix
        self.rare = rare
        self.tags: list[str] = []
        self.weights: Array = np.zeros(3)
        self._trans: Array | None = None
        self._end: Array = np.zeros((0, 0))
        self._words: dict[str, int] = {}
        self._counts: Array = np.zeros((0, 0))
        self._sizes: Array = np.zeros(0)
        self._suffixes = Suffixes(max_suffix)
        self._known: dict[str, Array] = {}

    # Estimation.

    def fit(self, sentences: Iterable[Sentence]) -> Self:
        """Learn from tagged sentences, forgetting an earlier model.

        Args:
            sentences: each a list of words and their tags.

        Raises:
            ValueError: no words, or more than 255 tags.
        """
        data = [list(sentence) for sentence in sentences]
        data = [sentence for sentence in data if sentence]
        if not data:
            raise ValueError("HMMTagger: sentences: expected at least one word, got none")
        self.tags = sorted({tag for sentence in data for _, tag in sentence})
        if len(self.tags) > _MAX_TAGS:
            raise ValueError(
                f"HMMTagger: sentences: expected at most {_MAX_TAGS} tags, got {len(self.tags)}"
            )
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        words = Counter(word for sentence in data for word, _ in sentence)
        self._words = {word: number for number, word in enumerate(words)}
        self._counts = np.zeros((len(words), len(self.tags)))
        for sentence in data:
            for word, tag in sentence:
                self._counts[self._words[word], numbers[tag]] += 1
        self._sizes = self._counts.sum(0)
        self._fit_transitions([[numbers[tag] for _, tag in sentence] for sentence in data])
        self._suffixes = Suffixes(self.max_suffix).fit(self._rare_words(), self._sizes)
        self._known = {}
        return self

    def _rare_words(self) -> Iterable[tuple[str, Array]]:
        for word, number in self._words.items():
            counts = self._counts[number]
            if counts.sum() <= self.rare:
                yield word, counts

    def _fit_transitions(self, paths: list[list[int]]) -> None:
        size = len(self.tags)
        # The number after the last tag stands for what is before and after a sentence.
        edge, all_ = size, size + 1
        three = np.zeros((all_, all_, all_))
        for path in paths:
            whole = np.array([edge, edge, *path, edge])
            np.add.at(three, (whole[:-2], whole[1:-1], whole[2:]), 1)
        two, one = three.sum(0), three.sum((0, 1))
        self.weights = _deleted_interpolation(three, two, one, self.order)
        alone = one / one.sum()
        after_one = _rows(two, alone)
        parts = (alone, after_one, _rows(three, after_one))
        mixed = sum(weight * part for weight, part in zip(self.weights, parts, strict=True))
        with np.errstate(divide="ignore"):
            logs = np.log(mixed)
        self._trans = np.ascontiguousarray(logs[:, :, :size])
        self._end = np.ascontiguousarray(logs[:, :, edge])

    # Use.

    def __contains__(self, word: object) -> bool:
        """Whether training saw a word."""
        return word in self._words

    def tag(self, sentences: Iterable[Sequence[str]]) -> list[list[str]]:
        """The most likely tags of each sentence.

        Args:
            sentences: each a list of words.
        """
        if self._trans is None:
            raise RuntimeError("HMMTagger: not fitted yet: call fit or load")
        given = list(sentences)
        if any(isinstance(sentence, str) for sentence in given):
            raise TypeError("HMMTagger: sentences: expected lists of words, got str")
        data = [list(sentence) for sentence in given]
        lengths = np.array([len(sentence) for sentence in data], np.int64)
        known = self._known
        rows: dict[str, int] = {}
        places = np.array(
            [rows.setdefault(word, len(rows)) for sentence in data for word in sentence], np.int64
        )
        table = [known.get(word) for word in rows]
        for number, word in enumerate(rows):
            if table[number] is None:
                table[number] = known[word] = self._emission(word)
        frames = np.array(table).reshape(len(table), len(self.tags))[places]
        path = _kernels.hmm_decode_trigrams(self._trans, self._end, frames, lengths)
        names = [self.tags[number] for number in path.tolist()]
        ends = np.cumsum(lengths).tolist()
        return [names[end - n : end] for end, n in zip(ends, lengths.tolist(), strict=True)]

    def _emission(self, word: str) -> Array:
        """Logarithm of the probability of a word in each tag, less a constant for unknown ones."""
        number = self._words.get(word)
        if number is None and word.lower() in self._words and not word.islower():
            # At the beginning of a sentence, or for emphasis.
            number = self._words[word.lower()]
        with np.errstate(divide="ignore"):
            if number is None:
                return np.log(self._suffixes.tags(word) / self._sizes)
            return np.log(self._counts[number] / self._sizes)

    def score(self, sentences: Iterable[Sentence]) -> float:
        """Share of the tags that are right."""
        data = [list(sentence) for sentence in sentences]
        found = self.tag([[word for word, _ in sentence] for sentence in data])
        right = [
            tag == gold
            for tags, sentence in zip(found, data, strict=True)
            for tag, (_, gold) in zip(tags, sentence, strict=True)
        ]
        if not right:
            raise ValueError("HMMTagger: sentences: expected at least one word, got none")
        return sum(right) / len(right)

    def __repr__(self) -> str:
        return f"HMMTagger(order={self.order}, tags={len(self.tags)})"

    # Files.

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the tagger to a folder that :meth:`load` reads, whole or not."""
        if self._trans is None:
            raise RuntimeError("HMMTagger: not fitted yet: call fit or load")
        options = {
            "order": self.order,
            "max_suffix": self.max_suffix,
            "rare": self.rare,
            "tags": self.tags,
        }
        rows, columns = np.nonzero(self._counts)
        state = {
            "trans": self._trans,
            "end": self._end,
            "weights": self.weights,
            "words": np.frombuffer("\0".join(self._words).encode(), np.uint8),
            "rows": rows.astype(np.int64),
            "columns": columns.astype(np.int64),
            "counts": self._counts[rows, columns],
        }
        storage.save(folder, "HMMTagger", options, state)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a tagger that :meth:`save` wrote.

        Raises:
            FormatError: the folder holds another kind of model, or a broken one.
        """
        options, state = storage.load(folder, "HMMTagger")
        with storage.refusing(folder):
            tags = options.pop("tags", None)
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise ValueError("expected the tags of an HMMTagger")
            new = cls(**options)
            new.tags = tags
            new._set_state(state)
        return new

    def _set_state(self, state: dict[str, Array]) -> None:
        names = {"trans", "end", "weights", "words", "rows", "columns", "counts"}
        if set(state) != names:
            raise ValueError(f"expected the arrays {sorted(names)}, got {sorted(state)}")
        size = len(self.tags)
        words = state["words"].astype(np.uint8).tobytes().decode().split("\0")
        shapes = {"trans": (size + 1, size + 1, size), "end": (size + 1, size + 1), "weights": (3,)}
        if any(state[name].shape != shape for name, shape in shapes.items()):
            raise ValueError(f"expected the arrays of {size} tags")
        rows, columns = state["rows"].astype(np.int64), state["columns"].astype(np.int64)
        inside = (rows >= 0) & (rows < len(words)) & (columns >= 0) & (columns < size)
        if not inside.all() or len(rows) < len(words) or rows.shape != state["counts"].shape:
            raise ValueError("expected counts of the words and tags")
        self._words = {word: number for number, word in enumerate(words)}
        self._counts = np.zeros((len(words), size))
        self._counts[rows, columns] = state["counts"]
        self._sizes = self._counts.sum(0)
        if not (self._sizes > 0).all():
            raise ValueError("expected a word of each tag")
        self._trans = state["trans"].astype(np.float64)
        self._end = state["end"].astype(np.float64)
        self.weights = state["weights"].astype(np.float64)
        self._suffixes = Suffixes(self.max_suffix).fit(self._rare_words(), self._sizes)


def _rows(counts: Array, otherwise: Array) -> Array:
    """Counts over the sums of the last axis, or what else is known where there are none."""
    sums = counts.sum(-1, keepdims=True)
    return np.where(sums > 0, counts / np.where(sums > 0, sums, 1), otherwise)


def _deleted_interpolation(three: Array, two: Array, one: Array, order: int) -> Array:
    """Weights of one, two and three tags.

    Each trigram votes for what predicts it best when it is left out itself.
    """
    first, second, third = np.nonzero(three)
    counts = three[first, second, third]
    pairs = three.sum(2)[first, second]
    befores = two.sum(1)[second]

    def without(above: Array, below: Array) -> Array:
        return np.where(below > 1, (above - 1) / np.maximum(below - 1, 1), 0)

    votes = np.stack(
        [
            without(one[third], np.broadcast_to(one.sum(), counts.shape)),
            without(two[second, third], befores),
            without(counts, pairs) if order > 2 else np.full(counts.shape, -math.inf),
        ]
    )
    # Of equal ones the longest: it knows most.
    best = 2 - votes[::-1].argmax(0)
    weights = np.bincount(best, counts, 3)
    return weights / weights.sum()
