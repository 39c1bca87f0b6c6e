"""Information theory on counts, probabilities and texts: entropies, divergences, Bayes' rule."""

from lamina.information.estimators import METHODS, entropy
from lamina.information.measures import (
    conditional_entropy,
    cross_entropy,
    joint_entropy,
    js_divergence,
    kl_divergence,
    mutual_information,
    pointwise_mutual_information,
)
from lamina.information.sequences import (
    UNITS,
    SequenceEntropy,
    sequence_entropy,
    text_entropies,
    text_entropy,
)
from lamina.information.table import Table

__all__ = [
    "METHODS",
    "UNITS",
    "SequenceEntropy",
    "Table",
    "conditional_entropy",
    "cross_entropy",
    "entropy",
    "joint_entropy",
    "js_divergence",
    "kl_divergence",
    "mutual_information",
    "pointwise_mutual_information",
    "sequence_entropy",
    "text_entropies",
    "text_entropy",
]
