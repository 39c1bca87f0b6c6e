"""Writes entities.json: scores of seqeval 1.2.2 on random sequences that a seed gives.

    python -m venv ENV && ENV/bin/pip install seqeval==1.2.2 && ENV/bin/python make_entities.py

Nine groups of 1,000 pairs of sequences; IOE1 is left out, as seqeval does not read all of it.
`labels` is the recipe, repeated in the test.
"""

import json
import random
from pathlib import Path

from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE1, IOE2

SCHEMES = {s.__name__: s for s in (IOB1, IOB2, IOE1, IOE2, IOBES, BILOU)}


def labels(rng, prefixes, length):
    return [
        "O" if prefix == "O" else f"{prefix}-{rng.choice(('LOC', 'ORG', 'PER'))}"
        for prefix in (rng.choice(prefixes) for _ in range(length))
    ]


def pairs(seed, prefixes, count=1000):
    rng = random.Random(seed)  # noqa: S311
    true, found = [], []
    for _ in range(count):
        length = rng.randrange(0, 12)
        true.append(labels(rng, prefixes, length))
        noise = labels(rng, prefixes, length)
        found.append([a if rng.random() < 0.7 else b for a, b in zip(true[-1], noise, strict=True)])
    return true, found


def scores(true, found, **options):
    functions = (precision_score, recall_score, f1_score)
    return [
        [float(f(true, found, average=average, zero_division=0, **options)) for f in functions]
        for average in ("micro", "macro", "weighted")
    ]


def main():
    cases = []
    for seed, (prefixes, scheme) in enumerate(
        [
            ("OBI", None),
            ("OBIES", None),
            ("OIES", None),
            ("OIE", None),
            *((name.replace("IOBES", "OBIES").replace("BILOU", "OBILU"), name) for name in SCHEMES),
        ]
    ):
        if scheme is not None:
            prefixes = {"IOB1": "OBI", "IOB2": "OBI", "IOE1": "OIE", "IOE2": "OIE"}.get(
                scheme, prefixes
            )
        true, found = pairs(seed, prefixes)
        options = {} if scheme is None else {"mode": "strict", "scheme": SCHEMES[scheme]}
        case = {"seed": seed, "prefixes": prefixes, "scheme": scheme}
        cases.append({**case, "scores": scores(true, found, **options)})
    cases = [case for case in cases if case["scheme"] != "IOE1"]
    Path(__file__).with_name("entities.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
