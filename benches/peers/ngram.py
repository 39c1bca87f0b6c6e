"""N-gram models beside KenLM: ``python benches/peers/ngram.py data/text/eltec_eng.txt.xz``.

The text is lower-cased, cut into tokens and written one sentence a line by :mod:`kenlm`, which
also builds the tools. ``lmplz`` writes ARPA; ``lamina ngram train`` writes its own binary, ARPA,
and its binary within 200 MB. All take turns; what is reported is the wall time and the peak memory
of whole processes, lamina's with Python's start, and how long the reading of the text takes of it.
"""

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import kenlm

_READ = """
import sys, time
from pathlib import Path
from lamina.lm.ngram.counts import read_corpus
start = time.perf_counter()
read_corpus(Path(sys.argv[1]))
print(time.perf_counter() - start)
"""


def train(head: Path, order: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of training: seconds, memory, and ratios of the seconds to those of lmplz."""
    lamina = [sys.executable, "-m", "lamina", "ngram", "train", "-o", str(order), head]
    lamina += ["--discount-fallback", "-T", folder]
    lmplz = [kenlm.tool("lmplz"), "-o", str(order), "-T", folder, "--text", head, "--arpa"]
    commands: dict[str, list[Any]] = {
        "lmplz -S 2G, ARPA": [*lmplz, folder / "kenlm.arpa", "-S", "2G"],
        "lamina, binary": [*lamina, "--model", folder / "lamina.bin"],
        "lamina, ARPA": [*lamina, "--model", folder / "lamina.arpa"],
        "lamina --memory 200M, binary": [*lamina, "--model", folder / "lamina.bin", "-S", "200M"],
        "lamina --memory 200M, ARPA": [*lamina, "--model", folder / "lamina.arpa", "-S", "200M"],
    }
    memory: dict[str, list[float]] = {name: [] for name in commands}

    def timed(name: str) -> Callable[[], float]:
        def work() -> float:
            done = common.run(commands[name], **_quiet(folder))
            memory[name].append(done.megabytes)
            return done.seconds

        return work

    seconds = common.in_turns({name: timed(name) for name in commands}, rounds)
    reading = [float(common.run([sys.executable, "-c", _READ, head]).output) for _ in range(rounds)]
    base = seconds["lmplz -S 2G, ARPA"]
    rows: list[dict[str, Any]] = []
    for name, figures in seconds.items():
        middle = statistics.median(figures)
        row = {
            "order": order,
            "what": name,
            "seconds": f"{middle:.2f}",
            "peak MB": f"{max(memory[name]):.0f}",
            "lmplz / this": common.ratio(base, figures),
        }
        if name.startswith("lamina"):
            row["reading the text, s"] = f"{statistics.median(reading):.2f}"
        rows.append(row)
    return rows


def _quiet(folder: Path) -> dict[str, Any]:
    return {"stderr": (folder / "log").open("w")}


def same_ngrams(folder: Path) -> str:
    """How many n-grams of each length both have, from the heads of the ARPA files."""
    heads = []
    for name in ("kenlm.arpa", "lamina.arpa"):
        with (folder / name).open(encoding="utf-8") as file:
            heads.append(re.findall(r"^ngram \d+=(\d+)", file.read(600), re.MULTILINE))
    return (
        f"n-grams {' '.join(heads[1])}, {'the same' if heads[0] == heads[1] else 'others'} as lmplz"
    )


def main() -> None:
    """Run the benchmark that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path, help="a text, .xz or plain")
    parser.add_argument("--orders", type=int, nargs="+", default=[5])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file of the rows")
    arguments = parser.parse_args()
    head, _ = kenlm.novels(arguments.text)
    rows = []
    for order in arguments.orders:
        with tempfile.TemporaryDirectory() as folder:
            rows += train(head, order, arguments.rounds, Path(folder))
            print(same_ngrams(Path(folder)))
    common.report(rows, arguments.json)


if __name__ == "__main__":
    main()
