"""Hidden Markov models of words, symbols, vectors and counts."""

from lamina.lm.hmm.categorical import CategoricalHMM
from lamina.lm.hmm.counts import MultinomialHMM, PoissonHMM
from lamina.lm.hmm.gaussian import GaussianHMM
from lamina.lm.hmm.mixture import GMMHMM
from lamina.lm.hmm.model import HMM
from lamina.lm.hmm.monitor import Monitor

__all__ = [
    "GMMHMM",
    "HMM",
    "CategoricalHMM",
    "GaussianHMM",
    "Monitor",
    "MultinomialHMM",
    "PoissonHMM",
]
