"""Words of a hidden Markov model of text."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from lamina.lm.base import Array, Ids

UNKNOWN, END = 0, 1
_SPECIAL = ["<unk>", "</s>"]


class Words:
    """Words apart by white space, in lines that end in ``</s>``.

    Args:
        vocabulary: the words in the order of their ids, after ``<unk>`` and ``</s>``.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = [*_SPECIAL, *vocabulary]
        self._ids = {word: id for id, word in enumerate(self.vocabulary)}
        if len(self._ids) < len(self.vocabulary):
            raise ValueError("HMM: vocabulary: expected different words")

    @classmethod
    def of(cls, texts: Iterable[str], min_count: int, vocab_size: int | None) -> "Words":
        """The words that occur ``min_count`` times or more, the most frequent first."""
        counts = Counter(word for text in texts for word in text.split())
        for word in _SPECIAL:
            counts.pop(word, None)
        kept = [word for word, count in counts.items() if count >= min_count]
        kept.sort(key=lambda word: (-counts[word], word))
        most = None if vocab_size is None else vocab_size - len(_SPECIAL)
        return cls(kept[:most])

    @property
    def vocab_size(self) -> int:
        """How many words there are."""
        return len(self.vocabulary)

    def token_to_id(self, token: str) -> int | None:
        """The id of a word, if it is one of the model's."""
        return self._ids.get(token)

    def encode(self, text: str) -> Array:
        """Ids of the words of a text; each line but the last ends in ``</s>``."""
        ids: list[int] = []
        find = self._ids.get
        *lines, last = text.split("\n")
        for line in lines:
            words = line.split()
            if words:
                ids += [find(word, UNKNOWN) for word in words]
                ids.append(END)
        ids += [find(word, UNKNOWN) for word in last.split()]
        return np.array(ids, np.int64)

    def decode(self, ids: Ids) -> str:
        """The words, each line ended by its ``</s>``."""
        words = ["\n" if id == END else self.vocabulary[id] for id in np.asarray(ids).tolist()]
        return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")
