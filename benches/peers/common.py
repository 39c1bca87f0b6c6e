"""What the scripts beside it share: environments of peers, taking turns, and a table.

Each peer lives in an environment of its own, made once under ``~/.cache/lamina-peers`` or the
folder that the environment variable ``LAMINA_PEERS`` names; lamina's own stays as it is.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(os.environ.get("LAMINA_PEERS", Path.home() / ".cache" / "lamina-peers"))

# These slow a current NumPy; a peer is measured at its best.
_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment with ``packages``, made where it is missing."""
    folder = ROOT / name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    wanted = " ".join(packages)
    if not ready.is_file() or ready.read_text() != wanted:
        print(f"installing {wanted} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        ready.write_text(wanted)
    return python


class Run(NamedTuple):
    """What a command took.

    Attributes:
        seconds: wall time.
        megabytes: largest resident memory.
        output: what it printed.
    """

    seconds: float
    megabytes: float
    output: str


def run(command: Sequence[str | Path], **options: Any) -> Run:
    """Run a command to its end; an error ends the benchmark."""
    variables = {name: value for name, value in os.environ.items() if name not in _SLOWING}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, **options)
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    return Run(seconds, usage.ru_maxrss / 1024, output)


def in_turns(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Figures of works that take turns, ``rounds`` times each after one that does not count."""
    for work in works.values():
        work()
    figures: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            figures[name].append(work())
    return figures


def ratio(slower: Sequence[float], faster: Sequence[float]) -> str:
    """Median and quartiles of the ratios of figures taken in the same rounds."""
    ratios = sorted(a / b for a, b in zip(slower, faster, strict=True))
    if len(ratios) < 4:
        return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def report(rows: Sequence[dict[str, Any]], path: str | None = None) -> None:
    """Print rows as a Markdown table, and write them to ``path`` as JSON."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row.get(name, "")) for name in columns) + " |")
    if path is not None:
        Path(path).write_text(json.dumps(list(rows), indent=2) + "\n")
