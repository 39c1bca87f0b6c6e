"""Every generation of language model on one text, side by side."""

from lamina.compare.families import DEFAULT, Family, family, make_tokenizer
from lamina.compare.report import check_report_tools, write_report
from lamina.compare.run import Comparison, ModelResult, Progress, compare

__all__ = [
    "DEFAULT",
    "Comparison",
    "Family",
    "ModelResult",
    "Progress",
    "check_report_tools",
    "compare",
    "family",
    "make_tokenizer",
    "write_report",
]
