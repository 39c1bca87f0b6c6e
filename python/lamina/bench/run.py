"""Measures works in alternation, so that a slow moment of the machine meets all of them."""

import gc
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina import _kernels
from lamina.bench import libraries as others
from lamina.bench.case import Builder, Case, Work
from lamina.bench.libraries import LIBRARIES

_WARM_UP = 0.05
# Threads of the library before may spin this long for more work, on a core that the next needs.
_PAUSE = 0.2
# Shorter works are repeated until their time is well above that of reading the clock.
_LEAST = 0.005
# A work that takes longer needs no warm-up before each round.
_LONG = 1.0
# Rounds of a case at least, however long they take.
_LEAST_ROUNDS = 3

Quartiles = tuple[float, float, float]


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
class Memory:
    """What a training step takes in a process of its own.

    Attributes:
        peak: most bytes resident.
        start: bytes resident before network and data were made.
        faults: page faults of a step, once it has been done a few times.
    """

    peak: int
    start: int
    faults: float


@dataclass(frozen=True)
class Result:
    """Times of one case.

    Attributes:
        case: the work.
        seconds: median of each library.
        ratios: quartiles of the peer's time over lamina's in the same round, by peer.
        rounds: how many.
        left_out: why a peer was not measured, by peer.
        disturbance: share of the processors' time that other processes took meanwhile, where the
            system tells.
        memory: of lamina and of the peer that counts, where it was measured.
    """

    case: Case
    seconds: dict[str, float]
    ratios: dict[str, Quartiles]
    rounds: int
    left_out: dict[str, str] = field(default_factory=dict)
    disturbance: float | None = None
    memory: dict[str, Memory] = field(default_factory=dict)

    @property
    def peer(self) -> str | None:
        """The peer that counts: the fastest, unless the case names another."""
        if self.case.against is not None:
            return self.case.against if self.case.against in self.ratios else None
        return min(self.ratios, key=self.seconds.__getitem__, default=None)

    @property
    def ratio(self) -> Quartiles | None:
        """Its time over lamina's, in quartiles."""
        return None if self.peer is None else self.ratios[self.peer]

    def share_of_peak(self, machine: Machine) -> float:
        """Operations a second over the most the machine can do, or zero."""
        return self.case.flops / self.seconds["lamina"] / machine.peak

    def share_of_bandwidth(self, machine: Machine) -> float:
        """Bytes a second over the most that memory gives, or zero."""
        return self.case.traffic / self.seconds["lamina"] / machine.bandwidth

    def margin(self, machine: Machine) -> float | None:
        """What was reached over what is asked for, the least of it; ``None`` if nothing is."""
        case, margins = self.case, []
        if case.bar and self.ratio is not None:
            margins.append(self.ratio[1] / case.bar)
        if case.least_share is not None:
            margins.append(self.share_of_peak(machine) / case.least_share)
        if case.most_seconds is not None:
            margins.append(case.most_seconds / self.seconds["lamina"])
        return min(margins, default=None)

    def as_dict(self, machine: Machine) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        case = self.case
        return {
            "name": case.name,
            "size": case.size,
            "family": case.family,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "ratios": self.ratios,
            "peer": self.peer,
            "ratio": self.ratio,
            "share_of_peak": self.share_of_peak(machine),
            "share_of_bandwidth": self.share_of_bandwidth(machine),
            "bar": case.bar,
            "least_share": case.least_share,
            "most_seconds": case.most_seconds,
            "margin": self.margin(machine),
            "left_out": self.left_out,
            "disturbance": self.disturbance,
            "memory": {name: asdict(memory) for name, memory in self.memory.items()},
        }


def processor() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(libraries: tuple[str, ...] = ("numpy", "torch")) -> Machine:
    """Measure this machine's limits; takes about a second."""
    peak, bandwidth = _kernels.machine_limits()
    versions = others.versions(libraries)
    return Machine(processor(), lamina.isa(), lamina.num_threads(), peak, bandwidth, versions)


def at_most(before: Machine, after: Machine) -> Machine:
    """The same machine with the higher of each limit: another process may have lowered one."""
    peak, bandwidth = max(before.peak, after.peak), max(before.bandwidth, after.bandwidth)
    return replace(before, peak=peak, bandwidth=bandwidth)


