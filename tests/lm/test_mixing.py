import itertools
import json
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from lamina import lm
from lamina.cli import run
from lamina.lm import Mixture, NGram, mix
from lamina.text import CharTokenizer

KENLM = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"
SMALL = "the cat sat on the mat\nthe dog sat on the cat\n\na cat and a dog\nthe end\n"
OTHER = "the fish swam in the sea\na fish and a whale\nthe whale sang\n"


def fit(text, order=3, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NGram(order, **options).fit(text)


@pytest.fixture(scope="module")
def texts():
    lines = (KENLM / "train.txt").read_text(encoding="utf-8").splitlines()
    test = (KENLM / "test.txt").read_text(encoding="utf-8").splitlines()
    join = "\n".join
    return join(lines[:1200]) + "\n", join(lines[1200:1600]) + "\n", join(test[:150]) + "\n"


def total(model, context):
    return np.exp(model.next_log_probs(context)).sum()


# Pruning.


def test_pruning_follows_the_equation():
    """Each decision beside the definition: the divergence of the model without one n-gram."""
    model = fit(SMALL * 3 + OTHER, 2, smoothing="witten_bell", interpolate=False)
    words = model.vocabulary
    after = {w: np.exp(model.next_log_probs("q " + w)) for w in words if w not in ("<s>", "</s>")}
    after["<s>"] = np.exp(model.next_log_probs(""))
    single = np.exp(model.next_log_probs("q"))
    single = single / single.sum()
    seen = {}
    for line in (SMALL * 3 + OTHER).splitlines():
        tokens = ["<s>", *line.split(), "</s>"]
        for a, b in itertools.pairwise(tokens):
            seen.setdefault(a, set()).add(b)
    changes = {}
    place = {word: at for at, word in enumerate(words)}
    marginal = {w: single[place["</s>" if w == "<s>" else w]] for w in seen}
    for context, follow in seen.items():
        prob = after[context]
        for word in follow:
            rest = [place[w] for w in follow if w != word]
            new = single * (1 - prob[rest].sum()) / (1 - single[rest].sum())
            new[rest] = prob[rest]
            used = prob > 0
            divergence = (prob[used] * np.log(prob[used] / new[used])).sum() * marginal[context]
            changes[context, word] = math.expm1(divergence)
    values = sorted(changes.values())
    threshold = (values[len(values) // 2] + values[len(values) // 2 + 1]) / 2
    pruned = model.prune(threshold)
    assert pruned.counts[1] == sum(change >= threshold for change in changes.values())
    assert pruned.counts[0] == model.counts[0]
    kept = [pair for pair, change in changes.items() if change >= threshold]
    context, word = kept[0]
    given = "" if context == "<s>" else f"q {context}"
    assert np.exp(pruned.next_log_probs(given))[place[word]] == pytest.approx(
        after[context][place[word]], rel=1e-5
    )


@pytest.mark.parametrize(
    "smoothing", ["modified_kneser_ney", "katz", "witten_bell", "absolute", "lidstone"]
)
def test_pruned_models_sum_to_one_and_lose_little(texts, rng, smoothing):
    train, _, test = texts
    model = fit(train, smoothing=smoothing)
    ids = model.tokenizer.encode(train)
    before = model.log_probs(test).mean()
    sizes = [sum(model.counts)]
    for threshold in (1e-8, 1e-6, 1e-4):
        pruned = model.prune(threshold)
        sizes.append(sum(pruned.counts))
        contexts, wrong, worst = pruned.sums(tolerance=1e-5)
        assert contexts > 0
        assert wrong == 0, worst
        for at in rng.integers(3, len(ids), 20):
            assert abs(total(pruned, ids[at - 3 : at]) - 1) < 1e-5
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0]
    assert abs(model.prune(1e-8).log_probs(test).mean() - before) < 0.1


def test_nothing_to_prune_and_everything(texts, tmp_path):
    train, _, test = texts
    model = fit(train)
    np.testing.assert_allclose(model.prune(0).log_probs(test), model.log_probs(test), atol=1e-4)
    empty = model.prune(1e9)
    assert empty.counts == [model.counts[0], 0, 0]
    assert total(empty, "the") == pytest.approx(1, abs=1e-6)
    empty.save_arpa(tmp_path / "empty.arpa")
    again = NGram.load_arpa(tmp_path / "empty.arpa")
    np.testing.assert_allclose(again.log_probs(test), empty.log_probs(test), atol=1e-6)
    assert fit(train, 1).prune(1).counts == model.counts[:1]


def test_vocabulary_limits(texts):
    train, _, test = texts
    model = fit(train)
    words = set(train.split()[:400])
    small = model.limit([*words, "never-seen"])
    assert set(small.vocabulary) == words | {"<unk>", "<s>", "</s>"}
    assert small.sums(tolerance=1e-5)[1] == 0
    assert small.oov_mass(test) > model.oov_mass(test)
    assert "never-seen" not in small
    singles = np.exp(model.limit([]).next_log_probs("x x x"))
    assert singles.sum() == pytest.approx(1, abs=1e-6)
    assert small.generate("the", max_new_tokens=5, seed=3)


def test_what_cannot_be_pruned_or_limited():
    with pytest.raises(ValueError, match="threshold: expected a number from 0 up, got -1"):
        fit(SMALL).prune(-1)
    stupid = fit(SMALL, smoothing="stupid_backoff")
    with pytest.raises(ValueError, match="prune: expected probabilities that sum to one"):
        stupid.prune(1e-8)
    with pytest.raises(ValueError, match="limit: expected probabilities that sum to one"):
        stupid.limit(["the"])
    with pytest.raises(ValueError, match="expected a model of words, got one of ids"):
        fit(np.arange(9) % 4, 2).limit(["1"])


def test_ids_are_pruned_too(rng):
    ids = np.minimum(rng.geometric(0.2, 3000), 30)
    model = fit(ids, 3, vocab_size=40)
    pruned = model.prune(1e-4)
    assert pruned.counts[2] < model.counts[2]
    for context in ([], [1, 2], [39], [30, 30]):
        assert total(pruned, context) == pytest.approx(1, abs=1e-5)


# Mixing.


@pytest.mark.parametrize("kind", ["linear", "log-linear"])
def test_mixtures_of_different_vocabularies_are_exact(kind):
    models = [fit(SMALL), fit(OTHER, 2, smoothing="witten_bell")]
    weights = [0.7, 0.3]
    mixture = Mixture(models, weights, kind=kind)
    words = mixture.tokenizer
    assert mixture.vocab_size == len(set(SMALL.split()) | set(OTHER.split())) + 3
    for context in ["", "the", "the whale", "never the fish", "cat and", "the end\n"]:
        logs = mixture.next_log_probs(context)
        assert np.exp(logs).sum() == pytest.approx(1, abs=1e-6)
        expected = np.zeros(mixture.vocab_size)
        rows = []
        for model in models:
            lacking = [
                at
                for at in range(mixture.vocab_size)
                if words.decode([at]).strip() not in model and at not in (1, 2)
            ]
            own = np.exp(model.next_log_probs(context))
            row = np.array([own[model.tokenizer.token_to_id(word) or 0] for word in words._words])
            row[lacking] /= len(lacking)
            rows.append(row)
        if kind == "linear":
            expected = weights[0] * rows[0] + weights[1] * rows[1]
        else:
            expected = rows[0] ** weights[0] * rows[1] ** weights[1]
            expected /= expected.sum()
        np.testing.assert_allclose(np.exp(logs), expected, atol=1e-12)
    text = "the whale sat\na zebra\n"
    logs = mixture.log_probs(text)
    ids = np.append(words.encode(text[:-1]), 2)
    assert len(logs) == 7
    for at in range(len(ids)):
        assert mixture.next_log_probs(ids[:at])[ids[at]] == pytest.approx(logs[at], abs=1e-12)
    assert mixture.oov_mass(text) == pytest.approx(1 / 7)
    assert mixture.generate("the", max_new_tokens=4, seed=1).startswith("the")


def test_a_static_mixture_is_the_exact_one_at_its_n_grams(texts):
    first, second, test = texts
    models = [fit(first), fit(second, 2, smoothing="katz")]
    exact = mix(models, [0.6, 0.4], static=False)
    static = mix(models, [0.6, 0.4])
    assert isinstance(static, NGram)
    assert static.order == 3
    assert static.sums(tolerance=1e-5)[1] == 0
    seen = "\n".join(first.splitlines()[:60]) + "\n"
    np.testing.assert_allclose(static.log_probs(seen), exact.log_probs(seen), atol=2e-5)
    assert abs(static.log_probs(test).mean() - exact.log_probs(test).mean()) < 0.05
    assert static.vocabulary == exact.tokenizer._words


@pytest.mark.parametrize("kind", ["linear", "log-linear"])
def test_tuned_weights_are_the_best(texts, kind):
    first, second, test = texts
    test = "\n".join(test.splitlines()[:25]) + "\n"
    models = [fit(first, 2), fit(second, 2)]
    tuned = mix(models, tune_on=test, kind=kind, static=False)
    best = tuned.log_probs(test).sum()
    for weights in ([1, 0], [0, 1], [0.5, 0.5]):
        assert Mixture(models, weights, kind=kind).log_probs(test).sum() < best
    for step in ([0.02, -0.02], [-0.02, 0.02]):
        near = Mixture(models, tuned.weights + step, kind=kind)
        assert near.log_probs(test).sum() < best
    if kind == "log-linear":
        for step in ([0.02, 0.02], [-0.02, -0.02]):
            near = Mixture(models, tuned.weights + step, kind=kind)
            assert near.log_probs(test).sum() < best
    else:
        assert tuned.weights.sum() == pytest.approx(1)


def test_mixtures_of_ids(rng):
    tokenizer = CharTokenizer.train(SMALL + OTHER)
    models = [fit(text, 3, tokenizer=tokenizer) for text in (SMALL, OTHER)]
    exact = Mixture(models)
    static = mix(models)
    for context in ["", "the ", "whal"]:
        assert total(exact, context) == pytest.approx(1, abs=1e-6)
        assert total(static, context) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(static.log_probs(OTHER), exact.log_probs(OTHER), atol=2e-5)
    assert static.generate("the", max_new_tokens=4, seed=1).startswith("the")
    sparse = [fit(rng.integers(0, n, 50), 2, vocab_size=30) for n in (5, 9)]
    both = mix(sparse)
    assert total(both, [1]) == pytest.approx(1, abs=1e-5)
    assert 7 in both
    assert 20 not in both


def test_mixtures_travel(tmp_path):
    models = [fit(SMALL), fit(OTHER)]
    for kind in ("linear", "log-linear"):
        mixture = Mixture(models, [0.7, 0.3], kind=kind)
        mixture.save(tmp_path / kind)
        again = lm.load(tmp_path / kind)
        assert isinstance(again, Mixture)
        assert again.kind == kind
        np.testing.assert_array_equal(again.log_probs(SMALL), mixture.log_probs(SMALL))
        assert isinstance(Mixture.load(tmp_path / kind), Mixture)
    config = tmp_path / "linear" / "config.json"
    good = json.loads(config.read_text())
    (tmp_path / "linear" / "MANIFEST.json").unlink()
    for change, message in [
        ({"kind": "cubic"}, "kind: expected linear or log-linear"),
        ({"weights": [0.7, "x"]}, "could not convert|weights"),
        ({"weights": [0.7]}, "expected one weight for each model"),
        ({"weights": 3}, "expected the configuration of a Mixture"),
    ]:
        config.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match=message):
            lm.load(tmp_path / "linear")


def test_what_cannot_be_mixed():
    model = fit(SMALL)
    with pytest.raises(ValueError, match="models: expected at least one, got none"):
        mix([])
    with pytest.raises(ValueError, match="weights: expected 1 numbers"):
        mix([model], [0.5, 0.5])
    with pytest.raises(ValueError, match="weights: expected a sum of 1, none below 0"):
        mix([model, model], [0.5, 0.6])
    with pytest.raises(ValueError, match="kind: expected linear or log-linear, got 'cubic'"):
        mix([model], kind="cubic")
    with pytest.raises(ValueError, match="expected probabilities that sum to one"):
        mix([model, fit(SMALL, smoothing="stupid_backoff")])
    with pytest.raises(ValueError, match="expected all or none to have words as tokens"):
        mix([model, fit([1, 2, 1], 2)])
    with pytest.raises(ValueError, match=r"expected one tokenizer, got sizes \[3, 4\]"):
        mix([fit([1, 2, 1], 2), fit([1, 3, 1], 2)])
    with pytest.raises(ValueError, match="static: expected a linear mixture of n-gram models"):
        mix([model], kind="log-linear", static=True)
    with pytest.raises(TypeError, match="models: expected language models, got str"):
        mix(["model"])
    with pytest.raises(ValueError, match="tune_on: expected at least one token, got none"):
        mix([model, model], tune_on="")


# Checking.


def test_sums_find_what_does_not_sum_to_one(tmp_path):
    model = fit(SMALL, smoothing="witten_bell")
    assert model.sums()[:2] == (model.sums()[0], 0)
    path = tmp_path / "model.arpa"
    model.save_arpa(path)
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith("\ton the mat"))
    lines[at] = "-3\ton the mat"
    path.write_text("\n".join(lines) + "\n")
    contexts, wrong, worst = NGram.load_arpa(path).sums(tolerance=1e-4, most=3)
    assert wrong == 1
    assert worst[0][1] == "on the"
    assert contexts == model.sums()[0]
    stupid = fit(SMALL, smoothing="stupid_backoff")
    assert stupid.sums()[1] > 10
    assert len(stupid.sums(most=4)[2]) == 4


