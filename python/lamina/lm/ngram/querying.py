"""What n-gram models are asked: KenLM's names, states between words, batches, binary files."""

import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np

from lamina import _kernels
from lamina.lm.base import Array, Ids, Tokenizer
from lamina.lm.ngram.tokens import END

State = _kernels.NGramState
"""What a model remembers of the words so far: those that can still matter, the last one first.

States of one model are equal, and hash alike, where it says the same of all that may follow.
``copy.copy`` makes another one. ``State()`` remembers nothing.
"""

KINDS = ("trie", "probing", "compact")
"""Forms of a model, in memory and in binary files."""

_DETAILS = ("summary", "sentence", "word")


class TokenScore(NamedTuple):
    """What :meth:`Queries.full_scores` says of a token.

    Attributes:
        log10: logarithm to base 10 of its probability given those before it.
        ngram_length: words in the longest n-gram of the model that ends in it.
        oov: whether it is not in the vocabulary.
    """

    log10: float
    ngram_length: int
    oov: bool

    @property
    def log_prob(self) -> float:
        """KenLM's name of ``log10``."""
        return self.log10


class QueryTotals(NamedTuple):
    """Sums over a text, as KenLM's ``query`` makes them.

    Attributes:
        log10: logarithm to base 10 of the probability of all tokens.
        log10_oov: the same of the unknown words alone.
        tokens: words, and the ends of sentences.
        oov: words that the model does not know.
    """

    log10: float
    log10_oov: float
    tokens: int
    oov: int

    @property
    def perplexity(self) -> float:
        """Perplexity of all tokens; NaN without any."""
        return _perplexity(self.log10, self.tokens)

    @property
    def perplexity_excluding_oov(self) -> float:
        """Perplexity of the known tokens; NaN without any."""
        return _perplexity(self.log10 - self.log10_oov, self.tokens - self.oov)

    def __add__(self, other: object) -> "QueryTotals":
        """The sums of two texts."""
        if not isinstance(other, QueryTotals):
            return NotImplemented
        return QueryTotals(
            self.log10 + other.log10,
            self.log10_oov + other.log10_oov,
            self.tokens + other.tokens,
            self.oov + other.oov,
        )


def _perplexity(log10: float, tokens: int) -> float:
    return math.nan if tokens == 0 else float(np.float64(10.0) ** (-log10 / tokens))


