"""Mixtures of language models, linear and log-linear, with weights tuned on held-out text."""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from lamina import files
from lamina.lm.base import Array, Ids, LanguageModel, Tokenizer
from lamina.lm.ngram import NGram
from lamina.lm.ngram.joint import JointWords, SharedTokens

KINDS = ("linear", "log-linear")
_CONFIG = "config.json"
_ROUNDS = 200
_CONVERGED = 1e-8
# Numbers of a log-linear mixture that are kept between two rounds of tuning.
_KEPT = 2**24


class Mixture(LanguageModel):
    """Several models as one, exactly.

    Linear, with weights from 0 up that sum to one, or log-linear, with any weights and a sum over
    all tokens for every prediction::

        p(w | h) = sum_i weights[i] p_i(w | h)
        p(w | h) = prod_i p_i(w | h)^weights[i] / Z(h)

    Models whose tokens are words, as n-grams without a tokenizer, may have different vocabularies:
    the mixture has all words, and the probability of a model's ``<unk>`` is shared alike by the
    words that it lacks and others have, and the ``<unk>`` of the mixture. Other models must have
    one tokenizer.

    Args:
        models: at least one.
        weights: one for each; alike if not given.
        kind: ``"linear"`` or ``"log-linear"``.

    Reference:
        Jelinek & Mercer, Interpolated estimation of Markov source parameters from sparse data,
        1980; Klakow, Log-linear interpolation of language models, 1998.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        weights: Sequence[float] | None = None,
        *,
        kind: str = "linear",
    ) -> None:
        self.models = _checked_models(models)
        if kind not in KINDS:
            raise ValueError(f"mix: kind: expected linear or log-linear, got {kind!r}")
        self.kind = kind
        self.weights = _checked_weights(weights, len(self.models), kind)
        words = [model for model in self.models if isinstance(model, NGram) and model.has_words]
        if len(words) == len(self.models):
            self._tokens: JointWords | SharedTokens = JointWords(words)
        elif words:
            raise ValueError("mix: models: expected all or none to have words as tokens")
        else:
            self._tokens = SharedTokens(self.models)

    def fit(self, data: str | Ids) -> Self:
        """Tune the weights, not the models, for the highest likelihood of held-out ``data``.

        Linear weights by expectation and maximisation, log-linear ones by Newton's method, on a
        text or ids ``[L]`` of the mixture.

        Raises:
            ValueError: the data have no tokens.
        """
        ids = self._tokens.ids(data, finish=True)
        if not ids.size:
            raise ValueError("mix: tune_on: expected at least one token, got none")
        if self.kind == "linear":
            self.weights = _expectation(self._tokens.parts(ids), self.weights)
            return self
        kept = ids.size * self.vocab_size * len(self.models) <= _KEPT
        every = list(self._everything(ids)) if kept else None
        self.weights = _newton(lambda: every or self._everything(ids), self.weights)
        return self

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns text into the ids of the mixture and back."""
        return self._tokens.tokenizer

    @property
    def vocab_size(self) -> int:
        """Length of :meth:`next_log_probs`, V."""
        return self.tokenizer.vocab_size

    @property
    def num_parameters(self) -> int:
        """Those of all models, and the weights."""
        return sum(model.num_parameters for model in self.models) + len(self.models)

    @property
    def unk_token_id(self) -> int | None:
        """The token that stands for everything the vocabulary lacks, if there is one."""
        return self._tokens.unk_token_id

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text, if there is one."""
        return self._tokens.eos_token_id

    def log_probs(self, text: str | Ids) -> Array:
        """Natural logarithm of the probability of each token given all before it.

        Args:
            text: a text, or ids ``[L]``.

        Returns:
            float64 ``[L]``.
        """
        ids = self._tokens.ids(text, finish=True)
        if self.kind == "linear":
            return _weighted(self._tokens.parts(ids), self.weights)
        logs = [_combined(scores, self.weights)[at] for scores, at in self._everything(ids)]
        return np.array(logs, np.float64)

    def next_log_probs(self, context: str | Ids = "") -> Array:
        """Natural logarithms of the probabilities of all tokens after ``context``.

        Args:
            context: a text, or ids ``[L]``; empty means the beginning of a text.

        Returns:
            float64 ``[V]``.
        """
        scores = self._tokens.next_parts(self._tokens.ids(context, finish=False))
        combine = _weighted if self.kind == "linear" else _combined
        return combine(scores, self.weights)

    def oov_mass(self, text: str) -> float:
        """Share of the tokens of ``text`` that are unknown to all models."""
        ids = self._tokens.ids(text, finish=True)
        return float(np.mean(ids == self.unk_token_id)) if ids.size else 0.0

    def _everything(self, ids: Array) -> Iterator[tuple[Array, int]]:
        """What each model gives all tokens ``[M, V]`` at each place, and which is there."""
        for at, token in enumerate(ids.tolist()):
            yield self._tokens.next_parts(ids[:at]), token

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the models to folders within a folder, which :func:`lamina.lm.load` reads."""
        target = Path(folder)
        for place, model in enumerate(self.models):
            model.save(target / f"model-{place}")
        config = {
            "class": "Mixture",
            "kind": self.kind,
            "weights": self.weights.tolist(),
            "models": len(self.models),
        }
        files.write_folder(target, {_CONFIG: json.dumps(config, indent=2) + "\n"})

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, tokenizer: Tokenizer | None = None
    ) -> "Mixture":
        """Read a mixture of n-gram models; :func:`lamina.lm.load` reads one of any models."""
        return cls.read(Path(folder), NGram.load, tokenizer=tokenizer)

    @classmethod
    def read(
        cls,
        folder: Path,
        load: Callable[..., LanguageModel],
        *,
        tokenizer: Tokenizer | None = None,
    ) -> "Mixture":
        """Read a mixture whose models ``load`` reads.

        Raises:
            FormatError: the folder holds another kind of model, or a broken one.
        """
        path = files.find_folder(folder)
        files.check_folder(path, {_CONFIG})
        config = files.read_json(path / _CONFIG)
        weights, count = config.get("weights"), config.get("models")
        if config.get("class") != "Mixture" or not isinstance(weights, list):
            raise files.FormatError(path / _CONFIG, "expected the configuration of a Mixture")
        if count != len(weights):
            raise files.FormatError(path / _CONFIG, "expected one weight for each model")
        models = [load(path / f"model-{n}", tokenizer=tokenizer) for n in range(len(weights))]
        try:
            return cls(models, weights, kind=config.get("kind", ""))
        except (TypeError, ValueError) as error:
            raise files.FormatError(path / _CONFIG, str(error)) from error


