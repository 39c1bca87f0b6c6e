"""Every generation of language model on one text, side by side."""

from lamina.compare.entropy import TextEntropy, text_entropy
from lamina.compare.families import (
    DEFAULT,
    Family,
    check_tokenizer,
    family,
    fit_counts,
    fit_options,
    make_tokenizer,
    select,
)
from lamina.compare.report import check_report_tools, report_text, write_report
from lamina.compare.run import (
    Comparison,
    ModelResult,
    Prepared,
    Progress,
    check_length,
    compare,
    prepare,
)

__all__ = [
    "DEFAULT",
    "Comparison",
    "Family",
    "ModelResult",
    "Prepared",
    "Progress",
    "TextEntropy",
    "check_length",
    "check_report_tools",
    "check_tokenizer",
    "compare",
    "family",
    "fit_counts",
    "fit_options",
    "make_tokenizer",
    "prepare",
    "report_text",
    "select",
    "text_entropy",
    "write_report",
]
