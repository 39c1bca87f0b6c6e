"""Counts of n-grams as a step of its own: made of texts, kept in files, added up, estimated."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from lamina import _kernels
from lamina.lm.ngram.model import NGram

PathLike = str | os.PathLike[str]

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_ROWS = 1 << 16


def parse_memory(size: str | int) -> int:
    """Bytes that a size names: ``200M``, ``2G``, ``50%`` of the machine's memory, or a number.

    Raises:
        ValueError: it is no size, or none of at least a megabyte.
    """
    text = str(size).strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt%]?)", text)
    if match is None:
        raise ValueError(f"memory: expected a size such as 200M, 2G or 50%, got {size!r}")
    number, unit = float(match[1]), match[2]
    if unit == "%":
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        found = int(whole * number / 100)
    else:
        found = int(number * _UNITS[unit])
    if not 1 << 20 <= found < 1 << 62:
        raise ValueError(f"memory: expected at least 1M, got {size!r}")
    return found


def read_corpus(
    texts: str | Path | Iterable[str | Path],
    *,
    memory: str | int | None = None,
    temp: PathLike | None = None,
    skip_symbols: bool = False,
) -> _kernels.NGramText:
    """The sentences of texts (``str``) and of files (``Path``), one a line."""
    budget = None if memory is None else parse_memory(memory)
    corpus = _kernels.NGramText(budget, temp)
    parts: Iterable[str | Path] = [texts] if isinstance(texts, str | Path) else texts
    for part in parts:
        if isinstance(part, Path):
            corpus.add_file(part, skip_symbols)
        elif isinstance(part, str):
            corpus.add(part)
        else:
            kind = type(part).__name__
            raise TypeError(f"NGramCounts: texts: expected str or Path, got {kind}")
    return corpus


class NGramCounts:
    """How often n-grams occur in texts of one sentence a line.

    Counts of parts of a text, made apart, are added up by :meth:`merge`; the model of the sum is
    that of the whole text, to the last bit if the parts are merged in their order.
    Made by :meth:`count` or :meth:`load`.
    """

    def __init__(self, shard: _kernels.NGramShard) -> None:
        self._shard = shard
        self._words: list[str] | None = None

    @classmethod
    def count(
        cls,
        texts: str | Path | Iterable[str | Path],
        order: int = 3,
        *,
        memory: str | int | None = None,
        temp: PathLike | None = None,
        skip_symbols: bool = False,
    ) -> Self:
        """Count the n-grams of texts.

        Args:
            texts: a text (``str``), a file (``Path``, perhaps ending in ``.gz``), or several.
            order: words in the longest n-grams, 1 to 20.
            memory: bytes, ``200M``, ``2G`` or ``50%``: sorting beyond it goes to files.
            temp: folder for these; the system's own by default.
            skip_symbols: leave ``<s>``, ``</s>`` and ``<unk>`` in files out instead of refusing
                the first two.

        Raises:
            ValueError: a text holds no words, a reserved word, or is not UTF-8.
            OSError: a file cannot be read.
        """
        corpus = read_corpus(texts, memory=memory, temp=temp, skip_symbols=skip_symbols)
        return cls(corpus.count(order))

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read a file of :meth:`save`; what is not used stays in the file.

        Raises:
            ValueError: the file is broken; the message says how.
            OSError: the system refused.
        """
        return cls(_kernels.NGramShard.load(path))

    def save(self, path: PathLike) -> None:
        """Write the counts to a file, which appears when it is complete."""
        self._shard.save(path)

    def merge(self, *others: "NGramCounts") -> "NGramCounts":
        """The counts of this and of others together.

        Raises:
            ValueError: an order differs.
        """
        shard = self._shard
        for other in others:
            shard = shard.merge(other._shard)
        return NGramCounts(shard)

    def estimate(
        self,
        *,
        prune: Sequence[int] = (),
        held_out: str | Iterable[str] | None = None,
        **options: Any,
    ) -> NGram:
        """The model of these counts.

        Args:
            prune: n-grams that occur at most this often are left out, by length; 0 for single
                words, then numbers that do not fall, the last of which stands for all that follow.
                For interpolated modified Kneser-Ney smoothing only.
            held_out: as of :meth:`lamina.lm.NGram.fit`.
            options: those of smoothing of :class:`~lamina.lm.NGram`.
        """
        model = NGram(self.order, **options)
        method, held = model.method(self._shard, held_out)
        return model.adopt(self._shard.estimate(method, list(prune), held))

    @property
    def order(self) -> int:
        """Words in the longest n-grams."""
        return self._shard.order

    @property
    def vocabulary(self) -> list[str]:
        """The words in the order in which they first occur, after the special ones."""
        if self._words is None:
            self._words = self._shard.vocabulary()
        return self._words

    def __len__(self) -> int:
        """How many n-grams of full length there are, or shorter ones that end a sentence."""
        return len(self._shard)

    def __getitem__(self, ngram: str | Sequence[str]) -> int:
        """How often an n-gram of at most ``order`` words occurs: words, or a text of them."""
        words = ngram.split() if isinstance(ngram, str) else list(ngram)
        return self._shard.occurrences(words)

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Each n-gram, of full length or up to the end of its sentence, and its count."""
        words = self.vocabulary
        for start in range(0, len(self), _ROWS):
            ngrams, counts = self._shard.rows(start, start + _ROWS)
            for ngram, count in zip(ngrams.tolist(), counts.tolist(), strict=True):
                yield tuple(words[id - 1] for id in ngram if id), count

    def __repr__(self) -> str:
        return f"NGramCounts(order={self.order}, ngrams={len(self)})"
