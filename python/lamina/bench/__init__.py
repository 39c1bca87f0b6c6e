"""lamina beside NumPy, and PyTorch where it is installed, on the same work in the same run."""

from lamina.bench.cases import CASES, Case
from lamina.bench.run import Machine, Result, machine, run

__all__ = ["CASES", "Case", "Machine", "Result", "machine", "run"]
