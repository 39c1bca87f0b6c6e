"""fastText: word2vec with vectors for the parts of words, and so for words never seen."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np

from lamina import _kernels
from lamina.text.folder import Array, PathLike
from lamina.text.keyed_vectors import Key, KeyedVectors
from lamina.text.word2vec import Callback, Progress, Sentences, Word2Vec, _whole


class FastTextVectors(KeyedVectors):
    """Words and their vectors; unknown words get the mean of the vectors of their parts.

    Args:
        words: V different words.
        vectors: ``[V, D]``.
        counts: how often each word occurs, ``[V]``.
        buckets: vectors of the parts of words, ``[buckets, D]`` or wider.
        lengths: shortest and longest parts in characters.
    """

    def __init__(
        self,
        words: Sequence[str],
        vectors: Array,
        counts: Array | None,
        buckets: Array,
        lengths: tuple[int, int],
    ) -> None:
        super().__init__(words, vectors, counts)
        self._buckets = buckets
        self.min_n, self.max_n = lengths

    @property
    def vectors_ngrams(self) -> Array:
        """The vectors of the buckets, ``[buckets, D]``."""
        return self._buckets[:, : self.vector_size]

    def __contains__(self, key: object) -> bool:
        """Whether a word has a vector; whether it was seen says :meth:`has_index_for`."""
        return super().__contains__(key) or (isinstance(key, str) and self._parts(key).size > 0)

    def _has_vector(self, key: Key) -> bool:
        return self.has_index_for(key) or (isinstance(key, str) and key in self)

    def _parts(self, word: str) -> Array:
        return _kernels.word2vec_subwords(word, self.min_n, self.max_n, len(self._buckets))

    def _unknown(self, key: Key) -> Array:
        parts = self._parts(key) if isinstance(key, str) else np.zeros(0, np.uint32)
        if not parts.size:
            raise KeyError(f"{key!r} is not among the {len(self)} words and has no parts")
        return np.asarray(self.vectors_ngrams[parts].mean(0))


class FastText(Word2Vec):
    """Vectors of words as means of those of the word and of its parts.

    The parts of a word are its sequences of ``min_n`` to ``max_n`` characters, between ``<`` and
    ``>``, hashed into buckets as fastText does. Skip-gram predicts the words around from the word;
    all else is as in :class:`Word2Vec`.

    Args:
        sentences: lists of words.
        corpus_file: in place of these a text file, one sentence a line.
        min_n: shortest parts.
        max_n: longest; with 0 there are none.
        bucket: how many vectors the parts share; with ``vector_size`` 100 the default takes 900 MB.
        min_alpha: learning rate in the end.
        options: the other arguments of :class:`Word2Vec`, by name, but ``shared_negatives``.

    Reference:
        Bojanowski et al., Enriching word vectors with subword information, 2017.
    """

    _NAME: ClassVar[str] = "FastText"

    def __init__(
        self,
        sentences: Sentences | None = None,
        corpus_file: PathLike | None = None,
        *,
        min_n: int = 3,
        max_n: int = 6,
        bucket: int = 2_000_000,
        min_alpha: float = 0.0001,
        callbacks: Sequence[Callback] = (),
        progress: Progress | None = None,
        **options: Any,
    ) -> None:
        if options.get("shared_negatives"):
            raise ValueError("FastText: shared_negatives: expected Word2Vec, which has them")
        self.min_n = _whole("FastText", "min_n", min_n, 1, 100)
        self.max_n = _whole("FastText", "max_n", max_n, 0, 100)
        self.bucket = _whole("FastText", "bucket", bucket, 1, (1 << 31) - 1)
        super().__init__(
            sentences,
            corpus_file,
            min_alpha=min_alpha,
            callbacks=callbacks,
            progress=progress,
            **options,
        )

    def _subwords(self) -> tuple[int, int, int]:
        return self.min_n, self.max_n, self.bucket if self.max_n >= self.min_n else 0

    def _options(self) -> dict[str, Any]:
        own = {"min_n": self.min_n, "max_n": self.max_n, "bucket": self.bucket}
        return {**super()._options(), **own}

    @property
    def wv(self) -> FastTextVectors:
        """The words and their vectors."""
        return cast(FastTextVectors, super().wv)

    def _keyed(self) -> FastTextVectors:
        table = self._tables["input"]
        vectors = self._ready.vectors(table, self.vector_size)
        buckets = table[len(self._words) :]
        return FastTextVectors(
            self._words, vectors, self._counts, buckets, (self.min_n, self.max_n)
        )
