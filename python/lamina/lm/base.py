"""The protocol of every language model, from n-grams to transformers."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from lamina import generation

Array = npt.NDArray[Any]
Ids = npt.ArrayLike


class Tokenizer(Protocol):
    """What a language model needs of the tokenizers in :mod:`lamina.text`.

    One that also has ``token_to_id`` is asked for the unknown token and the end of a text.
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
        do_sample: bool = True,
        seed: int | None = None,
        stream: Callable[[str], object] | None = None,
    ) -> str:
        """Continue ``prompt`` until the text ends or has ``max_new_tokens`` new tokens.

        Args:
            prompt: the beginning of the text.
            max_new_tokens: at most this many.
            temperature: below 1 more likely texts, above 1 more varied ones; 0 takes the best
                token each time.
            top_k: choose among this many best tokens.
            top_p: choose among the best tokens with this much probability together.
            do_sample: draw at random rather than take the best.
            seed: makes the draws repeat; without it they come from the library's generator.
            stream: called with each piece of new text as soon as it is complete.

        Returns:
            ``prompt`` and its continuation.
        """
        ids = self._ids(prompt)
        text = _Pieces(self.tokenizer, ids)
        pieces = []
        tokens = generation.stream(
            self._next_scores(),
            ids[None],
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            eos_token_id=self.eos_token_id,
            rng=None if seed is None else np.random.default_rng(seed),
        )
        for (token,) in tokens:
            if token != self.eos_token_id:
                pieces.append(text.add(int(token)))
                if stream is not None and pieces[-1]:
                    stream(pieces[-1])
        pieces.append(text.rest())
        if stream is not None and pieces[-1]:
            stream(pieces[-1])
        return prompt + "".join(pieces)

    def oov_mass(self, text: str) -> float:
        """Share of the tokens of ``text`` that are unknown."""
        ids = self.tokenizer.encode(text)
        return float(np.mean(ids == self.unk_token_id)) if len(ids) else 0.0

    def _next_scores(self) -> generation.NextScores:
        """The next-token function that :meth:`generate` decodes from."""
        return lambda ids: self.next_log_probs(ids[0])[None]

    def _ids(self, text: str | Ids) -> Array:
        """Ids ``[L]`` of a text, or those given, checked."""
        ids = np.asarray(self.tokenizer.encode(text) if isinstance(text, str) else text)
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


def find_token(tokenizer: Tokenizer, *names: str) -> int | None:
    """Id of the first of the names that is a token, if there is one."""
    token_to_id = getattr(tokenizer, "token_to_id", lambda _: None)
    found = (token_to_id(name) for name in names)
    return next((token for token in found if token is not None), None)


class _Pieces:
    """Text of tokens that come one at a time, held back while a character is incomplete."""

    def __init__(self, tokenizer: Tokenizer, ids: Array) -> None:
        self._tokenizer = tokenizer
        # Tokenizers may write a token differently at the beginning: decode from one before it.
        self._ids = ids[-8:].tolist()
        self._start = 0
        self._done = len(self._ids)

    def add(self, token: int) -> str:
        """The text that ``token`` completes."""
        self._ids.append(token)
        piece = self._new()
        if not piece or piece.endswith("\ufffd"):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return piece

    def rest(self) -> str:
        """What was held back."""
        return self._new()

    def _new(self) -> str:
        before = self._tokenizer.decode(self._ids[self._start : self._done])
        return self._tokenizer.decode(self._ids[self._start :])[len(before) :]
