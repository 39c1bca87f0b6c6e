import json
import random
from pathlib import Path

import numpy as np
import pytest

from lamina.tagging import (
    Entity,
    classification_report,
    convert,
    entities,
    entity_scores,
    strict_entities,
    write_labels,
)
from lamina.tagging.schemes import SCHEMES

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/tagging/entities.json").read_text())


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


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['scheme']}-{case['prefixes']}")
def test_scores_are_those_of_seqeval(case):
    true, found = pairs(case["seed"], case["prefixes"])
    report = classification_report(true, found, case["scheme"])
    for name, expected in zip(("micro", "macro", "weighted"), case["scores"], strict=True):
        scores = getattr(report, name)
        got = scores.precision, scores.recall, scores.f1
        np.testing.assert_allclose(got, expected, atol=1e-9, err_msg=name)
    assert entity_scores(true, found, case["scheme"]) == report.micro


def test_entities_are_read_leniently():
    assert entities(["I-A", "I-A", "B-A", "O", "E-B", "I-B"]) == [
        Entity("A", 0, 2),
        Entity("A", 2, 3),
        Entity("B", 4, 5),
        Entity("B", 5, 6),
    ]
    assert entities(["B", "I", "O"]) == [Entity("_", 0, 2)]
    assert entities([]) == []


@pytest.mark.parametrize("target", SCHEMES)
@pytest.mark.parametrize("source", SCHEMES)
def test_schemes_say_the_same(source, target):
    rng = random.Random(3)  # noqa: S311
    for _ in range(200):
        spans, at = [], 0
        while at < 12:
            start = at + rng.choice((0, 0, 1, 2))
            end = start + rng.randint(1, 3)
            if end > 12:
                break
            spans.append(Entity(rng.choice("AB"), start, end))
            at = end
        written = write_labels(spans, 12, source)
        assert strict_entities(written, source) == spans
        assert convert(written, source, target) == write_labels(spans, 12, target)


def test_report_as_text():
    text = str(classification_report([["B-A", "O", "B-B"]], [["B-A", "O", "O"]]))
    assert "precision" in text
    assert "weighted avg" in text
    assert classification_report([], []).macro.f1 == 0


def test_bad_labels_are_named():
    with pytest.raises(ValueError, match=r"label 1: expected O, B-, I-.* got 'X-A'"):
        entities(["O", "X-A"])
    with pytest.raises(TypeError, match="label 0: expected str, got int"):
        entities([3])
    with pytest.raises(ValueError, match="label 0: expected IOB of IOB2, got 'E-A'"):
        strict_entities(["E-A"], "IOB2")
    with pytest.raises(ValueError, match="scheme: expected one of IOB1"):
        strict_entities([], "BIO")
    with pytest.raises(ValueError, match="2 of 2 are no part of a IOB2 entity"):
        convert(["I-A", "I-A"], "IOB2", "BILOU")
    with pytest.raises(ValueError, match="spans apart within 3 items, got 2 to 4"):
        write_labels([Entity("A", 2, 4)], 3, "IOB2")
    with pytest.raises(ValueError, match=r"y_pred: expected 1 sequences, got 0"):
        entity_scores([["O"]], [])
    with pytest.raises(ValueError, match=r"y_pred\[0\]: expected 1 labels, got 2"):
        entity_scores([["O"]], [["O", "O"]])
