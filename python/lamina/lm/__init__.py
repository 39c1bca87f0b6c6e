"""Language models behind one protocol, and measures that compare them."""

from lamina.lm.base import LanguageModel, Tokenizer
from lamina.lm.evaluate import Evaluation, evaluate
from lamina.lm.folder import load
from lamina.lm.hmm import HMM
from lamina.lm.mixture import Mixture, mix
from lamina.lm.neural import NeuralLM
from lamina.lm.ngram import NGram, NGramCounts

__all__ = [
    "HMM",
    "Evaluation",
    "LanguageModel",
    "Mixture",
    "NGram",
    "NGramCounts",
    "NeuralLM",
    "Tokenizer",
    "evaluate",
    "load",
    "mix",
]
