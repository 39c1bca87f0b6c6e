"""N-gram models of any smoothing, that of KenLM by default."""

import copy
import itertools
import json
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from lamina import _kernels, files
from lamina import text as texts
from lamina.lm.base import Array, Ids, LanguageModel, Tokenizer, encode
from lamina.lm.ngram.config import read_config
from lamina.lm.ngram.querying import Queries
from lamina.lm.ngram.smoothing import Smoothing, check_fallback, check_options
from lamina.lm.ngram.tokens import (
    BEGIN,
    END,
    MAX_SIZE,
    SPECIAL,
    UNKNOWN,
    Numbers,
    Words,
    checked,
    held_out_words,
    parts_of,
)

PathLike = str | os.PathLike[str]
Estimated = tuple[_kernels.NGramModel, list[list[float]], list[list[float]], list[str]]

_MAX_ORDER = 20
_CONFIG, _ARPA = "config.json", "model.arpa.gz"


class NGram(Queries, LanguageModel):
    """A back-off n-gram model, by default with interpolated modified Kneser-Ney smoothing.

    With ``a`` the count of an n-gram, which below the highest order, and unless it begins a
    sentence, is the number of different tokens in front of it::

        p(w | h) = (a(h w) - D(a(h w))) / sum_x a(h x) + b(h) p(w | h without its first token)

    where ``b(h)`` makes the sum one and the discounts ``D`` follow from the counts of counts. The
    other methods, with ``c`` the number of occurrences, ``T(h)`` that of different tokens after
    ``h`` and ``V`` that of all tokens:

    ===================== =======================================================================
    ``mle``               ``c(h w) / c(h)``; only contexts never seen back off; none for ``<unk>``
    ``laplace``           ``lidstone`` with a ``gamma`` of 1
    ``lidstone``          ``(c(h w) + gamma) / (c(h) + gamma V)``, h always the last ``order - 1``
                          tokens: ``1 / V`` after one never seen; ``<unk>`` as a count of zero
    ``good_turing``       back-off; all counts discounted as Gale & Sampson (1995)
    ``katz``              back-off; counts up to ``largest`` discounted as Katz (1987)
    ``witten_bell``       a context leaves ``T(h) / (c(h) + T(h))`` to others
    ``absolute``          ``discount`` is subtracted from every count
    ``jelinek_mercer``    a context keeps the share ``weights[n]``, fitted by EM on ``held_out``
    ``kneser_ney``        as above with one ``discount``
    ``stupid_backoff``    relative frequencies, times ``alpha`` for each token the context loses:
                          scores that do not sum to one; none for ``<unk>``
    ===================== =======================================================================

    In all but the additive ones and the two without probability for it, ``<unk>`` gets its share
    in what single tokens leave, see ``interpolate_unigrams``. Back-off contexts that no discount
    leaves anything of, as all their counts are large, give up one event to the tokens not seen.

    There are two kinds of tokens. Without a tokenizer they are words: a text is cut into lines,
    each a sentence between ``<s>`` and ``</s>``, and lines at white space (ASCII); words that the
    training text lacks are ``<unk>``; ids are those of :attr:`vocabulary`. With a tokenizer they
    are its ids: a text is one stream of them after ``<s>``, nothing marks its end, and ids that
    training never saw share the probability of ``<unk>``. ``vocab_size`` in place of a tokenizer,
    or ids as training data, is the same for ids that stand for no text. There are at most
    16,777,216 ids (2**24), and each takes about fifty bytes, whether it occurs or not.

    Args:
        order: tokens in the longest n-grams, 1 to 20.
        tokenizer: turns text into ids and back; without it tokens are words.
        vocab_size: V, where tokens are ids and there is no tokenizer. One more than the largest
            id of the training data, if not given.
        interpolate_unigrams: whether single tokens are interpolated with the uniform distribution;
            otherwise ``<unk>`` gets all that is left.
        discount_fallback: where the counts do not define the discounts, as in small or artificial
            texts, warn and use these three, or 0.5, 1 and 1.5 for ``True``. ``False`` makes
            it an error. For single ids, as of characters, that is usual and there is no warning.
            Methods with one discount use the first of the three, at most 0.5.
        smoothing: the method.
        interpolate: whether seen n-grams too get a part of what is left, with ``witten_bell``,
            ``absolute``, ``kneser_ney`` and ``modified_kneser_ney``, the default; else only tokens
            not seen after a context do.
        gamma: what ``lidstone`` adds, 1 if not given.
        largest: the largest count that ``katz`` discounts, 5 if not given; a smaller one where the
            counts define no discounts up to there.
        discount: that of ``absolute`` and ``kneser_ney``, in all orders; ``n1 / (n1 + 2 n2)`` of
            each order if not given.
        weights: those of ``jelinek_mercer``, one for each order, in place of fitted ones.
        bucketed: whether the fitted weights also depend on the logarithm of a context's count.
        alpha: the factor of ``stupid_backoff``, 0.4 if not given.
        discount_unigrams: whether single tokens leave anything at all; ``False`` gives those never
            seen no probability.
        dtype: ``"float64"`` keeps the numbers of a fitted model in double precision too, for three
            times the memory; files hold single precision in any case.

    Attributes:
        discounts: what counts from 1 up lose, for each order; empty for methods without.
        weights: what ``jelinek_mercer`` keeps in each order, of one class of contexts or of 16.

    Reference:
        Chen & Goodman, An empirical study of smoothing techniques for language modeling, 1998;
        Heafield et al., Scalable modified Kneser-Ney language model estimation, 2013.
    """

    def __init__(
        self,
        order: int = 3,
        *,
        tokenizer: Tokenizer | None = None,
        vocab_size: int | None = None,
        interpolate_unigrams: bool = True,
        discount_fallback: bool | Sequence[float] = True,
        smoothing: str = "modified_kneser_ney",
        interpolate: bool | None = None,
        gamma: float | None = None,
        largest: int | None = None,
        discount: float | None = None,
        weights: Sequence[float] | None = None,
        bucketed: bool | None = None,
        alpha: float | None = None,
        discount_unigrams: bool = True,
        dtype: str = "float32",
    ) -> None:
        if isinstance(order, bool) or not isinstance(order, int | np.integer):
            raise TypeError(f"NGram: order: expected an integer, got {type(order).__name__}")
        if not 1 <= order <= _MAX_ORDER:
            raise ValueError(f"NGram: order: expected 1 to {_MAX_ORDER}, got {order}")
        if tokenizer is not None and vocab_size is not None:
            raise ValueError("NGram: vocab_size: follows from the tokenizer, give only one of them")
        size = vocab_size if tokenizer is None else tokenizer.vocab_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer)):
            raise TypeError(f"NGram: vocab_size: expected an integer, got {type(size).__name__}")
        if size is not None and not 1 <= size <= MAX_SIZE:
            raise ValueError(f"NGram: vocab_size: expected 1 to {MAX_SIZE}, got {size}")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"NGram: dtype: expected float32 or float64, got {dtype!r}")
        self.order = int(order)
        options = {
            "interpolate": interpolate,
            "gamma": gamma,
            "largest": largest,
            "discount": discount,
            "weights": weights,
            "bucketed": bucketed,
            "alpha": alpha,
        }
        self._smoothing = Smoothing(
            name=smoothing,
            options=check_options(smoothing, options),
            interpolate_unigrams=interpolate_unigrams,
            discount_unigrams=discount_unigrams,
            discount_fallback=check_fallback(discount_fallback),
        )
        if weights is not None and len(weights) != order:
            raise ValueError(
                f"NGram: weights: expected {order}, one for each order, got {len(weights)}"
            )
        self._precise = dtype == "float64"
        self.discounts: list[tuple[float, ...]] = []
        self.weights: list[tuple[float, ...]] = []
        self._given = tokenizer
        self._vocab_size = None if size is None else int(size)
        self._inferred = False
        self._fitted: _kernels.NGramModel | None = None
        self._absent: Array = np.zeros(0, np.int64)
        self._own: Tokenizer | None = None

    # Estimation.

    def fit(
        self, data: str | Iterable[str] | Ids, *, held_out: str | Iterable[str] | Ids | None = None
    ) -> Self:
        """Estimate the model, forgetting an earlier one.

        Args:
            data: a text, several texts, ids ``[L]`` or a list of such. Several texts are read one
                at a time and need not fit into memory together; a line does not go on from one
                to the next.
            held_out: the same, not in ``data``: ``jelinek_mercer`` without ``weights`` needs it.

        Raises:
            ValueError: no tokens, ids out of range, a text with the word ``<s>`` or ``</s>``, or
                held-out text that is missing or that the method has no use for.
            TypeError: neither texts nor ids, or ids after a text where tokens are words.

        Warns:
            UserWarning: the discounts of an order are undefined; see ``discount_fallback``.
        """
        self._check_held_out(held_out)
        parts = parts_of(data)
        first = next(parts, None)
        rest: Iterable[Any] = parts if first is None else itertools.chain([first], parts)
        # Without a tokenizer or a size, the data say what tokens are.
        words = self._given is None and (self._vocab_size is None or self._inferred)
        if words and (first is None or isinstance(first, str)):
            corpus = _kernels.NGramText()
            for part in rest:
                if not isinstance(part, str):
                    kind = type(part).__name__
                    raise TypeError(f"NGram: data: expected texts after the first, got {kind}")
                corpus.add(part)
            method, held = self.method(corpus, held_out)
            estimated = corpus.estimate(self.order, method, [], held)
            self._vocab_size = None
        else:
            stream, largest = self._stream(rest)
            size = largest + 1 if words or self._vocab_size is None else self._vocab_size
            if largest >= size:
                raise ValueError(f"NGram: ids: expected ids below {size}, got {largest}")
            held = None if held_out is None else self._stream(parts_of(held_out))[0]
            method = self._smoothing.kernel(precise=self._precise)
            estimated = _kernels.ngram_estimate_ids(stream, size, self.order, method, held)
            self._inferred = words
            self._vocab_size = size
        self._adopt(estimated)
        return self

    def _stream(self, parts: Iterable[Any]) -> tuple[Array, int]:
        """The kernel's ids of texts or ids one after the other, and the largest id."""
        pieces, largest = [], 0
        begin = np.array([BEGIN], np.uint32)
        for part in parts:
            ids = checked(self._encode(part) if isinstance(part, str) else part, MAX_SIZE)
            if ids.size:
                largest = max(largest, int(ids.max()))
                pieces += [begin, (ids + SPECIAL).astype(np.uint32)]
        if not pieces:
            raise ValueError("NGram: data: expected at least one token, got an empty corpus")
        return np.concatenate(pieces), largest

    def _encode(self, text: str) -> Array:
        if self._given is not None:
            return encode(self._given, text)
        return Numbers(self._vocab_size or MAX_SIZE).encode(text)

    def _set(self, model: _kernels.NGramModel) -> None:
        self._fitted = model
        self.order = model.order
        self._own = None
        shift = 0 if self._words else SPECIAL
        absent = model.absent().astype(np.int64)
        self._absent = absent[absent >= SPECIAL] - shift

    def method(
        self,
        corpus: _kernels.NGramText | _kernels.NGramShard,
        held_out: str | Iterable[str] | Ids | None = None,
    ) -> tuple[dict[str, Any], Array | None]:
        """How the kernels are told to estimate: the method, and tokens of held-out texts.

        Args:
            corpus: whose words these are.
            held_out: as of :meth:`fit`.
        """
        self._check_held_out(held_out)
        return self._smoothing.kernel(precise=self._precise), held_out_words(held_out, corpus)

    def adopt(self, estimated: Estimated) -> Self:
        """Take an estimate over words that the kernels made by :meth:`method`."""
        self._vocab_size = None
        self._adopt(estimated)
        return self

    def warn_undefined(self, undefined: Sequence[str], *, stacklevel: int = 3) -> None:
        """Say which discounts of an estimate are the fallback's."""
        self._smoothing.warn_undefined(undefined, stacklevel=stacklevel + 1)

    def _check_held_out(self, held_out: object) -> None:
        if (held_out is None) == self._smoothing.fits_weights:
            expected = "text to fit the weights on" if held_out is None else "none"
            raise ValueError(f"NGram: held_out: expected {expected} with {self.smoothing}")

    def _adopt(self, estimated: Estimated) -> None:
        model, discounts, weights, undefined = estimated
        self.discounts = [tuple(order) for order in discounts]
        self.weights = [tuple(order) for order in weights]
        self._set(model)
        if self._given is not None:
            # Every token of a tokenizer is frequent in its own text, so rare ones say nothing.
            undefined = [reason for reason in undefined if not reason.startswith("order 1 ")]
        self.warn_undefined(undefined, stacklevel=4)

    @property
    def _model(self) -> _kernels.NGramModel:
        if self._fitted is None:
            raise RuntimeError("NGram: not fitted yet: call fit, load or load_arpa")
        return self._fitted

    @property
    def _words(self) -> bool:
        return self._vocab_size is None

    @property
    def smoothing(self) -> str:
        """Name of the method that :meth:`fit` uses."""
        return self._smoothing.name

    @property
    def interpolate_unigrams(self) -> bool:
        """Whether single tokens are interpolated with the uniform distribution."""
        return self._smoothing.interpolate_unigrams

    # The protocol of language models.

    @property
    def is_normalized(self) -> bool:
        """Whether the probabilities of all tokens sum to one: not with ``stupid_backoff``."""
        return self.smoothing != "stupid_backoff"

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns text into the ids of this model and back."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = Words(self._model) if self._words else Numbers(self.vocab_size)
        return self._own

    @property
    def vocab_size(self) -> int:
        """Length of :meth:`next_log_probs`, V."""
        return len(self._model) if self._vocab_size is None else self._vocab_size

    @property
    def num_parameters(self) -> int:
        """Probabilities and back-off weights."""
        return sum(self.counts) + sum(self.counts[:-1])

    @property
    def unk_token_id(self) -> int | None:
        """The id of ``<unk>`` where tokens are words."""
        return UNKNOWN if self._words else super().unk_token_id

    @property
    def eos_token_id(self) -> int | None:
        """The id of ``</s>`` where tokens are words."""
        return END if self._words else super().eos_token_id

    def log_probs(self, text: str | Ids) -> Array:
        """Natural logarithm of the probability of each token given all before it.

        Args:
            text: a text, or ids ``[L]``. Where tokens are words, each line of a text ends in
                ``</s>``, which is one of the tokens, and what follows that is a new sentence.

        Returns:
            float64 ``[L]``.
        """
        log10, _ = self._model.score(self._kernel_ids(text, finish=True), True, self._words)
        return log10 * math.log(10)

    def next_log_probs(self, context: str | Ids = "") -> Array:
        """Natural logarithms of the probabilities of all tokens after ``context``.

        Args:
            context: a text, or ids ``[L]``; empty means the beginning of a text.

        Returns:
            float64 ``[V]`` in the order of ids. Where tokens are words, that of ``<s>``, which is
            never predicted, is minus infinity.
        """
        logs = self._model.next(self._kernel_ids(context, finish=False), self._words)
        return logs if self._words else logs[SPECIAL:]

    def _kernel_ids(self, text: str | Ids, *, finish: bool) -> Array:
        """The kernel's ids of a text, or of ids."""
        if isinstance(text, str) and self._words:
            return self._model.encode(text, finish)
        ids = checked(self._encode(text) if isinstance(text, str) else text)
        size = self.vocab_size
        if ids.size and ids.max() >= size:
            raise ValueError(f"NGram: ids: expected 0 to {size - 1}, got {ids.max()}")
        return (ids if self._words else ids + SPECIAL).astype(np.uint32)

    def oov_mass(self, text: str) -> float:
        """Share of the tokens of ``text`` that are unknown, or that training never saw."""
        unknown = self._unknown(self._kernel_ids(text, finish=True))
        return float(unknown.mean()) if unknown.size else 0.0

    def _unknown(self, ids: Array) -> Array:
        """Whether each of the kernel's ids is out of the vocabulary, bool ``[L]``."""
        if self._words:
            return ids == UNKNOWN
        ids = ids.astype(np.int64) - SPECIAL
        token = self.unk_token_id
        return self._is_absent(ids) | (ids == (-1 if token is None else token))

    def _is_absent(self, ids: Array) -> Array:
        if not self._absent.size:
            return np.zeros(ids.shape, bool)
        return self._absent.take(self._absent.searchsorted(ids), mode="clip") == ids

    def __contains__(self, token: object) -> bool:
        """Whether a word, or an id, is in the vocabulary that training saw."""
        if isinstance(token, str):
            if self._words:
                return self._model.id(token) not in (None, UNKNOWN)
            return all(int(id) in self for id in self._encode(token))
        if not isinstance(token, int | np.integer):
            return False
        if not 0 <= token < self.vocab_size or token == self.unk_token_id:
            return False
        return not self._is_absent(np.array([token])).any()

    @property
    def has_words(self) -> bool:
        """Whether tokens are words, and not ids of a tokenizer or of nothing."""
        return self._words

    def word_ids(self, text: str, *, finish: bool) -> Array:
        """Ids of the words of a text and of the ``</s>`` after its lines, as scoring has them.

        Args:
            text: lines of words.
            finish: whether the last line ends though it has no line break.
        """
        return self._model.encode(text, finish).astype(np.int64)

    @property
    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        if self._words:
            return self._model.vocabulary()
        return [self.tokenizer.decode([id]) for id in range(self.vocab_size)]

    @property
    def counts(self) -> list[int]:
        """How many n-grams of each length the model has."""
        return self._model.counts

    def __repr__(self) -> str:
        counts = "" if self._fitted is None else f", counts={self.counts}"
        return f"NGram(order={self.order}{counts})"

    # Smaller models.

    def prune(self, threshold: float) -> Self:
        """A model without the n-grams that matter least, by relative entropy.

        Kneser-Ney models lose more by it than Katz or Witten-Bell models of the same size: their
        lower orders, of which the frequencies of contexts are taken, do not estimate these.

        Args:
            threshold: n-grams are dropped that each change the model's perplexity by less than
                this share, such as 1e-8. Single tokens stay.

        Raises:
            ValueError: the threshold is negative, or the model's scores do not sum to one.

        Reference:
            Stolcke, Entropy-based pruning of backoff language models, 1998; Chelba et al., Study on
            interaction between entropy pruning and Kneser-Ney smoothing, 2010.
        """
        if not 0 <= threshold < math.inf:
            raise ValueError(f"NGram: threshold: expected a number from 0 up, got {threshold:g}")
        if not self.is_normalized:
            raise ValueError("NGram: prune: expected probabilities that sum to one")
        return self._changed(self._model.prune(float(threshold)))

    def limit(self, words: Iterable[str]) -> Self:
        """A model of these words only: all others are ``<unk>``, which gets their probability.

        Raises:
            ValueError: tokens are ids, or the model's scores do not sum to one.
        """
        if not self.is_normalized:
            raise ValueError("NGram: limit: expected probabilities that sum to one")
        return self._changed(self._model.limit(list(words)))

    def sums(
        self, *, tolerance: float = 1e-6, most: int = 10
    ) -> tuple[int, int, list[tuple[float, str]]]:
        """Whether the probabilities of all tokens after each context of the model sum to one.

        Args:
            tolerance: how far from one a sum may be.
            most: how many of the worst contexts are named.

        Returns:
            How many contexts there are, how many of their sums are wrong, and sum and words of the
            worst, those furthest from one first.
        """
        return self._model.sums(float(tolerance), int(most))

    @classmethod
    def merged(cls, models: Sequence[Self], weights: Sequence[float]) -> Self:
        """The linear mixture of models as one; see :func:`lamina.lm.mix`."""
        return models[0]._changed(_kernels.ngram_mix([m._model for m in models], list(weights)))

    def _changed(self, model: _kernels.NGramModel) -> Self:
        new = copy.copy(self)
        new._set(model)
        return new

    # Files.

    def save_arpa(self, path: PathLike) -> None:
        """Write the model in the ARPA format, which KenLM, SRILM and others read.

        Args:
            path: compressed if it ends in ``.gz``. It appears when it is complete. Where tokens are
                ids, the words in it are ids in decimal, and ``</s>``, which the format asks for
                and no text of ids has, is given the probability zero, written as -99.
        """
        self._model.save_arpa(path)

    @classmethod
    def load_arpa(
        cls,
        path: PathLike,
        *,
        tokenizer: Tokenizer | None = None,
        vocab_size: int | None = None,
    ) -> Self:
        """Read an ARPA file of any toolkit, compressed or not.

        ``<s>`` and ``</s>`` must be among its words unless these are ids; ``<unk>`` need not.

        Args:
            path: the file.
            tokenizer: that of the model, where the words in the file are its ids.
            vocab_size: V, where they are ids and there is no tokenizer.

        Raises:
            ValueError: the file is broken; the message says where and how.
            OSError: the system refused, as with ``FileNotFoundError``.
        """
        new = cls(1, tokenizer=tokenizer, vocab_size=vocab_size)
        new._set(_kernels.NGramModel.load_arpa(path, new._vocab_size))
        return new

    def _empty(self) -> Self:
        return copy.copy(self)

    @classmethod
    def _of(cls, model: _kernels.NGramModel, tokenizer: Tokenizer | None) -> Self:
        size = model.numbers
        if tokenizer is not None and tokenizer.vocab_size != size:
            raise ValueError(
                f"NGram: tokenizer: expected one of {size or 'no'} ids as the model has, "
                f"got {tokenizer.vocab_size}"
            )
        new = cls(1, tokenizer=tokenizer, vocab_size=size if tokenizer is None else None)
        new._set(model)
        return new

    def save(self, folder: PathLike) -> None:
        """Write the model to a folder that :meth:`load` reads, whole or not.

        A tokenizer of :mod:`lamina.text` goes with it; another one is for the caller to keep.
        """
        config = {
            "class": "NGram",
            "order": self.order,
            "vocab_size": self._vocab_size,
            "inferred": self._inferred,
            "tokenizer": self._given is not None,
            **self._smoothing.config(),
            "discounts": self.discounts,
            "weights": self.weights,
        }
        contents: dict[str, files.Content] = {
            _CONFIG: json.dumps(config, indent=2) + "\n",
            _ARPA: self.save_arpa,
        }
        if isinstance(self._given, texts.Tokenizer):
            contents["tokenizer.json"] = self._given.to_json()
        files.write_folder(folder, contents)

    @classmethod
    def load(cls, folder: PathLike, *, tokenizer: Tokenizer | None = None) -> Self:
        """Read a model that :meth:`save` wrote.

        Args:
            folder: the folder.
            tokenizer: that of the model, where it is not in the folder as ``tokenizer.json``.

        Raises:
            ValueError: the folder holds another kind of model, or a broken one.
        """
        source = files.find_folder(folder)
        files.check_folder(source, {_CONFIG, _ARPA})
        config = read_config(source / _CONFIG)
        if config["tokenizer"] and tokenizer is None:
            tokenizer = texts.Tokenizer.from_pretrained(source)
        size = None if config["tokenizer"] else config["vocab_size"]
        new = cls.load_arpa(source / _ARPA, tokenizer=tokenizer, vocab_size=size)
        new._smoothing = Smoothing.from_config(config)
        new.discounts = [tuple(order) for order in config["discounts"]]
        # Folders of earlier versions lack these two.
        new.weights = [tuple(order) for order in config.get("weights", [])]
        new._inferred = config.get("inferred", False)
        return new
