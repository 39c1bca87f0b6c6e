"""Memory of one training step by one library.

Run as ``python -m lamina.bench.memory TITLE PEER THREADS``:
a process of its own, since what another library has taken cannot be told apart.
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lamina.bench import libraries
from lamina.bench.case import Case
from lamina.bench.peers import PEERS

_LEAST_STEPS, _MOST_STEPS = 3, 50
_SECONDS = 5.0


def measure(case: Case, peer: str) -> dict[str, float]:
    """Bytes resident at the start and at most, and page faults of a step in steady state."""
    if peer != "lamina":
        libraries.load(libraries.of_peer(peer))
    start = _resident()
    work = case.lamina() if peer == "lamina" else case.peers[peer]()
    with work.context():
        begin, steps = time.perf_counter(), 0
        while steps < _LEAST_STEPS or (
            steps < _MOST_STEPS and time.perf_counter() - begin < _SECONDS
        ):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            work.call()
            steps += 1
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return {"peak": _peak(), "start": start, "faults": float(faults)}


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak()
    return pages * resource.getpagesize()


def _peak() -> int:
    try:
        # Unlike ru_maxrss it begins anew with the program, not with what the parent had taken.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main(arguments: Sequence[str]) -> None:
    """Measure the row of a title and print the figures as JSON."""
    title, peer, threads = arguments
    cases = {case.title: case for case in PEERS}
    libraries.set_threads(int(threads), ("numpy", "torch") if peer != "lamina" else ())
    print(json.dumps(measure(cases[title], peer)))


if __name__ == "__main__":
    main(sys.argv[1:])
