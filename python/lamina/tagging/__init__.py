"""Labelling the items of a sequence: models, readers of annotated files, and their measures."""

from lamina.tagging.conll import ConlluSentence, read_conll, read_conllu
from lamina.tagging.crf import CRF, Explanation, Info
from lamina.tagging.features import ner_features, pos_features, shape
from lamina.tagging.hmm import HMMTagger
from lamina.tagging.metrics import Report, Scores, classification_report, entity_scores
from lamina.tagging.schemes import (
    SCHEMES,
    Entity,
    convert,
    entities,
    strict_entities,
    write_labels,
)
from lamina.tagging.template import Template

__all__ = [
    "CRF",
    "SCHEMES",
    "ConlluSentence",
    "Entity",
    "Explanation",
    "HMMTagger",
    "Info",
    "Report",
    "Scores",
    "Template",
    "classification_report",
    "convert",
    "entities",
    "entity_scores",
    "ner_features",
    "pos_features",
    "read_conll",
    "read_conllu",
    "shape",
    "strict_entities",
    "write_labels",
]
