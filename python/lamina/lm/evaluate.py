"""How well a language model predicts a text, in measures that compare across tokenisations."""

import math
import time
import warnings
from dataclasses import dataclass

import numpy as np

from lamina.lm.base import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Measures of a language model on a text.

    Attributes:
        tokens: how many tokens were predicted.
        bytes: length of the text in UTF-8.
        cross_entropy: nats a token, the mean of the negative log-probabilities.
        perplexity: ``exp(cross_entropy)``; compares only with the same tokens.
        bits_per_byte: negative log2-probability of the text over its bytes; compares across
            tokenisations as far as ``oov_mass`` is small, since an unknown token stands for
            many texts.
        oov_mass: share of tokens that are unknown.
        seconds: time taken.
        normalized: whether these are measures at all: a model whose scores do not sum to one may
            do as well as it likes.
    """

    tokens: int
    bytes: int
    cross_entropy: float
    perplexity: float
    bits_per_byte: float
    oov_mass: float
    seconds: float
    normalized: bool = True


def evaluate(model: LanguageModel, text: str) -> Evaluation:
    """Measure ``model`` on ``text``.

    Every token of the text is predicted from those before it, the first from the beginning of a
    text. A model that ends lines with a token of its own predicts it in place of the newline.

    Raises:
        ValueError: the text has no tokens.
        TypeError: it is not a ``str``; of ids alone nobody knows how many bytes they stand for.

    Warns:
        UserWarning: the model gives scores and no probabilities, as with stupid back-off.
    """
    if not isinstance(text, str):
        raise TypeError(f"evaluate: text: expected str, got {type(text).__name__}")
    start = time.perf_counter()
    log_probs = model.log_probs(text)
    seconds = time.perf_counter() - start
    if log_probs.size == 0:
        raise ValueError("evaluate: text: expected at least one token, got none")
    if not model.is_normalized:
        warnings.warn(
            "evaluate: the scores of this model do not sum to one: its perplexity and bits per "
            "byte do not compare with those of others",
            UserWarning,
            stacklevel=2,
        )
    total = -float(np.sum(log_probs, dtype=np.float64))
    mean = total / log_probs.size
    size = len(text.encode("utf-8"))
    return Evaluation(
        tokens=log_probs.size,
        bytes=size,
        cross_entropy=mean,
        perplexity=math.exp(mean) if mean < 700 else math.inf,
        bits_per_byte=total / math.log(2) / size,
        oov_mass=model.oov_mass(text),
        seconds=seconds,
        normalized=model.is_normalized,
    )
