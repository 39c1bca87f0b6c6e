"""Writes crfsuite.json: what python-crfsuite 0.9.12 finds on small random data that a seed gives.

    python -m venv ENV && ENV/bin/pip install python-crfsuite==0.9.12
    ENV/bin/python make_crf.py

`sequences` is the recipe, repeated in the test.
"""

import json
import os
import random
import tempfile
from pathlib import Path

import pycrfsuite


def sequences(seed, count=40):
    rng = random.Random(seed)  # noqa: S311
    x, y = [], []
    for _ in range(count):
        tags, items = [], []
        for t in range(rng.randint(1, 8)):
            tag = rng.choice("ABC") if t == 0 or rng.random() < 0.4 else tags[-1]
            tags.append(tag)
            word = rng.choice({"A": "uvw", "B": "vwx", "C": "xyz"}[tag])
            items.append(
                {"w": word, "size": round(rng.uniform(0.1, 2), 3), "cap": rng.random() < 0.5}
            )
        x.append(items)
        y.append(tags)
    return x, y


CASES = [
    {"c1": 0.0, "c2": 1.0},
    {"c1": 0.0, "c2": 0.01},
    {"c1": 0.5, "c2": 0.1},
    {"c1": 0.0, "c2": 1.0, "feature.minfreq": 5.0},
    {
        "c1": 0.0,
        "c2": 0.5,
        "feature.possible_states": True,
        "feature.possible_transitions": True,
    },
]


def main():
    x, y = sequences(0)
    found = []
    for params in CASES:
        trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
        for items, tags in zip(x, y, strict=True):
            trainer.append(items, tags)
        trainer.set_params({**params, "epsilon": 1e-9, "delta": 1e-12})
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "m")
            trainer.train(model)
            tagger = pycrfsuite.Tagger()
            tagger.open(model)
            info = tagger.info()
            test = sequences(1, 5)
            log_probs = []
            for items, tags in zip(*test, strict=True):
                tagger.set(items)
                log_probs.append(tagger.probability(tags))
            found.append(
                {
                    "params": params,
                    "loss": trainer.logparser.iterations[-1]["loss"],
                    "states": sorted([a, b, w] for (a, b), w in info.state_features.items()),
                    "transitions": sorted([a, b, w] for (a, b), w in info.transitions.items()),
                    "probabilities": log_probs,
                    "tags": [tagger.tag(items) for items in test[0]],
                }
            )
    Path(__file__).with_name("crfsuite.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
