"""Labelling the items of a sequence: models, readers of annotated files, and their measures."""

from lamina.tagging.hmm import HMMTagger

__all__ = ["HMMTagger"]
