"""Every generation of language model on one text, side by side."""

from lamina.compare.families import DEFAULT, Family, family, make_tokenizer
from lamina.compare.run import Comparison, ModelResult, Progress, compare

__all__ = [
    "DEFAULT",
    "Comparison",
    "Family",
    "ModelResult",
    "Progress",
    "compare",
    "family",
    "make_tokenizer",
    "write_report",
]
