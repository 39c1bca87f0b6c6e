"""Where the time goes: seconds in each kernel, from the library's own counters."""

import time
from types import TracebackType
from typing import NamedTuple, Self

from lamina import _kernels


class KernelTime(NamedTuple):
    """Calls of one kernel and the seconds spent inside."""

    calls: int
    seconds: float


class profile:  # noqa: N801 - reads as a verb: `with lamina.profile() as p`
    """Counts the time in each kernel inside the ``with`` block, on all threads of Python.

    One profile is taken at a time.

    Attributes:
        seconds: length of the block.
        kernels: calls and seconds of each kernel, the longest first.
    """

    seconds: float
    kernels: dict[str, KernelTime]

    def __init__(self) -> None:
        self.seconds = 0.0
        self.kernels = {}

    def __enter__(self) -> Self:
        _kernels.profile_start()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        counted = _kernels.profile_stop().items()
        self.kernels = {
            name: KernelTime(*entry) for name, entry in sorted(counted, key=lambda e: -e[1][1])
        }

    def shares(self) -> dict[str, float]:
        """Share of the block spent in each kernel; ``python`` is what is left."""
        if not self.seconds:
            return {}
        shares = {name: entry.seconds / self.seconds for name, entry in self.kernels.items()}
        shares["python"] = max(0.0, 1 - sum(shares.values()))
        return shares

    def __str__(self) -> str:
        rows = [f"{'kernel':<24}{'calls':>9}{'seconds':>10}{'share':>8}"]
        for name, entry in self.kernels.items():
            share = entry.seconds / self.seconds if self.seconds else 0.0
            rows.append(f"{name:<24}{entry.calls:>9}{entry.seconds:>10.3f}{share:>8.1%}")
        rest = self.shares().get("python", 0.0)
        rows.append(f"{'python':<24}{'':>9}{rest * self.seconds:>10.3f}{rest:>8.1%}")
        return "\n".join(rows)
