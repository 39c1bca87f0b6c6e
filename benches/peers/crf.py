"""lamina.tagging.CRF beside CRFsuite: the same features of the same files, one after the other.

    python benches/peers/crf.py [--data FOLDER] [--only pos|ner] [--threads 2 1] [--json FILE]

FOLDER has the files of UD English EWT and of WNUT-17 (by default ``$LAMINA_DATA/tagging``). Both
train L-BFGS with c1=0, c2=1 and the stopping rule of CRFsuite. CRFsuite runs on one thread, which
is all it has; lamina on one and on all.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import common

PEER = """
import json, sys, time
import pycrfsuite
source, model = sys.argv[1:3]
with open(source) as file:
    task = json.load(file)
start = time.perf_counter()
trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
for x, y in zip(*task["train"]):
    trainer.append(x, y)
append = time.perf_counter() - start
trainer.set_params({"c1": 0, "c2": 1})
start = time.perf_counter()
trainer.train(model)
seconds = time.perf_counter() - start
log = trainer.logparser.iterations
tagger = pycrfsuite.Tagger()
tagger.open(model)
rates = []
x = task["test"][0]
for _ in range(3):
    start = time.perf_counter()
    found = [tagger.tag(items) for items in x]
    rates.append(sum(map(len, x)) / (time.perf_counter() - start))
print(json.dumps({"append": append, "seconds": seconds, "iterations": len(log),
    "loss": log[-1]["loss"], "found": found, "rate": sorted(rates)[1],
    "features": trainer.logparser.featgen_num_features}))
"""


def ours(task: dict, threads: int) -> dict:
    import lamina
    from lamina import _kernels
    from lamina.tagging import CRF

    lamina.set_num_threads(threads)
    start = time.perf_counter()
    _kernels.CRFData(*task["train"], [])
    append = time.perf_counter() - start
    start = time.perf_counter()
    crf = CRF(c2=1.0).fit(*task["train"])
    total = time.perf_counter() - start
    rates = []
    x = task["test"][0]
    for _ in range(3):
        start = time.perf_counter()
        found = crf.predict(x)
        rates.append(sum(map(len, x)) / (time.perf_counter() - start))
    log = crf.training_log_
    return {
        "append": append,
        "seconds": total - append,
        "iterations": len(log),
        "loss": log[-1]["loss"],
        "found": found,
        "rate": sorted(rates)[1],
        "features": len(crf.state_features_) + len(crf.transition_features_),
    }


def pos_task(folder: Path) -> dict:
    from lamina.tagging import pos_features, read_conllu

    def part(name: str) -> tuple[list, list]:
        sentences = read_conllu(folder / f"en_ewt-ud-{name}.conllu")
        return [pos_features(s.form) for s in sentences], [s.upos for s in sentences]

    return {"train": part("train"), "test": part("test")}


def ner_task(folder: Path) -> dict:
    from lamina.tagging import ner_features, read_conll

    def part(name: str) -> tuple[list, list]:
        sentences = read_conll(folder / "wnut17" / name, (0, 1), separator="\t")
        words = [[row[0] for row in s] for s in sentences]
        return [ner_features(w) for w in words], [[row[1] for row in s] for s in sentences]

    return {"train": part("wnut17train.conll"), "test": part("emerging.test.annotated")}


def accuracy(truth: list, found: list) -> float:
    pairs = [a == b for x, y in zip(truth, found, strict=True) for a, b in zip(x, y, strict=True)]
    return 100 * sum(pairs) / len(pairs)


def row(name: str, task: dict, figures: dict) -> dict:
    from lamina.tagging import entity_scores

    truth = task["test"][1]
    shown = {
        "who": name,
        "iterations": figures["iterations"],
        "objective": f"{figures['loss']:.3f}",
        "features": figures["features"],
        "read s": f"{figures['append']:.2f}",
        "train s": f"{figures['seconds']:.2f}",
        "s/iteration": f"{figures['seconds'] / figures['iterations']:.4f}",
        "accuracy %": f"{accuracy(truth, figures['found']):.3f}",
        "tokens/s": f"{figures['rate']:,.0f}",
    }
    if any(label[:2] == "B-" for labels in truth for label in labels):
        shown["entity F1 %"] = f"{100 * entity_scores(truth, figures['found']).f1:.2f}"
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.path.join(os.environ.get("LAMINA_DATA", "data"), "tagging")
    parser.add_argument("--data", default=default)
    parser.add_argument("--only", choices=("pos", "ner"))
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1, 1])
    parser.add_argument("--json")
    args = parser.parse_args()
    python = common.environment("crf", "python-crfsuite==0.9.12")
    rows = []
    for name, make in (("pos", pos_task), ("ner", ner_task)):
        if args.only not in (None, name):
            continue
        start = time.perf_counter()
        task = make(Path(args.data))
        items = sum(map(len, task["train"][0]))
        seconds = time.perf_counter() - start
        print(f"{name}: {items} items, features in {seconds:.1f} s", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "task.json"
            source.write_text(json.dumps(task))
            ran = common.run([python, "-c", PEER, source, Path(scratch) / "model"])
        peer = json.loads(ran.output)
        runs = [("lamina, threads: " + str(n), ours(task, n)) for n in args.threads]
        for who, figures in (("CRFsuite", peer), *runs):
            shown = row(f"{name}: {who}", task, figures)
            shown["times as fast"] = f"{peer['seconds'] / figures['seconds']:.2f}"
            rows.append(shown)
    common.report(rows, args.json)


if __name__ == "__main__":
    main()
