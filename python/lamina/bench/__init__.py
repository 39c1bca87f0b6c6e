"""lamina beside NumPy, PyTorch and ONNX Runtime, where installed, on the same work in one run."""

from lamina.bench.case import Case, Work
from lamina.bench.cases import CASES
from lamina.bench.peers import PEERS
from lamina.bench.run import Machine, Memory, Result, machine, run

__all__ = ["CASES", "PEERS", "Case", "Machine", "Memory", "Result", "Work", "machine", "run"]
