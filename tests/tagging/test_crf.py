import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina.files import FormatError
from lamina.tagging import CRF, ner_features, pos_features, shape

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/tagging/crfsuite.json").read_text())
ALGORITHMS = ["lbfgs", "l2sgd", "ap", "pa", "arow"]


def sequences(seed, count=40):
    rng = random.Random(seed)  # noqa: S311
    x, y = [], []
    for _ in range(count):
        tags, items = [], []
        for t in range(rng.randint(1, 8)):
            tag = rng.choice("ABC") if t == 0 or rng.random() < 0.4 else tags[-1]
            tags.append(tag)
            word = rng.choice({"A": "uvw", "B": "vwx", "C": "xyz"}[tag])
            cap = rng.uniform(0.1, 2), rng.random() < 0.5
            items.append({"w": word, "size": round(cap[0], 3), "cap": cap[1]})
        x.append(items)
        y.append(tags)
    return x, y


@pytest.fixture(scope="module")
def fitted():
    return CRF(c2=0.1, epsilon=1e-7).fit(*sequences(0))


def triples(weights):
    return {(a, b): w for a, b, w in weights}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: json.dumps(case["params"]))
def test_weights_are_those_of_crfsuite(case):
    params = case["params"]
    names = {
        "feature.minfreq": "min_freq",
        "feature.possible_states": "all_possible_states",
        "feature.possible_transitions": "all_possible_transitions",
    }
    options = {names.get(name, name): value for name, value in params.items()}
    crf = CRF(**options, epsilon=1e-9, delta=1e-12).fit(*sequences(0))
    assert crf.training_log_[-1]["loss"] == pytest.approx(case["loss"], rel=1e-7)
    for got, expected in (
        (crf.state_features_, triples(case["states"])),
        (crf.transition_features_, triples(case["transitions"])),
    ):
        for key in got.keys() | expected.keys():
            assert got.get(key, 0) == pytest.approx(expected.get(key, 0), abs=2e-4), key
    x, y = sequences(1, 5)
    np.testing.assert_allclose(np.exp(crf.log_prob(x, y)), case["probabilities"], atol=1e-4)
    assert crf.predict(x) == case["tags"]


def brute(crf, items):
    """Score of every labelling of one sequence."""
    labels, states, pairs = crf.classes_, crf.state_features_, crf.transition_features_

    def values(item):
        for name, value in item.items():
            yield (f"{name}:{value}", 1.0) if isinstance(value, str) else (name, float(value))

    scores = {}
    for y in itertools.product(labels, repeat=len(items)):
        score = sum(pairs.get(pair, 0) for pair in itertools.pairwise(y))
        for item, label in zip(items, y, strict=True):
            score += sum(states.get((name, label), 0) * value for name, value in values(item))
        scores[y] = score
    return scores


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sums_and_best_labellings_equal_brute_force(algorithm):
    crf = CRF(algorithm, max_iterations=5, rng=np.random.default_rng(0)).fit(*sequences(0))
    x = [items[:5] for items in sequences(3, 12)[0]]
    logs, probabilities = crf.log_partition(x), crf.predict_proba(x)
    few = crf.predict_nbest(x, 7)
    for i, items in enumerate(x):
        scores = brute(crf, items)
        log = np.logaddexp.reduce(list(scores.values()))
        assert logs[i] == pytest.approx(log, abs=1e-9)
        expected = np.zeros((len(items), len(crf.classes_)))
        for y, score in scores.items():
            for t, label in enumerate(y):
                expected[t, crf.classes_.index(label)] += np.exp(score - log)
        np.testing.assert_allclose(probabilities[i], expected, atol=1e-9)
        ranked = sorted(scores.values(), reverse=True)[:7]
        np.testing.assert_allclose([s for _, s in few[i]], np.subtract(ranked, log), atol=1e-9)
        for y, value in few[i]:
            assert scores[tuple(y)] - log == pytest.approx(value, abs=1e-9)
        best = crf.predict_single(items)
        assert scores[tuple(best)] == pytest.approx(ranked[0], abs=1e-12)
        assert crf.log_prob([items], [best])[0] == pytest.approx(few[i][0][1], abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 5))
