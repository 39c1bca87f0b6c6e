"""lamina beside NumPy, PyTorch and ONNX Runtime, where installed, on the same work in one run."""

from lamina.bench.case import Case, Work
from lamina.bench.cases import CASES
from lamina.bench.libraries import LIBRARIES
from lamina.bench.peers import PEERS
from lamina.bench.report import check_report_tools, report_text, write_report
from lamina.bench.run import Machine, Memory, Result, at_most, machine, run
from lamina.bench.table import markdown

__all__ = [
    "CASES",
    "LIBRARIES",
    "PEERS",
    "Case",
    "Machine",
    "Memory",
    "Result",
    "Work",
    "at_most",
    "check_report_tools",
    "machine",
    "markdown",
    "report_text",
    "run",
    "write_report",
]
