"""Queries of n-gram models beside KenLM: tokens a second, bytes an n-gram, microseconds a call.

    python benches/peers/ngram_query.py [TEXT] [--orders 3 5] [--rounds 5] [--calls] [--json FILE]

``lmplz`` estimates a model of the head of the text, and both sides ask it about the last 5 %,
words to ids included. KenLM's program ``query`` prints a summary; the time that it takes for an
empty text, which is that of loading the model, is taken off. lamina's ``NGram.query`` makes the
same sums in this process, on one thread and on two. ``--calls`` also measures single calls from
Python, KenLM's in an environment of its own, which takes minutes to build.
"""

import argparse
import os
import subprocess
import time
from pathlib import Path

import common
import kenlm

import lamina
from lamina.lm import NGram

_TIMES = 4
"""How often the held-out text is asked about in one go."""

_CALLS = """
import sys, time, kenlm
model, words = kenlm.Model(sys.argv[1]), open(sys.argv[2], encoding="utf-8").read().split()[:50000]
for _ in range(int(sys.argv[3])):
    a, b = kenlm.State(), kenlm.State()
    model.BeginSentenceWrite(a)
    start = time.perf_counter()
    for word in words:
        model.BaseScore(a, word, b)
        a, b = b, a
    print((time.perf_counter() - start) / len(words))
"""


def models(head: Path, order: int) -> dict[str, Path]:
    """KenLM's forms of its own model of ``order`` and lamina's of the same ARPA file."""
    folder = common.ROOT / "ngram-query"
    folder.mkdir(parents=True, exist_ok=True)
    arpa = folder / f"o{order}.arpa"
    if not arpa.is_file():
        command = [kenlm.tool("lmplz"), "-o", str(order), "-S", "2G", "-T", folder]
        partial = arpa.with_suffix(".partial")
        command += ["--text", head, "--arpa", partial]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        partial.rename(arpa)
    forms = {
        "KenLM probing": ["probing"],
        "KenLM trie -q 8 -b 8": ["-q", "8", "-b", "8", "trie"],
        "KenLM trie -a 22 -q 8 -b 8": ["-a", "22", "-q", "8", "-b", "8", "trie"],
    }
    paths = {}
    for number, (name, options) in enumerate(forms.items()):
        paths[name] = folder / f"o{order}.kenlm{number}"
        if not paths[name].is_file():
            command = [kenlm.tool("build_binary"), *options, arpa, paths[name]]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    kinds = [kind for kind in ("probing", "compact") if not (folder / f"o{order}.{kind}").is_file()]
    trie = NGram.load_arpa(arpa) if kinds else None
    for kind in ("probing", "compact"):
        paths[f"lamina {kind}"] = folder / f"o{order}.{kind}"
        if trie is not None and kind in kinds:
            trie.save_binary(paths[f"lamina {kind}"], kind)
    return paths


def asked_of_kenlm(model: Path, text: Path, empty: Path) -> float:
    """Seconds that ``query`` takes for a text beyond what it takes for none."""
    seconds = []
    for path in (empty, text):
        with open(path, "rb") as file:
            command = [kenlm.tool("query"), "-v", "summary", model]
            seconds.append(common.run(command, stdin=file, stderr=subprocess.DEVNULL).seconds)
    return seconds[1] - seconds[0]


def asked_of_lamina(model: NGram, text: str, threads: int) -> float:
    """Seconds that a model takes for a text on some threads."""
    lamina.set_num_threads(threads)
    start = time.perf_counter()
    model.query(text)
    return time.perf_counter() - start


def called(model: NGram, words: list[str]) -> float:
    """Seconds a call of ``BaseScore``."""
    a, b = model.begin_state(), model.null_state()
    start = time.perf_counter()
    for word in words:
        model.BaseScore(a, word, b)
        a, b = b, a
    return (time.perf_counter() - start) / len(words)


def measure(order: int, head: Path, tail: Path, arguments: argparse.Namespace) -> list[dict]:
    """The rows of one order."""
    paths = models(head, order)
    held_out = tail.read_text(encoding="utf-8")
    text = held_out * _TIMES
    tokens = len(text.split()) + text.count("\n")
    folder = common.ROOT / "ngram-query"
    (folder / "empty.txt").write_text("")
    (folder / "asked.txt").write_text(text, encoding="utf-8")
    works, loading, loaded = {}, {}, {}
    for name, path in paths.items():
        if name.startswith("KenLM"):
            files = (folder / "asked.txt", folder / "empty.txt")
            works[name] = lambda path=path, files=files: asked_of_kenlm(path, *files)
            continue
        start = time.perf_counter()
        model = loaded[name] = NGram.load_binary(path)
        loading[name] = f"{(time.perf_counter() - start) * 1e3:.1f}"
        for threads in (1, 2):
            works[f"{name}, {threads} threads"] = lambda model=model, threads=threads: (
                asked_of_lamina(model, text, threads)
            )
    seconds = common.in_turns(works, arguments.rounds)
    ngrams = sum(loaded["lamina probing"].counts)
    rows = []
    for name, taken in seconds.items():
        own = name.partition(",")[0]
        peer = "KenLM probing" if "probing" in name else "KenLM trie -q 8 -b 8"
        rows.append({
            "order": order,
            "model": name,
            "M tokens/s": f"{tokens / sorted(taken)[len(taken) // 2] / 1e6:.2f}",
            "times KenLM": common.ratio(seconds[peer], taken),
            "bytes/n-gram": f"{paths[own].stat().st_size / ngrams:.2f}",
            "load ms": loading.get(own, ""),
        })  # fmt: skip
    if arguments.calls:
        rows += calls(order, paths, loaded["lamina probing"], held_out.split()[:50000], tail)
    return rows


def calls(order: int, paths: dict, model: NGram, words: list[str], tail: Path) -> list[dict]:
    """Rows of single calls."""
    python = common.environment("kenlm", "kenlm==0.3.0")
    lamina.set_num_threads(1)
    theirs, ours = [], []
    for _ in range(5):
        command = [python, "-c", _CALLS, paths["KenLM probing"], tail, "3"]
        theirs.append(min(map(float, common.run(command).output.split())))
        ours.append(min(called(model, words) for _ in range(3)))
    return [
        {"order": order, "model": f"{name} BaseScore", "us/call": f"{min(times) * 1e6:.3f}"}
        for name, times in (("KenLM", theirs), ("lamina", ours))
    ] + [{"order": order, "model": "ratio of calls", "times KenLM": common.ratio(theirs, ours)}]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    data = Path(os.environ.get("LAMINA_DATA", "data"))
    parser.add_argument("text", nargs="?", type=Path, default=data / "text" / "eltec_eng.txt.xz")
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    head, tail = kenlm.novels(arguments.text)
    rows = []
    for order in arguments.orders:
        rows += measure(order, head, tail, arguments)
    common.report(rows, arguments.json)


if __name__ == "__main__":
    main()