def test_probabilities_sum_to_one(seed, c2):
    crf = CRF(c2=c2, max_iterations=3).fit(*sequences(seed, 6))
    for rows in crf.predict_proba(sequences(seed + 1, 4)[0]):
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-12)
    items = sequences(seed + 2, 1)[0][0][:4]
    every = crf.predict_nbest([items], 4**4)[0]
    assert np.exp([value for _, value in every]).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns(algorithm):
    x, y = sequences(0, 200)
    rows = []
    crf = CRF(algorithm, max_iterations=20, c2=0.1, rng=np.random.default_rng(1))
    crf.fit(x, y, *sequences(5, 50), callback=rows.append)
    assert rows == crf.training_log_
    assert crf.score(*sequences(5, 50)) > 0.72
    if algorithm != "l2sgd":  # Keeps the weights of its best pass, not of its last.
        assert rows[-1]["dev_accuracy"] == pytest.approx(crf.score(*sequences(5, 50)))
    assert 0 < rows[-1]["dev_sequence_accuracy"] < 1


def test_the_objective_falls_and_l1_leaves_few_weights():
    x, y = sequences(0, 100)
    dense, sparse = CRF(c2=0.1).fit(x, y), CRF(c1=10.0, c2=0).fit(x, y)
    for crf in (dense, sparse):
        losses = [row["loss"] for row in crf.training_log_]
        assert all(a >= b for a, b in itertools.pairwise(losses))
    assert sparse.training_log_[-1]["active_features"] == len(sparse.state_features_) + len(
        sparse.transition_features_
    )
    assert len(sparse.state_features_) < len(dense.state_features_)


def test_sgd_comes_near_lbfgs():
    x, y = sequences(0, 100)
    least = CRF(c2=1).fit(x, y).training_log_[-1]["loss"]
    for batch in (1, 4):
        sgd = CRF("l2sgd", c2=1, batch_size=batch, rng=np.random.default_rng(0)).fit(x, y)
        assert min(row["loss"] for row in sgd.training_log_) < least * 1.05


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_change_no_bit(algorithm):
    x, y = sequences(0, 3000)
    found = []
    before = lamina.num_threads()
    try:
        for threads in (1, 2, 3):
            lamina.set_num_threads(threads)
            crf = CRF(algorithm, max_iterations=4, batch_size=8, rng=np.random.default_rng(0))
            found.append(crf.fit(x, y).state_features_)
            found.append(dict(enumerate(crf.log_partition(x).tolist())))
    finally:
        lamina.set_num_threads(before)
    assert found[0] == found[2] == found[4]
    assert found[1] == found[3] == found[5]


def test_kinds_of_attributes():
    kinds = [
        ["a", ("b", 2.0)],
        {"a": True, "b": np.float32(2), "z": False, "none": 0},
        ("a", ("b", 2)),
        {"a": 1, "b": 2.0},
    ]
    crf = CRF(c2=0.1).fit([[kind, ["c"]] for kind in kinds], [["X", "Y"]] * 4)
    marginals = crf.predict_proba([[kind] for kind in kinds])
    for rows in marginals[1:]:
        np.testing.assert_array_equal(rows, marginals[0])
    nested = {"t": {"u": 1.5, "v": "w", "x": {"y": True}}, "l": ["m", "n"], "s": {"q"}, "f": "g"}
    crf = CRF(c2=0.1).fit([[nested], [["other"]]], [["X"], ["Y"]])
    names = {name for name, _ in crf.state_features_}
    assert names == {"t:u", "t:v:w", "t:x:y", "l:m", "l:n", "s:q", "f:g", "other"}


def test_generators_arrays_and_empty_sequences():
    x, y = sequences(0)
    crf = CRF().fit((iter(items) for items in x), (np.array(tags) for tags in y))
    assert crf.state_features_ == CRF().fit(x, y).state_features_
    assert crf.predict([]) == []
    assert crf.predict([[], x[0], []])[::2] == [[], []]
    assert crf.predict_proba([[], x[0]])[0].shape == (0, 3)
    assert crf.predict_proba([]) == []
    assert crf.log_partition([[]])[0] == 0
    assert CRF().fit([[], *x], [[], *y]).transition_features_ == crf.transition_features_
    assert crf.predict([[["never seen"]]])[0][0] in "ABC"


