"""Language models behind one protocol."""

from lamina.lm.ngram import NGram

__all__ = ["NGram"]
