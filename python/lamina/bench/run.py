"""Measures works in alternation, so that a slow moment of the machine meets all of them."""

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lamina
from lamina import _kernels
from lamina.bench.cases import Case, Work, torch_module

_WARM_UP = 0.05
# Threads of the library before may spin this long for more work, on a core that the next needs.
_PAUSE = 0.2


@dataclass(frozen=True)
class Machine:
    """Where the figures were taken.

    Attributes:
        processor: its name as the system gives it.
        isa: instruction set of the kernels.
        threads: threads of the kernels.
        peak: measured single-precision operations a second.
        bandwidth: measured bytes a second read from memory.
        versions: of the libraries compared.
    """

    processor: str
    isa: str
    threads: int
    peak: float
    bandwidth: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Result:
    """Times of one case.

    Attributes:
        case: the work.
        seconds: median of each library.
        ratios: quartiles of the peer's time over lamina's in the same round, by peer.
        rounds: how many.
    """

    case: Case
    seconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]
    rounds: int


def processor() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> Machine:
    """Measure this machine's limits; takes about a second."""
    peak, bandwidth = _kernels.machine_limits()
    versions = {"lamina": lamina.__version__, "numpy": np.__version__}
    torch = torch_module()
    if torch is not None:
        versions["torch"] = torch.__version__
    return Machine(processor(), lamina.isa(), lamina.num_threads(), peak, bandwidth, versions)


def run(cases: Sequence[Case], *, rounds: int = 15, torch: bool = True) -> Iterator[Result]:
    """Measure each case: lamina, NumPy, torch, lamina, NumPy, torch, ...

    Each library waits until the threads of the one before are asleep, does the work untimed for a
    twentieth of a second, which wakes its own threads and spreads them over the processors, and
    then once timed.

    Args:
        cases: what to measure.
        rounds: how often each library does the work.
        torch: whether PyTorch takes part where it is installed.
    """
    if rounds < 1:
        raise ValueError(f"run: rounds: expected at least 1, got {rounds}")
    module = torch_module() if torch else None
    if module is not None:
        module.set_num_threads(lamina.num_threads())
    for case in cases:
        runs = case.build(module)
        works: dict[str, Work] = {"lamina": runs.lamina, "numpy": runs.numpy}
        if runs.torch is not None:
            works["torch"] = runs.torch
        with lamina.no_grad(), nullcontext() if module is None else module.no_grad():
            yield _measure(case, works, rounds)


def _warm_up(work: Work) -> None:
    start = time.perf_counter()
    while time.perf_counter() - start < _WARM_UP:
        work()


def _measure(case: Case, works: dict[str, Work], rounds: int) -> Result:
    for work in works.values():
        work()
    times = {name: np.empty(rounds) for name in works}
    for i in range(rounds):
        for name, work in works.items():
            time.sleep(_PAUSE)
            _warm_up(work)
            start = time.perf_counter()
            work()
            times[name][i] = time.perf_counter() - start
    own = times["lamina"]
    ratios = {}
    for name, other in times.items():
        if name != "lamina":
            low, middle, high = np.quantile(other / own, [0.25, 0.5, 0.75])
            ratios[name] = (float(low), float(middle), float(high))
    return Result(case, {name: float(np.median(t)) for name, t in times.items()}, ratios, rounds)
