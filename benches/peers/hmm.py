"""Hidden Markov models beside hmmlearn 0.3.3: Baum-Welch and Viterbi on words of UD English EWT.

The first 200,000 words of the training part, lower-cased, in their sentences; the 4,999 most
frequent words have ids of their own, the rest is 0. Start, transition and emission rows come in
this order from ``default_rng(0).dirichlet(ones)``; ten updates of all three. Both libraries start
from the same numbers, in processes of their own that take turns.

    python hmm.py [--data FOLDER] [--rounds 3] [--states 8,32] [--json FILE]
    python hmm.py --tagger [--data FOLDER]
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import common

WORDS, VOCABULARY = 200_000, 5000


def conllu(path):
    """Sentences of (word, UPOS)."""
    sentence = []
    for line in Path(path).read_text().splitlines():
        fields = line.split("\t")
        if not line:
            if sentence:
                yield sentence
            sentence = []
        elif len(fields) > 3 and fields[0].isdigit():
            sentence.append((fields[1], fields[3]))
    if sentence:
        yield sentence


def corpus(folder):
    """Ids of the words and lengths of the sentences."""
    sentences, left = [], WORDS
    for sentence in conllu(Path(folder) / "en_ewt-ud-train.conllu"):
        sentences.append([word.lower() for word, _ in sentence[:left]])
        left -= len(sentences[-1])
        if not left:
            break
    counts = Counter(word for sentence in sentences for word in sentence)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[: VOCABULARY - 1]
    ids = {word: id for id, word in enumerate(ranked, 1)}
    return [ids.get(word, 0) for s in sentences for word in s], [len(s) for s in sentences]


WORK = """
import json, sys, time
import numpy as np
stored = np.load(sys.argv[1])
library, states, threads = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
x, lengths = stored["x"][:, None], stored["lengths"]
r = np.random.default_rng(0)
options = {"n_iter": 10, "tol": -1e30, "init_params": "", "n_features": 5000}
if library == "hmmlearn":
    from hmmlearn.hmm import CategoricalHMM
    options |= {"implementation": "scaling", "params": "ste"}
else:
    import lamina
    from lamina.lm.hmm import CategoricalHMM
    lamina.set_num_threads(threads)
model = CategoricalHMM(states, **options)
model.startprob_ = r.dirichlet(np.ones(states))
model.transmat_ = r.dirichlet(np.ones(states), states)
model.emissionprob_ = r.dirichlet(np.ones(5000), states)
start = time.perf_counter()
model.fit(x, lengths)
fit = (time.perf_counter() - start) / 10
start = time.perf_counter()
path, _ = model.decode(x, lengths)
decode = len(x) / (time.perf_counter() - start)
history = list(model.monitor_.history)
found = {"fit": fit, "decode": decode, "first": history[0], "last": history[-1], "path": path}
print(json.dumps(found))
"""


def measure(python, data, library, states, threads):
    # The peer's environment is its own.
    alone = ["-I"] if library == "hmmlearn" else []
    command = [python, *alone, "-c", WORK, data, library, states, threads]
    found = common.run([str(part) for part in command])
    return {**json.loads(found.output), "megabytes": found.megabytes}


def speed(folder, rounds, sizes):
    # The peer computes on one thread, and so does its BLAS.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    peer = common.environment("hmmlearn", "hmmlearn==0.3.3", "numpy", "scipy", "scikit-learn")
    import numpy as np

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data.npz"
        ids, lengths = corpus(folder)
        np.savez(data, x=np.array(ids), lengths=np.array(lengths))
        for states in sizes:
            runs = {
                "hmmlearn scaling": (peer, "hmmlearn", 1),
                "lamina, 1 thread": (sys.executable, "lamina", 1),
                "lamina, 2 threads": (sys.executable, "lamina", 2),
            }
            found = {name: [] for name in runs}
            for _ in range(rounds):
                for name, (python, library, threads) in runs.items():
                    found[name].append(measure(python, data, library, states, threads))
            fits = {name: [one["fit"] for one in each] for name, each in found.items()}
            decodes = {name: [one["decode"] for one in each] for name, each in found.items()}
            for name, each in found.items():
                best = min(each, key=lambda one: one["fit"])
                rows.append(
                    {
                        "states": states,
                        "library": name,
                        "ms an update": f"{1e3 * best['fit']:.1f}",
                        "times faster": common.ratio(fits["hmmlearn scaling"], fits[name]),
                        "Viterbi tokens/s": f"{max(decodes[name]):,.0f}",
                        "times": common.ratio(decodes[name], decodes["hmmlearn scaling"]),
                        "peak MB": f"{best['megabytes']:.0f}",
                        "log-likelihood": f"{best['first']:.4f} -> {best['last']:.4f}",
                        "best paths": f"{best['path']:.4f}",
                    }
                )
    return rows


def tagger(folder):
    import time

    from lamina import tagging

    train, test = (list(conllu(Path(folder) / f"en_ewt-ud-{p}.conllu")) for p in ("train", "test"))
    rows = []
    for order in (2, 3):
        start = time.perf_counter()
        model = tagging.HMMTagger(order).fit(train)
        fit = time.perf_counter() - start
        start = time.perf_counter()
        found = model.tag([[word for word, _ in sentence] for sentence in test])
        rate = sum(map(len, test)) / (time.perf_counter() - start)
        known = [
            (tag == gold, word in model)
            for tags, sentence in zip(found, test, strict=True)
            for tag, (word, gold) in zip(tags, sentence, strict=True)
        ]
        unknown = [right for right, seen in known if not seen]
        rows.append(
            {
                "order": order,
                "accuracy %": f"{100 * model.score(test):.2f}",
                "of unknown words %": f"{100 * sum(unknown) / len(unknown):.2f}",
                "unknown %": f"{100 * len(unknown) / len(known):.2f}",
                "fit s": f"{fit:.2f}",
                "tokens/s": f"{rate:,.0f}",
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default=os.path.join(os.environ.get("LAMINA_DATA", "data"), "tagging")
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--states", default="8,32")
    parser.add_argument("--json")
    parser.add_argument("--tagger", action="store_true")
    given = parser.parse_args()
    sizes = [int(size) for size in given.states.split(",")]
    rows = tagger(given.data) if given.tagger else speed(given.data, given.rounds, sizes)
    common.report(rows, given.json)


if __name__ == "__main__":
    main()