def test_explain_and_info(fitted):
    found = fitted.explain("A", 2)
    assert len(found.attributes) == 2
    assert abs(found.attributes[0][1]) >= abs(found.attributes[1][1])
    name, weight = found.attributes[0]
    assert fitted.state_features_[name, "A"] == weight
    assert fitted.transition_features_[found.before[0][0], "A"] == found.before[0][1]
    assert fitted.transition_features_["A", found.after[0][0]] == found.after[0][1]
    info = fitted.info()
    assert info.labels == fitted.classes_
    assert info.num_state_features == len(info.state_features)
    assert info.num_transitions == 9
    with pytest.raises(ValueError, match=r"label: expected one of .*, got 'Z'"):
        fitted.explain("Z")


def test_partial_fit_learns_and_grows():
    crf = CRF(batch_size=4)
    for seed in range(12):
        crf.partial_fit(*sequences(seed), classes=["C", "B"])
    assert crf.classes_[:2] == ["C", "B"]
    assert crf.training_log_[-1]["loss"] < crf.training_log_[0]["loss"]
    assert crf.score(*sequences(50)) > 0.72
    before = dict(crf.state_features_)
    crf.partial_fit([[["new"]]], [["D"]])
    assert crf.classes_[-1] == "D"
    assert crf.predict([[["new"]]]) == [["D"]]
    kept = [crf.state_features_[key] == weight for key, weight in before.items()]
    assert all(kept)
    after = CRF(c2=0.1).fit(*sequences(0))
    held = after.score(*sequences(9))
    assert after.partial_fit(*sequences(1)).score(*sequences(9)) > held - 0.1


def test_callback_ends_the_training_and_raises():
    crf = CRF().fit(*sequences(0), callback=lambda row: row["iteration"] < 3)
    assert len(crf.training_log_) == 3

    def fail(row):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        CRF().fit(*sequences(0), callback=fail)


def test_parameters():
    crf = CRF("ap", c2=2.0)
    assert crf.get_params()["c2"] == 2.0
    assert CRF(**crf.get_params()).algorithm == "ap"
    assert crf.set_params(max_iterations=3).max_iterations == 3
    assert repr(crf) == "CRF(algorithm='ap', c2=2.0, max_iterations=3)" or "c2=2.0" in repr(crf)
    with pytest.raises(ValueError, match="'c9' is no parameter"):
        crf.set_params(c9=1)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([[["a"]]], [], ValueError, "y: expected 1 sequences, one for each of X, got 0"),
        ([[["a"]]], [["A", "B"]], ValueError, r"y\[0\]: expected 1 labels.* got 2"),
        ([[{"a": float("nan")}]], [["A"]], ValueError, r'X\[0\]\[0\]\["a"\]: expected a finite'),
        ([[["a"]], [[("b", 1e999)]]], [["A"], ["B"]], ValueError, r"X\[1\]\[0\].*got inf"),
        ([["a"]], [["A"]], TypeError, r"X\[0\]\[0\]: expected a dict or a list.*got str"),
        ([[[3]]], [["A"]], TypeError, r"X\[0\]\[0\]: expected strings or pairs.*got int"),
        ([[{1: 2}]], [["A"]], TypeError, r"expected names of type str, got int"),
        ([[{"a": None}]], [["A"]], TypeError, r'\["a"\]: expected a number.*got NoneType'),
        ([[["a"]]], [[1]], TypeError, r"y\[0\]\[0\]: expected str, got int"),
        ("ab", ["A"], TypeError, "X: expected a list, got str"),
        ([3], [["A"]], TypeError, r"X\[0\]: expected a list, got int"),
        ([], [], ValueError, "expected at least one item, got none"),
        ([[]], [[]], ValueError, "expected at least one item, got none"),
    ],
)
def test_bad_data_is_named(x, y, error, message):
    with pytest.raises(error, match=message):
        CRF().fit(x, y)