# The command line.


def test_commands(tmp_path, capsys):
    first, second = tmp_path / "first.arpa", tmp_path / "second"
    fit(SMALL, smoothing="witten_bell").save_arpa(first)
    fit(OTHER).save(second)
    held = tmp_path / "held.txt"
    held.write_text("the fish sat on the whale\n")
    words = tmp_path / "words.txt"
    words.write_text("the cat sat\n")

    def call(*arguments):
        code = run(["ngram", *map(str, arguments)])
        return code, capsys.readouterr()

    assert call("check", first, "--sums")[0] == 0
    code, captured = call("prune", first, tmp_path / "pruned.arpa", "--threshold", "1e-3")
    assert code == 0
    assert "n-grams of length 1 to 3" in captured.out
    assert call("prune", first, tmp_path / "limited", "--words", words)[0] == 0
    assert len(NGram.load(tmp_path / "limited").vocabulary) == 6
    code, captured = call("mix", first, second, "--tune", held, "-o", tmp_path / "both.arpa.gz")
    assert code == 0, captured
    assert captured.out.splitlines()[1].endswith("second")
    assert call("check", tmp_path / "both.arpa.gz", "--sums")[0] == 0
    for kind in ("linear", "log-linear"):
        arguments = ("mix", first, second, "--dynamic", "--kind", kind, "-o", tmp_path / kind)
        assert call(*arguments)[0] == 0
        assert isinstance(lm.load(tmp_path / kind), Mixture)
    assert call("prune", first, tmp_path / "x")[0] == 2
    assert call("mix", first, "--weights", "a", "-o", tmp_path / "x")[0] == 2
    assert call("prune", tmp_path / "linear", tmp_path / "x", "--threshold", "1")[0] == 2


