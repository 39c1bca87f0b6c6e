"""Tokens of n-gram models: words of a text or ids, and the ids of the kernels."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lamina import _kernels
from lamina.lm.base import Array, Ids

MAX_SIZE = 2**24
"""Most ids of a model: they take memory whether they occur or not."""

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIAL = 3
"""How many ids of the kernels stand before those of a model of ids."""

_MAX_DIGITS = 20


class Words:
    """Words apart by white space; the ids of a model."""

    def __init__(self, model: _kernels.NGramModel) -> None:
        self._model = model
        self._vocabulary: list[str] | None = None

    @property
    def vocab_size(self) -> int:
        """How many words there are."""
        return len(self._model)

    def token_to_id(self, token: str) -> int | None:
        """The id of a word, if it is one of the model's."""
        return self._model.id(token)

    def encode(self, text: str) -> Array:
        """Ids of the words of a text."""
        return self._model.encode(text, False).astype(np.int64)

    def decode(self, ids: Ids) -> str:
        """The words, each line ended by its ``</s>``."""
        if self._vocabulary is None:
            self._vocabulary = self._model.vocabulary()
        words = ["\n" if id == END else self._vocabulary[id] for id in checked(ids).tolist()]
        return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")


class Numbers:
    """Ids in decimal apart by white space."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: str) -> Array:
        """The ids that a text writes out."""
        ids = []
        for number in text.split():
            id = self.token_to_id(number)
            if id is None:
                raise ValueError(
                    f"NGram: text: expected ids from 0 to {self.vocab_size - 1}, in decimal and "
                    f"apart by white space, got {number[:40]!r}"
                )
            ids.append(id)
        return np.array(ids, np.int64)

    def token_to_id(self, token: str) -> int | None:
        """The id that a word writes out, if it is one."""
        # The length keeps a text of many digits from becoming a number of as many.
        if not token.isascii() or not token.isdecimal() or len(token) > _MAX_DIGITS:
            return None
        return int(token) if int(token) < self.vocab_size else None

    def decode(self, ids: Ids) -> str:
        """Ids written out."""
        return " ".join(map(str, checked(ids).tolist()))


def parts_of(data: Any) -> Iterator[Any]:
    """The texts or arrays of ids in what ``fit`` was given."""
    if isinstance(data, str) or (isinstance(data, np.ndarray) and data.ndim == 1):
        return iter([data])
    if not isinstance(data, Iterable):
        raise TypeError(f"NGram: data: expected texts or ids, got {type(data).__name__}")
    items = iter(data)
    first = next(items, None)
    if first is None:
        return items
    rest = itertools.chain([first], items)
    if isinstance(first, int | np.integer):
        return iter([np.array(list(rest))])
    return rest


def held_out_words(texts: Any, corpus: _kernels.NGramText | _kernels.NGramShard) -> Array | None:
    """The kernel's ids of the sentences of held-out texts, ``<s>`` before each.

    Raises:
        TypeError: they are no texts.
    """
    if texts is None:
        return None
    pieces = []
    for text in parts_of(texts):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"NGram: held_out: expected texts as the data, got {kind}")
        ids = corpus.encode(text)
        if ids.size:
            starts = np.append(0, np.flatnonzero(ids == END)[:-1] + 1)
            pieces.append(np.insert(ids, starts, BEGIN))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)


def checked(ids: Ids, size: int = 2**32 - 1 - SPECIAL) -> Array:
    """Ids as int64 ``[L]``, all below ``size``."""
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"NGram: ids: expected integers [L], got {array.dtype} of shape {list(array.shape)}"
        )
    if array.min() < 0 or array.max() >= size:
        raise ValueError(
            f"NGram: ids: expected 0 to {size - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)