class Queries:
    """The part of :class:`lamina.lm.NGram` that answers about words and sentences."""

    @property
    def _model(self) -> _kernels.NGramModel:
        raise NotImplementedError

    @property
    def _words(self) -> bool:
        raise NotImplementedError

    def _kernel_ids(self, text: str | Ids, *, finish: bool) -> Array:
        raise NotImplementedError

    def _unknown(self, ids: Array) -> Array:
        raise NotImplementedError

    # Sentences. KenLM's logarithms are to base 10.

    def score(self, sentence: str, bos: bool = True, eos: bool = True) -> float:
        """Logarithm to base 10 of the probability of a sentence.

        Args:
            sentence: words apart by white space, or with a tokenizer any text.
            bos: whether it follows ``<s>``; without, nothing is known before its first token.
            eos: whether ``</s>`` is predicted after it; with a tokenizer there is none.
        """
        return float(self._sentence(sentence, bos, eos)[1].sum())

    def score_batch(self, sentences: Sequence[str], bos: bool = True, eos: bool = True) -> Array:
        """:meth:`score` of each of many sentences in one go, float64 ``[N]``."""
        parts = [self._sentence_ids(sentence, eos) for sentence in sentences]
        if not (self._words and bos and eos):
            return np.array([self._model.score(ids, bos, False)[0].sum() for ids in parts])
        if not parts:
            return np.zeros(0)
        log10, _ = self._model.score(np.concatenate(parts), True, True)
        # Every sentence has its </s>, so none is empty.
        starts = np.cumsum([0, *(len(ids) for ids in parts[:-1])])
        return np.asarray(np.add.reduceat(log10, starts))

    def full_scores(
        self, sentence: str, bos: bool = True, eos: bool = True
    ) -> Iterator[TokenScore]:
        """The same for each token, the last of which is ``</s>`` where ``eos`` says so."""
        ids, log10, lengths = self._sentence(sentence, bos, eos)
        unknown = self._unknown(ids).tolist()
        for values in zip(log10.tolist(), lengths.tolist(), unknown, strict=True):
            yield TokenScore(*values)

    def perplexity(self, sentence: str) -> float:
        """Inverse of the geometric mean of the probabilities of the tokens and ``</s>``."""
        _, log10, _ = self._sentence(sentence, True, True)
        if not log10.size:
            raise ValueError("NGram: sentence: expected at least one token, got none")
        return float(10.0 ** -log10.mean())

    def _sentence_ids(self, sentence: str, eos: bool) -> Array:
        if not self._words:
            return self._kernel_ids(sentence, finish=False)
        ids = self._model.encode(sentence.replace("\n", " "), False)
        return np.append(ids, np.uint32(END)) if eos else ids

    def _sentence(self, sentence: str, bos: bool, eos: bool) -> tuple[Array, Array, Array]:
        ids = self._sentence_ids(sentence, eos)
        return ids, *self._model.score(ids, bos, False)

    def query(
        self, text: str, *, context: bool = True, detail: str = "summary"
    ) -> tuple[str, QueryTotals]:
        """Score the lines of a text as KenLM's program ``query`` does.

        Args:
            text: sentences, one a line.
            context: whether each stands between ``<s>`` and ``</s>``.
            detail: what is printed: ``"summary"`` nothing, ``"sentence"`` a line for each with its
                sum and unknown words, ``"word"`` in front of that each word with its id, the
                length of its n-gram and its logarithm.

        Returns:
            What is printed, and the sums; both made in the precision that KenLM uses.
        """
        if detail not in _DETAILS:
            raise ValueError(f"NGram: detail: expected one of {', '.join(_DETAILS)}, got {detail}")
        if not self._words:
            raise ValueError("NGram: query: expected a model of words, got one of ids")
        printed, log10, log10_oov, tokens, oov = self._model.query(
            text, context, _DETAILS.index(detail)
        )
        return printed.decode(), QueryTotals(log10, log10_oov, tokens, oov)

    # Words and the states between them.

    def begin_state(self) -> State:
        """The state at the beginning of a sentence."""
        return self._model.begin_state()

    def null_state(self) -> State:
        """The state that remembers nothing."""
        return State()

    def state(self, context: str | Ids = "") -> State:
        """The state after ``context``, which begins a text."""
        return self._model.state(self._kernel_ids(context, finish=False), self._words)

    def score_word(self, state: State, word: str | int) -> tuple[float, State]:
        """Logarithm to base 10 of the probability of a word after a state, and the state after it.

        Args:
            state: that of the words so far, of this model.
            word: a word, or the id of a token.
        """
        return self._model.step(state, word)

    def BeginSentenceWrite(self, state: State) -> None:  # noqa: N802
        """KenLM's name: make ``state`` that at the beginning of a sentence."""
        self._model.begin_into(state)

    def NullContextWrite(self, state: State) -> None:  # noqa: N802
        """KenLM's name: make ``state`` that which remembers nothing."""
        self._model.null_into(state)

    def BaseScore(self, in_state: State, word: str | int, out_state: State) -> float:  # noqa: N802
        """KenLM's name: score a word after ``in_state`` and write the state after it.

        Returns:
            The logarithm to base 10 in single precision.
        """
        return self._model.step_into(in_state, word, out_state)

    def BaseFullScore(  # noqa: N802
        self, in_state: State, word: str | int, out_state: State
    ) -> TokenScore:
        """KenLM's name: the same with the length of the n-gram and whether the word is unknown."""
        return TokenScore(*self._model.full_step_into(in_state, word, out_state))

    # Forms and binary files.

    @property
    def kind(self) -> str:
        """The form of the model in memory, one of :data:`KINDS`."""
        return self._model.kind

    @property
    def rounding_error(self) -> float:
        """The most by which a stored logarithm was rounded; zero but for the compact form."""
        return self._model.error

    def convert(self, kind: str, *, bits: int = 8) -> Self:
        """This model in another form; see :meth:`save_binary`."""
        new = self._empty()
        new._set(self._model.convert(kind, _bits(bits)))
        return new

    def save_binary(
        self, path: str | os.PathLike[str], kind: str = "probing", *, bits: int = 8
    ) -> None:
        """Write the model in lamina's own format, which loads in milliseconds.

        Args:
            path: the file. It appears when it is complete.
            kind: ``"probing"`` answers fastest and takes about 20 bytes an n-gram; ``"compact"``
                takes about 4 and rounds its numbers; ``"trie"`` is the model as it was
                estimated, which alone can be written as ARPA or converted again.
            bits: those of each number of the compact form, 4 to 16.
        """
        self._model.save_binary(path, kind, _bits(bits))

    @classmethod
    def load_binary(
        cls,
        path: str | os.PathLike[str],
        *,
        lazy: bool = True,
        tokenizer: Tokenizer | None = None,
    ) -> Self:
        """Read a model that :meth:`save_binary` wrote.

        Args:
            path: the file, which must not be changed while the model is in use; it may be
                replaced.
            lazy: read what is used when it is used. ``False`` reads everything once and compares
                it with its checksums.
            tokenizer: that of the model, where its tokens are ids.

        Raises:
            ValueError: the file is broken or of something else.
        """
        model = _kernels.NGramModel.load_binary(path, lazy)
        return cls._of(model, tokenizer)

    def _empty(self) -> Self:
        raise NotImplementedError

    def _set(self, model: _kernels.NGramModel) -> None:
        raise NotImplementedError

    @classmethod
    def _of(cls, model: _kernels.NGramModel, tokenizer: Tokenizer | None) -> Self:
        raise NotImplementedError


def _bits(bits: int) -> int:
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer):
        raise TypeError(f"NGram: bits: expected an integer, got {type(bits).__name__}")
    if not 4 <= bits <= 16:
        raise ValueError(f"NGram: bits: expected 4 to 16, got {bits}")
    return int(bits)