def mix(
    models: Sequence[LanguageModel],
    weights: Sequence[float] | None = None,
    *,
    tune_on: str | Ids | None = None,
    kind: str = "linear",
    static: bool | None = None,
) -> NGram | Mixture:
    """Mix language models into one.

    Args:
        models: see :class:`Mixture`.
        weights: one for each; alike if neither these nor ``tune_on`` are given.
        tune_on: held-out text, or ids, on which the weights are tuned; those given are the start.
        kind: ``"linear"`` or ``"log-linear"``.
        static: whether to merge n-gram models into one back-off model, as fast as any other of its
            size: it has the n-grams of all, and gives each what the mixture gives it, but after
            contexts that not all models know other words may get slightly other probabilities.
            By default wherever the kind is linear and all models are n-grams.

    Returns:
        An :class:`~lamina.lm.NGram` if ``static``, else a :class:`Mixture`.

    Raises:
        ValueError: weights out of range, models that do not go together or whose scores do not sum
            to one, or a static mixture of other than n-grams.
    """
    mixture = Mixture(models, weights, kind=kind)
    if tune_on is not None:
        mixture.fit(tune_on)
    grams = [model for model in mixture.models if isinstance(model, NGram)]
    possible = kind == "linear" and len(grams) == len(mixture.models)
    if static is None:
        static = possible
    if not static:
        return mixture
    if not possible:
        raise ValueError("mix: static: expected a linear mixture of n-gram models")
    return NGram.merged(grams, mixture.weights.tolist())


