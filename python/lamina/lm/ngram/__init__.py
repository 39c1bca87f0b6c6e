"""N-gram language models."""

from lamina.lm.ngram.counts import NGramCounts
from lamina.lm.ngram.model import NGram
from lamina.lm.ngram.querying import QueryTotals, State, TokenScore

__all__ = ["NGram", "NGramCounts", "QueryTotals", "State", "TokenScore"]