def test_bad_use_is_named(fitted):
    for options, message in (
        ({"algorithm": "x"}, "algorithm: expected one of lbfgs"),
        ({"c2": -1}, "c2: expected zero or more, got -1"),
        ({"c1": float("nan")}, "c1: expected zero or more, got nan"),
        ({"num_memories": 0}, "num_memories: expected a positive number, got 0"),
        ({"pa_type": 3}, "pa_type: expected 0, 1 or 2, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            CRF(**options)
    with pytest.raises(RuntimeError, match="not fitted yet"):
        CRF().predict([])
    with pytest.raises(ValueError, match="c2: expected a positive number for l2sgd"):
        CRF("l2sgd", c2=0).fit(*sequences(0))
    with pytest.raises(ValueError, match="expected labels below 3"):
        fitted.log_prob([[["a"]]], [["never seen"]])
    assert fitted.score([[["a"]]], [["never seen"]]) == 0
    with pytest.raises(ValueError, match="n: expected at least 1, got 0"):
        fitted.predict_nbest([], 0)
    with pytest.raises(ValueError, match="expected both or neither"):
        CRF().fit(*sequences(0), X_dev=[])


def test_saved_models_come_back(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = CRF.load(tmp_path / "m")
    assert again.get_params() == {**fitted.get_params(), "rng": None}
    assert again.state_features_ == fitted.state_features_
    assert again.transition_features_ == fitted.transition_features_
    x = sequences(7)[0]
    np.testing.assert_array_equal(again.log_partition(x), fitted.log_partition(x))
    assert sorted(os.listdir(tmp_path / "m")) == [
        "MANIFEST.json",
        "config.json",
        "model.safetensors",
    ]
    with pytest.raises(FileNotFoundError):
        CRF.load(tmp_path / "none")


def test_changed_models_are_read_or_refused(tmp_path):
    folder = tmp_path / "m"
    CRF(c1=0.5).fit(*sequences(0, 8)).save(folder)
    (folder / "MANIFEST.json").unlink()
    rng = random.Random(0)  # noqa: S311
    for name in ("config.json", "model.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        loaded = 0
        for i in range(1000):
            data = bytearray(whole)
            if i % 2:
                del data[rng.randrange(len(data)) :]
            else:
                for _ in range(rng.randint(1, 4)):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            try:
                CRF.load(folder).predict([[["a"], {"w": "u"}]])
                loaded += 1
            except FormatError as error:
                assert str(folder) in str(error)  # noqa: PT017
        assert loaded < 1000
        path.write_bytes(whole)
    CRF.load(folder)


def test_ctrl_c_ends_the_training():
    code = """
import random, time, threading, os, signal
from lamina.tagging import CRF
rng = random.Random(0)  # noqa: S311
x = [[[f"a{rng.randrange(9**5)}" for _ in range(20)] for _ in range(20)] for _ in range(800)]
y = [[rng.choice("ABCDEFGH") for _ in items] for items in x]
asked = []
def stop():
    time.sleep(0.5)
    asked.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
started = []
def report(row):
    if not started:
        started.append(threading.Thread(target=stop, daemon=True))
        started[0].start()
try:
    CRF(c2=1e-9, delta=0, epsilon=0, max_linesearch=99).fit(x, y, callback=report)
except KeyboardInterrupt:
    print(time.monotonic() - asked[0])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert signal.SIGINT
    assert float(run.stdout) < 5, run.stderr


def test_standard_attributes():
    assert shape("McDonald's-2016") == "XxXxx'x-dd"
    items = pos_features(["The", "e-mail", "42"])
    assert "first" in items[0]
    assert "last" in items[2]
    assert {"w=e-mail", "hyphen", "pre=e-ma", "suf=mail", "l-1=the", "l+1=42"} <= set(items[1])
    assert "l|l+1=e-mail|42" in items[1]
    assert "l-2=the" in items[2]
    assert "capital" in items[0]
    assert pos_features([]) == []
    named = ner_features(["A", "b", "C"], ["X", "Y", "Z"])
    assert {"shapes=X|x|X", "tag=Y", "tag-1=X", "shape+1=X"} <= set(named[1])
    with pytest.raises(ValueError, match="tags: expected 1, got 2"):
        ner_features(["a"], ["b", "c"])
