"""Word vectors beside gensim: words a second of training, and agreement with people's judgement.

The English novels, lower-cased, one sentence a line; skip-gram and CBOW of size 100, window 5, 5
negatives, words that occur 5 times, sample 1e-3, two workers reading the file itself. The two take
turns; a figure is words of the file over the time of one epoch, without counting the vocabulary.

`--quality`: Spearman's correlation with WordSim-353 (the file in gensim's own tests) after five
epochs of skip-gram, the mean of three seeds; `--only NAME...` for some works. gensim's learning
rate falls in a line to 0.0001, but not in its workers on a file: each takes its own progress for
that of all, so that two end every epoch half as far on as they should be and the last of five at
a tenth of the first rate, where lamina's ends too. gensim reading "lines" in Python, slower, comes
down to 0.0001, to which lamina's last two works are told to.
"""

import argparse
import json
import lzma
import os
import re
import statistics
import sys
import time
from pathlib import Path

import common

PEER = "gensim==4.4.0"
EPOCHS = 5
TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d+|[^\w\s]")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)]*\s+")
WORKS = {
    "skip-gram": {"sg": 1},
    "skip-gram, shared negatives": {"sg": 1, "shared_negatives": True},
    "CBOW": {"sg": 0},
}
# Runs in the environment of the peer, and here with lamina's class in its place.
SCRIPT = """
import json, sys, time
library, text, options, pairs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
if library == "gensim":
    from gensim.models import Word2Vec
else:
    from lamina.text import Word2Vec
epochs, workers = options.pop("epochs", 1), options.pop("workers", 2)
source = {"corpus_file": text}
if options.pop("lines", False):
    from gensim.models.word2vec import LineSentence
    source = {"corpus_iterable": LineSentence(text)}
model = Word2Vec(vector_size=100, window=5, negative=5, min_count=5, sample=1e-3, workers=workers,
                 epochs=epochs, **options)
start = time.perf_counter()
model.build_vocab(**source)
counted = time.perf_counter() - start
start = time.perf_counter()
used, read = model.train(**source, total_words=model.corpus_total_words,
                         total_examples=model.corpus_count, epochs=epochs)
seconds = time.perf_counter() - start
rho = 0.0
if pairs:
    rho = float(model.wv.evaluate_word_pairs(pairs)[1][0])
print(json.dumps({"words": read / seconds, "vocabulary": counted, "rho": rho}))
"""


def tokenised(source: Path, target: Path) -> Path:
    """The text lower-cased, a sentence a line, tokens apart by a space; made once."""
    if not target.exists():
        opened = lzma.open if source.suffix == ".xz" else open
        part = target.with_suffix(".part")
        with opened(source, "rt", encoding="utf8") as text, part.open("w", encoding="utf8") as out:
            for line in text:
                for sentence in SENTENCE_END.split(line.lower()):
                    if tokens := TOKEN.findall(sentence):
                        out.write(" ".join(tokens) + "\n")
        part.replace(target)
    return target


def train(library: str, text: Path, options: dict, pairs: str = "") -> tuple[dict, float]:
    """What one run of a library in a process of its own printed, and its memory in MB."""
    python = common.environment("gensim", PEER) if library == "gensim" else sys.executable
    done = common.run([python, "-c", SCRIPT, library, str(text), json.dumps(options), pairs])
    return json.loads(done.output.splitlines()[-1]), done.megabytes


def speed(text: Path, rounds: int, only: list[str] | None) -> list[dict]:
    rows = []
    figures: dict[tuple[str, str], list[tuple[dict, float]]] = {}
    peers = {"skip-gram": {"sg": 1}, "CBOW": {"sg": 0}}
    for _ in range(rounds):
        for library, works in (("gensim", peers), ("lamina", WORKS)):
            for name, options in works.items():
                if not only or any(name.startswith(one) for one in only):
                    run = train(library, text, dict(options))
                    figures.setdefault((library, name), []).append(run)
    for (library, name), runs in figures.items():
        words = [run["words"] for run, _ in runs]
        row = {
            "work": name,
            "library": library,
            "words/s": f"{statistics.median(words):,.0f}",
            "vocabulary s": f"{statistics.median(run['vocabulary'] for run, _ in runs):.2f}",
            "MB": f"{statistics.median(megabytes for _, megabytes in runs):.0f}",
        }
        other = figures.get(("gensim", name.partition(",")[0]))
        if library == "lamina" and other:
            row["times gensim"] = common.ratio(words, [run["words"] for run, _ in other])
        rows.append(row)
    return rows


def quality(text: Path, seeds: list[int], libraries: list[str], workers: int) -> list[dict]:
    where = "import gensim.test.utils as u; print(u.datapath('wordsim353.tsv'))"
    python = common.environment("gensim", PEER)
    pairs = common.run([python, "-c", where]).output.strip()
    low = {"min_alpha": 0.0001}
    shared = WORKS["skip-gram, shared negatives"]
    works = {
        "gensim": ("gensim", {"sg": 1}),
        "lamina": ("lamina", {"sg": 1}),
        "lamina, shared negatives": ("lamina", shared),
        "gensim, lines": ("gensim", {"sg": 1, "lines": True}),
        "lamina, to 0.0001": ("lamina", {"sg": 1, **low}),
        "lamina, shared negatives, to 0.0001": ("lamina", {**shared, **low}),
    }
    rows = []
    for seed in seeds:
        for name in libraries or works:
            library, options = works[name]
            start = time.perf_counter()
            options = {**options, "seed": seed, "epochs": EPOCHS, "workers": workers}
            run, _ = train(library, text, options, pairs)
            seconds = time.perf_counter() - start
            rows.append({"library": name, "seed": seed, "rho": run["rho"], "s": round(seconds)})
            print(rows[-1], file=sys.stderr, flush=True)
    for name in libraries or works:
        found = [row["rho"] for row in rows if row["library"] == name]
        rows.append({"library": name, "seed": "mean", "rho": round(statistics.mean(found), 4)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("LAMINA_DATA", "data")
    parser.add_argument("--text", type=Path, default=Path(data) / "text" / "eltec_eng.txt.xz")
    parser.add_argument("--work", type=Path, default=common.ROOT / "work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--json")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    text = tokenised(given.text, given.work / "novels.txt")
    if given.quality:
        rows = quality(text, given.seeds, given.only or [], given.workers)
    else:
        rows = speed(text, given.rounds, given.only)
    common.report(rows, given.json)


if __name__ == "__main__":
    main()
