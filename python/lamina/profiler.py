"""Where the time goes: seconds in each kernel, from the library's own counters."""

import threading
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

    Blocks may lie inside each other; an outer one counts what the inner ones do.

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
        with _lock:
            _share_out()
            self._counted: dict[str, KernelTime] = {}
            _open.append(self)
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
        with _lock:
            _share_out()
            _open.remove(self)
            if _open:
                _kernels.profile_start()
        self.kernels = dict(sorted(self._counted.items(), key=lambda entry: -entry[1].seconds))

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


_lock = threading.Lock()
_open: list[profile] = []


def _share_out() -> None:
    """Stop the counters and add what they hold to every open profile."""
    if not _open:
        return
    for name, (calls, seconds) in _kernels.profile_stop().items():
        for taken in _open:
            before = taken._counted.get(name, KernelTime(0, 0.0))
            taken._counted[name] = KernelTime(before.calls + calls, before.seconds + seconds)