def test_binary_files_are_checked_pruned_and_mixed(tmp_path, capsys):
    model = fit(SMALL, smoothing="witten_bell")
    model.save_arpa(tmp_path / "m.arpa")
    model.save_binary(tmp_path / "m.bin", "trie")

    def call(*arguments):
        code = run(["ngram", *(str(tmp_path / a) if "." in a else a for a in arguments)])
        return code, capsys.readouterr()

    assert call("check", "m.bin", "--sums") == call("check", "m.arpa", "--sums")
    for target in ("p.arpa", "p.bin", "p.trie", "p.probing", "p.compact"):
        assert call("prune", "m.bin", target, "--threshold=1e-1")[0] == 0
    smaller = NGram.load_arpa(tmp_path / "p.arpa")
    assert sum(smaller.counts) < sum(model.counts)
    forms = {"p.bin": "trie", "p.trie": "trie", "p.probing": "probing", "p.compact": "compact"}
    for name, kind in forms.items():
        binary = NGram.load_binary(tmp_path / name)
        assert (binary.kind, binary.counts) == (kind, smaller.counts)
    for arguments in (
        ("prune", "p.compact", "x.arpa", "--threshold=1"),
        ("mix", "m.bin", "p.probing", "-o", "x.bin"),
    ):
        code, captured = call(*arguments)
        assert code == 2
        assert "expected a model as a trie" in captured.err
    model.save(tmp_path / "m.folder")
    assert call("convert", "m.folder", "again.trie")[0] == 0
    assert (tmp_path / "again.trie").read_bytes() == (tmp_path / "m.bin").read_bytes()
    (tmp_path / "held.txt").write_text("the fish sat on the whale\n")
    answers = [call("query", name, "held.txt") for name in ("m.folder", "m.arpa", "m.bin")]
    assert answers[0] == answers[1] == answers[2]
    assert call("mix", "m.bin", "p.bin", "-o", "both.bin")[0] == 0
    assert NGram.load_binary(tmp_path / "both.bin").counts == model.counts
    damaged = bytearray((tmp_path / "m.bin").read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "bad.bin").write_bytes(damaged)
    assert call("check", "bad.bin")[0] == 1


def test_check_names_line_and_reason(tmp_path, capsys):
    path = tmp_path / "model.arpa"
    fit(SMALL, 2, smoothing="stupid_backoff").save_arpa(path)
    assert run(["ngram", "check", str(path)]) == 0
    assert run(["ngram", "check", str(path), "--sums"]) == 1
    out = capsys.readouterr().out
    assert "further than 0.0001 from one, the worst:" in out
    text = path.read_text()
    lines = text.splitlines()
    at = lines.index("\\2-grams:") + 1
    path.write_text(text.replace(lines[at], "x" + lines[at], 1))
    assert run(["ngram", "check", str(path)]) == 1
    assert f"line {at + 1}: expected a finite number" in capsys.readouterr().out
    assert run(["ngram", "check", str(tmp_path / "none.arpa")]) == 2
