"""The protocol of every language model, from n-grams to transformers."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from lamina import generation
from lamina import text as texts

Array = npt.NDArray[Any]
Ids = npt.ArrayLike

# Tokens of a text that are held back at most; a character has up to four bytes.
_HELD_BACK = 16
_CHARACTER = 4


class Tokenizer(Protocol):
    """What a language model needs of the tokenizers in :mod:`lamina.text`.

    One that also has ``token_to_id`` is asked for the unknown token and the end of a text. What
    those of :mod:`lamina.text` put around a text, as ``[CLS]``, is left out: a model may be given
    a part of one.
    """

    @property
    def vocab_size(self) -> int:
        """Number of tokens, V."""

    def encode(self, text: str) -> Array:
        """Ids ``[L]`` of ``text``, int64."""

    def decode(self, ids: Ids) -> str:
        """Text of ids ``[L]``."""


class LanguageModel(ABC):
    """Probabilities of texts, token by token.

    A model defines :meth:`fit`, :meth:`log_probs`, :meth:`next_log_probs`, :meth:`save` and
    :meth:`load`; generation and evaluation follow from these. The chain rule holds: the last of
    ``log_probs(ids)`` is the entry ``ids[-1]`` of ``next_log_probs(ids[:-1])``.
    """

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Turns text into ids and back."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """How many numbers the model has learnt."""

    @abstractmethod
    def fit(self, data: Any, *args: Any, **options: Any) -> Self:
        """Learn from a text, or its ids."""

    @abstractmethod
    def log_probs(self, text: str | Ids) -> Array:
        """Natural logarithm of the probability of each token given all before it.

        Args:
            text: a text, or ids ``[L]``.

        Returns:
            float64 ``[L]``.
        """

    @abstractmethod
    def next_log_probs(self, context: str | Ids = "") -> Array:
        """Natural logarithms of the probabilities of all tokens after ``context``.

        Args:
            context: a text, or ids ``[L]``; empty means the beginning of a text.

        Returns:
            float64 ``[V]``.
        """

    @abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model to a folder that :meth:`load` reads."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a model that :meth:`save` wrote."""

    @property
    def is_normalized(self) -> bool:
        """Whether the probabilities of all tokens after any context sum to one."""
        return True

    @property
    def unk_token_id(self) -> int | None:
        """The token that stands for everything the vocabulary lacks, if there is one."""
        return find_token(self.tokenizer, "<unk>", "[UNK]")

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text, if there is one."""
        return find_token(self.tokenizer, "</s>", "<|endoftext|>", "[SEP]")

    def generate(
        self,
        prompt: str = "",
        *,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        do_sample: bool = True,
        eos_token_id: int | None = None,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
        stream: Callable[[str], object] | None = None,
        on_token: Callable[[Array], object] | None = None,
    ) -> str:
        """Continue ``prompt`` until the text ends or has ``max_new_tokens`` new tokens.

        Where tokens are words, as of an :class:`NGram` without a tokenizer, the end is that of the
        line: one line is written at most.

        Args:
            prompt: the beginning of the text.
            max_new_tokens: at most this many.
            temperature: below 1 more likely texts, above 1 more varied ones; 0 takes the best
                token each time.
            top_k: choose among this many best tokens.
            top_p: choose among the best tokens with this much probability together.
            min_p: choose among tokens with this share of the best one's probability.
            repetition_penalty: above 1 discourages tokens that occurred.
            do_sample: draw at random rather than take the best.
            eos_token_id: the token that ends the text; by default that of the model.
            seed: makes the draws repeat; without it they come from ``rng``.
            rng: source of the draws; by default the library's generator.
            stream: called with each piece of new text as soon as it is complete.
            on_token: called with each new token ``[1]``, as in :func:`lamina.generation.generate`.

        Returns:
            ``prompt`` and its continuation.
        """
        if not isinstance(prompt, str):
            raise TypeError(f"generate: prompt: expected str, got {type(prompt).__name__}")
        eos = self.eos_token_id if eos_token_id is None else eos_token_id
        ids = self._ids(prompt)
        # Word tokens drop the space at the end of a prompt and put one before the next word.
        spaced = prompt[-1:].isspace() and np.array_equal(ids, self._ids(prompt[:-1]))
        text = _Pieces(self.tokenizer, ids, spaced)
        pieces = []
        tokens = generation.stream(
            self._next_scores(),
            ids[None],
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            eos_token_id=eos,
            seed=seed,
            rng=rng,
        )
        with self._evaluating():
            for chosen in tokens:
                if chosen[0] != eos:
                    pieces.append(text.add(int(chosen[0])))
                    if stream is not None and pieces[-1]:
                        stream(pieces[-1])
                if on_token is not None:
                    on_token(chosen)
        pieces.append(text.rest())
        if stream is not None and pieces[-1]:
            stream(pieces[-1])
        return prompt + "".join(pieces)

    def oov_mass(self, text: str) -> float:
        """Share of the tokens of ``text`` that are unknown."""
        ids = encode(self.tokenizer, text)
        return float(np.mean(ids == self.unk_token_id)) if len(ids) else 0.0

    def _next_scores(self) -> generation.NextScores:
        """The next-token function that :meth:`generate` decodes from."""
        return lambda ids: self.next_log_probs(ids[0])[None]

    def _evaluating(self) -> AbstractContextManager[None]:
        """The state in which the model predicts; entered once around many predictions."""
        return nullcontext()

    def _ids(self, text: str | Ids) -> Array:
        """Ids ``[L]`` of a text, or those given, checked."""
        ids = np.asarray(encode(self.tokenizer, text) if isinstance(text, str) else text)
        if ids.size == 0:
            return np.zeros(0, np.int64)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"{type(self).__name__}: ids: expected integers [L], "
                f"got {ids.dtype} of shape {ids.shape}"
            )
        size = self.tokenizer.vocab_size
        if ids.min() < 0 or ids.max() >= size:
            raise ValueError(
                f"{type(self).__name__}: ids: expected 0 to {size - 1}, "
                f"got {ids.min()} to {ids.max()}"
            )
        return ids.astype(np.int64)


def encode(tokenizer: Tokenizer, text: str) -> Array:
    """Ids of ``text`` alone, without what the tokenizer puts around a text."""
    if isinstance(tokenizer, texts.Tokenizer):
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(text)


def find_token(tokenizer: Tokenizer, *names: str) -> int | None:
    """Id of the first of the names that is a token, if there is one."""
    token_to_id = getattr(tokenizer, "token_to_id", lambda _: None)
    found = (token_to_id(name) for name in names)
    return next((token for token in found if token is not None), None)


class _Pieces:
    """Text of tokens that come one at a time, held back while a character is incomplete."""

    def __init__(self, tokenizer: Tokenizer, ids: Array, spaced: bool) -> None:
        self._tokenizer = tokenizer
        # Tokenizers may write a token differently at the beginning: decode from one before it.
        self._ids = ids[-8:].tolist()
        self._start = 0
        self._done = len(self._ids)
        self._spaced = spaced

    def add(self, token: int) -> str:
        """The text that ``token`` completes."""
        self._ids.append(token)
        piece, end = self._new(), len(self._ids)
        if not piece or piece.endswith("\ufffd"):
            if end - self._done < _HELD_BACK:
                return ""
            piece, end = self._certain(piece)
        self._start, self._done = self._done, end
        return self._joined(piece)

    def rest(self) -> str:
        """What was held back."""
        return self._joined(self._new())

    def _new(self) -> str:
        before = self._tokenizer.decode(self._ids[self._start : self._done])
        return self._tokenizer.decode(self._ids[self._start :])[len(before) :]

    def _certain(self, piece: str) -> tuple[str, int]:
        """The part of a piece that no further token changes, and where its tokens end."""
        for end in range(len(self._ids) - _CHARACTER + 1, self._done, -1):
            after = self._tokenizer.decode(self._ids[end:])
            before = self._tokenizer.decode(self._ids[self._done : end])
            if before + after == self._tokenizer.decode(self._ids[self._done :]):
                return piece[: len(piece) - len(after)], end
        return piece, len(self._ids)

    def _joined(self, piece: str) -> str:
        if self._spaced and piece:
            self._spaced = False
            return piece.lstrip(" ")
        return piece
