"""The language model whose words hang on a hidden state."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from lamina import _kernels, files, generation
from lamina import text as texts
from lamina.lm.base import Array, Ids, LanguageModel, Tokenizer, encode
from lamina.lm.hmm import storage
from lamina.lm.hmm.categorical import CategoricalHMM
from lamina.lm.hmm.monitor import Monitor
from lamina.lm.hmm.words import END, Words

# A text of tokens is cut into pieces of this many to be learnt from.
_PIECE = 1024
_NONE = np.zeros(0, np.int64)


class HMM(LanguageModel):
    """A hidden Markov model over words or tokens.

    The next one hangs on a state that is known only by what came before::

        p(w_t | w_1 ... w_t-1) = sum_s p(s_t = s | w_1 ... w_t-1) emissionprob[s, w_t]

    There are two kinds of tokens, as in :class:`~lamina.lm.NGram`. Without a tokenizer they are
    words apart by white space; each line of a text is a sequence of its own that ends in ``</s>``,
    and words that training lacks are ``<unk>``. With a tokenizer they are its ids, and a text is
    one sequence.

    Args:
        n_components: hidden states, S.
        tokenizer: turns text into ids and back; without it tokens are words.
        min_count: rarer words are ``<unk>``.
        vocab_size: words at most, with ``<unk>`` and ``</s>``; the most frequent ones are kept.
        smoothing: added to the expected count of each token in each state, so that none is
            impossible.
        n_iter: updates at most.
        tol: stop when the log-likelihood of a token gains less than this.
        n_init: starts, of which the best counts.
        verbose: print each update to the standard error.
        seed: makes the start values repeat; without it they come from ``rng``.
        rng: source of the start values; by default the library's generator.

    Reference:
        Rabiner, A tutorial on hidden Markov models, 1989.
    """

    def __init__(
        self,
        n_components: int = 32,
        *,
        tokenizer: Tokenizer | None = None,
        min_count: int = 1,
        vocab_size: int | None = None,
        smoothing: float = 0.01,
        n_iter: int = 50,
        tol: float = 1e-4,
        n_init: int = 1,
        verbose: bool = False,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        if tokenizer is not None and (vocab_size is not None or min_count != 1):
            raise ValueError("HMM: vocab_size, min_count: follow from the tokenizer")
        if vocab_size is not None and vocab_size < 3:
            raise ValueError(f"HMM: vocab_size: expected 3 or more, got {vocab_size}")
        if not smoothing >= 0:
            raise ValueError(f"HMM: smoothing: expected 0 or more, got {smoothing}")
        self.min_count = min_count
        self.max_vocab_size = vocab_size
        self.smoothing = smoothing
        self._given = tokenizer
        self._words: Words | None = None
        self._tol = tol
        # Checks what it takes.
        self._chain = CategoricalHMM(
            n_components,
            emissionprob_prior=1 + smoothing,
            n_iter=n_iter,
            n_init=n_init,
            verbose=verbose,
            seed=seed,
            rng=rng,
        )

    # Estimation.

    def fit(self, data: str | Iterable[str] | Ids) -> Self:
        """Learn by Baum-Welch, forgetting an earlier model.

        Args:
            data: a text, several texts, or with a tokenizer ids ``[L]`` or a list of such.

        Raises:
            ValueError: no tokens, or ids out of range.
            TypeError: neither texts nor ids.
        """
        parts = _parts(data)
        if self._given is None:
            if not all(isinstance(part, str) for part in parts):
                raise TypeError("HMM: data: expected texts; ids need a tokenizer")
            self._words = Words.of(parts, self.min_count, self.max_vocab_size)
            ids = np.concatenate([self._encode(part, finish=True) for part in parts] or [_NONE])
            lengths = _sentences(ids)
            if not len(ids):
                raise ValueError("HMM: data: expected at least one token, got an empty corpus")
        else:
            pieces = [self._ids(part) for part in parts]
            ids = np.concatenate(pieces or [_NONE])
            if not len(ids):
                raise ValueError("HMM: data: expected at least one token, got an empty corpus")
            lengths = np.concatenate([_cut(len(piece)) for piece in pieces])
        chain = self._chain
        chain.n_features = chain._given_size = self.tokenizer.vocab_size
        chain.tol = self._tol * len(ids)
        chain.fit(ids.astype(np.uint32), lengths)
        return self

    @property
    def monitor(self) -> Monitor:
        """What happened in the last :meth:`fit`."""
        return self._chain.monitor_

    @property
    def chain(self) -> CategoricalHMM:
        """The model of the ids, whose states can be decoded."""
        return self._chain

    def _encode(self, text: str, *, finish: bool) -> Array:
        tokenizer = self.tokenizer
        # As a sentence that a text breaks off is a sentence.
        ids = encode(tokenizer, text)
        if finish and self._given is None and len(ids) and ids[-1] != END:
            ids = np.append(ids, END)
        return ids

    # The protocol of language models.

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns text into the ids of this model and back."""
        if self._given is not None:
            return self._given
        if self._words is None:
            raise RuntimeError("HMM: not fitted yet: call fit or load")
        return self._words

    @property
    def vocab_size(self) -> int:
        """Length of :meth:`next_log_probs`, V."""
        return self.tokenizer.vocab_size

    @property
    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        if self._words is not None:
            return list(self._words.vocabulary)
        return [self.tokenizer.decode([id]) for id in range(self.vocab_size)]

    @property
    def num_parameters(self) -> int:
        """How many numbers the model is free to choose."""
        self._fitted()
        return self._chain.num_parameters

    def _fitted(self) -> CategoricalHMM:
        if getattr(self._chain, "emissionprob_", None) is None:
            raise RuntimeError("HMM: not fitted yet: call fit or load")
        return self._chain

    def log_probs(self, text: str | Ids) -> Array:
        """Natural logarithm of the probability of each token given all before it.

        Args:
            text: a text, or ids ``[L]``. Where tokens are words, each line of a text ends in
                ``</s>``, which is one of the tokens, and what follows that is a new sentence.

        Returns:
            float64 ``[L]``.
        """
        self._fitted()
        ids = self._encode(text, finish=True) if isinstance(text, str) else self._ids(text)
        return self._filter(ids)[0]

    def _filter(self, ids: Array) -> tuple[Array, Array]:
        """Log-probabilities of ids, and the states after the last one of each sequence."""
        lengths = np.array([len(ids)]) if self._given is not None else _sentences(ids)
        chain = self._fitted()
        return _kernels.hmm_filter(
            chain.startprob_,
            chain.transmat_,
            np.ascontiguousarray(chain.emissionprob_.T),
            ids.astype(np.uint32),
            lengths,
        )

    def _next_states(self, ids: Array) -> Array:
        """Probabilities of the state of the token after ``ids``, ``[S]``."""
        chain = self._fitted()
        if self._given is None:
            ids = ids[len(ids) - _rest(ids) :]
        if not len(ids):
            return chain.startprob_
        return self._filter(ids)[1][-1] @ chain.transmat_

    def next_log_probs(self, context: str | Ids = "") -> Array:
        """Natural logarithms of the probabilities of all tokens after ``context``.

        Args:
            context: a text, or ids ``[L]``; empty means the beginning of a text.

        Returns:
            float64 ``[V]`` in the order of ids.
        """
        self._fitted()
        ids = self._encode(context, finish=False) if isinstance(context, str) else context
        return self._logs(self._next_states(self._ids(ids)))

    def _logs(self, states: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(states @ self._chain.emissionprob_)

    def _next_scores(self) -> generation.NextScores:
        """Reads each token once: the state after those before it is kept."""
        known: list[Array] = []

        def scores(ids: Array) -> Array:
            row = np.asarray(ids)[0]
            if known and len(row) == len(known[0]) + 1 and np.array_equal(row[:-1], known[0]):
                states = self._after(known[1], int(row[-1]))
            else:
                states = self._next_states(row)
            known[:] = [row.copy(), states]
            return self._logs(states)[None]

        return scores

    def _after(self, states: Array, token: int) -> Array:
        """Probabilities of the next state, from those of this one and its token."""
        chain = self._chain
        if self._given is None and token == END:
            return chain.startprob_
        joint = states * chain.emissionprob_[:, token]
        total = joint.sum()
        return (joint / total if total > 0 else states) @ chain.transmat_

    def __repr__(self) -> str:
        return f"HMM(n_components={self._chain.n_components})"

    # Files.

    def save(self, folder: storage.PathLike) -> None:
        """Write the model to a folder that :meth:`load` reads, whole or not.

        A tokenizer of :mod:`lamina.text` goes with it; another one is for the caller to keep.
        """
        chain = self._fitted()
        options = {
            "n_components": chain.n_components,
            "min_count": self.min_count,
            "vocab_size": self.max_vocab_size,
            "smoothing": self.smoothing,
            "n_iter": chain.n_iter,
            "tol": self._tol,
            "n_init": chain.n_init,
            "seed": chain.seed,
        }
        state = dict(chain._state())
        more: dict[str, files.Content] = {}
        if self._words is not None:
            # Words have no white space in them.
            content = "\n".join(self._words.vocabulary[2:]).encode()
            state["vocabulary"] = np.frombuffer(content, np.uint8)
        if isinstance(self._given, texts.Tokenizer):
            more["tokenizer.json"] = self._given.to_json()
        storage.save(folder, "HMM", options, state, more)

    @classmethod
    def load(cls, folder: storage.PathLike, *, tokenizer: Tokenizer | None = None) -> Self:
        """Read a model that :meth:`save` wrote.

        Args:
            folder: the folder.
            tokenizer: that of the model, where it is not in the folder as ``tokenizer.json``.

        Raises:
            ValueError: the folder holds another kind of model, or a broken one.
        """
        source = files.find_folder(folder)

        options, state = storage.load(source, "HMM")
        words = state.pop("vocabulary", None)
        if words is None and tokenizer is None:
            tokenizer = texts.Tokenizer.from_pretrained(source)
        with storage.refusing(source):
            model = cls(**options, tokenizer=tokenizer if words is None else None)
            if words is not None:
                if words.dtype != np.uint8:
                    raise ValueError("expected the vocabulary in bytes")
                model._words = Words(words.tobytes().decode().split("\n") if len(words) else [])
            chain = model._chain
            if set(state) != {"startprob_", "transmat_", "emissionprob_"}:
                raise ValueError(f"expected the arrays of an HMM, got {sorted(state)}")
            chain._set_state(state)
            chain.n_features = chain._given_size = model.vocab_size
            chain._check()
        return model


def _parts(data: Any) -> list[Any]:
    """The texts or arrays of ids in what ``fit`` was given."""
    if isinstance(data, str) or (isinstance(data, np.ndarray) and data.ndim == 1):
        return [data]
    if not isinstance(data, Iterable):
        raise TypeError(f"HMM: data: expected texts or ids, got {type(data).__name__}")
    parts = list(data)
    if parts and isinstance(parts[0], int | np.integer):
        return [np.array(parts)]
    return parts


def _sentences(ids: Array) -> Array:
    """Lengths of the sentences in ids, each up to its ``</s>``, the last as far as it goes."""
    ends = np.flatnonzero(ids == END) + 1
    if not len(ends) or ends[-1] < len(ids):
        ends = np.append(ends, len(ids))
    return np.diff(ends, prepend=0)


def _rest(ids: Array) -> int:
    """How many ids follow the last ``</s>``."""
    ends = np.flatnonzero(ids == END)
    return len(ids) - (int(ends[-1]) + 1 if len(ends) else 0)


def _cut(length: int) -> Array:
    """Lengths of the pieces of a long text."""
    whole, rest = divmod(length, _PIECE)
    return np.array([_PIECE] * whole + ([rest] if rest else []), np.int64)
