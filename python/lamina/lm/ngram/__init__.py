"""N-gram language models."""

from lamina.lm.ngram.model import NGram, TokenScore

__all__ = ["NGram", "TokenScore"]