def run(
    cases: Sequence[Case],
    *,
    rounds: int = 15,
    libraries: tuple[str, ...] = LIBRARIES,
    memory: bool = False,
    seconds: float = math.inf,
) -> Iterator[Result]:
    """Measure each case: lamina, its peers in turn, lamina, its peers in turn, ...

    Each library waits until the threads of the one before are asleep, does the work untimed for a
    twentieth of a second, which wakes its own threads and spreads them over the processors, and
    then timed: once, or as often as five milliseconds hold.

    Args:
        cases: what to measure.
        rounds: how often each library takes its turn.
        libraries: those that take part where they are installed.
        memory: whether to measure the memory of training steps too, in processes of their own.
        seconds: after so long a case has no further rounds, once it has had three.
    """
    if rounds < 1:
        raise ValueError(f"run: rounds: expected at least 1, got {rounds}")
    others.set_threads(lamina.num_threads(), libraries)
    for case in cases:
        result = _run(case, rounds, ("lamina", *libraries), seconds)
        if memory and case.is_step:
            measured = ["lamina", *([] if result.peer is None else [result.peer])]
            result.memory.update({name: memory_of(case, name) for name in measured})
        yield result


def _run(case: Case, rounds: int, libraries: Sequence[str], seconds: float) -> Result:
    works: dict[str, Work] = {"lamina": case.lamina()}
    per_call = {"lamina": _first(works["lamina"])}
    left_out: dict[str, str] = {}
    for name, build in _taking_part(case, libraries).items():
        # Peers are optional: whatever keeps one from running is told, not raised.
        try:
            work = build()
            per_call[name] = _first(work)
        except Exception as error:
            left_out[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            if isinstance(error, others.MissingError):
                left_out[name] = str(error)
        else:
            works[name] = work
    before = _processor_time()
    result = _measure(case, works, per_call, rounds, seconds)
    disturbance = _disturbance(before, _processor_time())
    works.clear()
    gc.collect()
    return replace(result, left_out=left_out, disturbance=disturbance)


_ProcessorTime = tuple[float, float, float]


def _processor_time() -> _ProcessorTime | None:
    """Time of all processors together, of it at work, of it for this process; in seconds."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    user, nice, system, idle, wait, *rest = (int(ticks) for ticks in first.split()[1:9])
    busy, own = user + nice + system + sum(rest), sum(os.times()[:4])
    ticks = os.sysconf("SC_CLK_TCK")
    return (busy + idle + wait) / ticks, busy / ticks, own


def _disturbance(before: _ProcessorTime | None, after: _ProcessorTime | None) -> float | None:
    if before is None or after is None:
        return None
    whole, busy, own = (b - a for a, b in zip(before, after, strict=True))
    return min(max((busy - own) / max(whole, 1e-9), 0.0), 1.0)


def _taking_part(case: Case, libraries: Sequence[str]) -> Mapping[str, Builder]:
    return {name: build for name, build in case.peers.items() if others.of_peer(name) in libraries}


def _first(work: Work) -> float:
    """Seconds of a call after the first, which may compile or allocate."""
    with work.context():
        work.call()
        return _warm_up(work)


def _warm_up(work: Work) -> float:
    """Do it for a while; returns the seconds of one call."""
    start, calls, taken = time.perf_counter(), 0, 0.0
    while taken < _WARM_UP:
        work.call()
        calls += 1
        taken = time.perf_counter() - start
    return taken / calls


def _timed(work: Work, per_call: float) -> float:
    with work.context():
        if per_call < _LONG:
            per_call = _warm_up(work)
        calls = max(1, int(_LEAST / per_call))
        start = time.perf_counter()
        for _ in range(calls):
            work.call()
        return (time.perf_counter() - start) / calls


def _measure(
    case: Case,
    works: Mapping[str, Work],
    per_call: Mapping[str, float],
    rounds: int,
    seconds: float,
) -> Result:
    taken: dict[str, list[float]] = {name: [] for name in works}
    start, done = time.perf_counter(), 0
    while done < rounds and (done < _LEAST_ROUNDS or time.perf_counter() - start < seconds):
        for name, work in works.items():
            time.sleep(_PAUSE)
            taken[name].append(_timed(work, per_call[name]))
        done += 1
    times = {name: np.array(seconds) for name, seconds in taken.items()}
    own = times["lamina"]
    ratios = {}
    for name, other in times.items():
        if name != "lamina":
            low, middle, high = np.quantile(other / own, [0.25, 0.5, 0.75])
            ratios[name] = (float(low), float(middle), float(high))
    return Result(case, {name: float(np.median(t)) for name, t in times.items()}, ratios, done)


def memory_of(case: Case, peer: str) -> Memory:
    """Memory of one library at a training step, in a fresh process.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, "-m", "lamina.bench.memory", case.title, peer]
    command.append(str(lamina.num_threads()))
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{case.title}, {peer}: {done.stderr.strip()[-500:]}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))