def _checked_models(models: Sequence[LanguageModel]) -> list[LanguageModel]:
    models = list(models)
    if not models:
        raise ValueError("mix: models: expected at least one, got none")
    for model in models:
        if not isinstance(model, LanguageModel):
            kind = type(model).__name__
            raise TypeError(f"mix: models: expected language models, got {kind}")
        if not model.is_normalized:
            raise ValueError("mix: models: expected probabilities that sum to one")
    return models


def _checked_weights(weights: Sequence[float] | None, count: int, kind: str) -> Array:
    if weights is None:
        return np.full(count, 1 / count)
    found = np.array(weights, np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError(f"mix: weights: expected {count} numbers, got {list(weights)}")
    if kind == "linear" and (found.min() < 0 or abs(found.sum() - 1) > 1e-6):
        raise ValueError(f"mix: weights: expected a sum of 1, none below 0, got {list(weights)}")
    return found / found.sum() if kind == "linear" else found


def _log_sum(logs: Array) -> Array:
    """Logarithm of the sum over the first axis, minus infinity of nothing."""
    most = logs.max(axis=0)
    safe = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logs - safe).sum(axis=0)) + safe


def _weighted(parts: Array, weights: Array) -> Array:
    used = weights > 0
    return _log_sum(parts[used] + np.log(weights[used])[:, None])


def _combined(scores: Array, weights: Array) -> Array:
    never = np.isneginf(scores).all(axis=0)
    logs = weights @ np.where(np.isneginf(scores), -1e30, scores)
    logs[never] = -np.inf
    return logs - _log_sum(logs)


def _expectation(parts: Array, weights: Array) -> Array:
    """Linear weights of the highest likelihood of tokens with these ``[M, L]``."""
    prob = np.exp(parts - parts.max(axis=0))
    # One that starts from nothing would never get anything.
    weights = np.maximum(weights, 1e-4)
    weights = weights / weights.sum()
    for _ in range(_ROUNDS):
        shares = weights[:, None] * prob
        new = (shares / shares.sum(axis=0)).mean(axis=1)
        done = np.abs(new - weights).max() < _CONVERGED
        weights = new
        if done:
            break
    return weights


def _newton(everything: Callable[[], Iterable[tuple[Array, int]]], weights: Array) -> Array:
    """Log-linear weights of the highest likelihood, which is concave in them."""

    def look(weights: Array) -> tuple[float, Array, Array]:
        total, slope, curve = 0.0, np.zeros(len(weights)), np.zeros((len(weights),) * 2)
        for scores, token in everything():
            logs = _combined(scores, weights)
            prob = np.exp(logs)
            finite = np.where(prob > 0, scores, 0.0)
            mean = finite @ prob
            total += logs[token]
            slope += finite[:, token] - mean
            curve += (finite * prob) @ finite.T - np.outer(mean, mean)
        return total, slope, curve

    value, slope, curve = look(weights)
    for _ in range(_ROUNDS):
        ridge = 1e-9 * (1 + np.trace(curve)) * np.eye(len(weights))
        step = np.linalg.solve(curve + ridge, slope)
        scale = 1.0
        while scale > 1e-6:
            found = look(weights + scale * step)
            if math.isfinite(found[0]) and found[0] >= value:
                break
            scale /= 2
        else:
            break
        weights = weights + scale * step
        done = found[0] - value < 1e-9 * abs(value)
        value, slope, curve = found
        if done:
            break
    return weights
