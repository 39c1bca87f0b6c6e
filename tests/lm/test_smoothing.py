import collections
import json
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import lm, num_threads, set_num_threads
from lamina.lm import NGram, evaluate
from lamina.text import CharTokenizer

KENLM = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"
SMALL = "the cat sat on the mat\nthe dog sat on the cat\n\na cat and a dog\nthe end\n"

PROPER = {
    "mle": {},
    "laplace": {},
    "lidstone": {"gamma": 0.1},
    "good_turing": {},
    "katz": {},
    "witten_bell": {},
    "witten_bell:backoff": {"interpolate": False},
    "absolute": {},
    "absolute:backoff": {"interpolate": False},
    "absolute 0.75": {"discount": 0.75},
    "jelinek_mercer": {},
    "jelinek_mercer:bucketed": {"bucketed": True},
    "kneser_ney": {},
    "kneser_ney:backoff": {"interpolate": False},
    "modified_kneser_ney": {},
    "modified_kneser_ney:backoff": {"interpolate": False},
}


def make(method, order=3, **options):
    name = method.split(":")[0].split()[0]
    return NGram(order, smoothing=name, **PROPER[method], **options)


def fitted(method, data, order=3, held_out=None, **options):
    model = make(method, order, **options)
    held = held_out if method.startswith("jelinek") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data, held_out=held)


@pytest.fixture(scope="module")
def texts():
    train = (KENLM / "train.txt").read_text(encoding="utf-8").splitlines()[:1500]
    test = (KENLM / "test.txt").read_text(encoding="utf-8").splitlines()[:200]
    return "\n".join(train) + "\n", "\n".join(test) + "\n"


def contexts_of(model, rng, count, ids):
    """Seen, partially seen and unseen contexts of the kernel's ids."""
    size = model.vocab_size
    for number in range(count):
        at = int(rng.integers(4, len(ids)))
        context = ids[at - 4 : at].copy()
        if number % 3 == 1:
            context[rng.integers(0, 4)] = rng.choice([0, 2, *range(3, size)])
        if number % 3 == 2:
            context = rng.choice([0, *range(3, size)], int(rng.integers(0, 5)))
        yield context


@pytest.mark.parametrize("method", PROPER)
def test_every_context_sums_to_one(method, texts, rng):
    train, test = texts
    model = fitted(method, train, held_out=test)
    assert model.is_normalized
    ids = model.tokenizer.encode(train)
    for context in contexts_of(model, rng, 1000, ids):
        assert abs(np.exp(model.next_log_probs(context)).sum() - 1) < 1e-6


@pytest.mark.parametrize("method", PROPER)
def test_small_closed_vocabularies_sum_to_one(method, rng):
    ids = np.minimum(rng.geometric(0.3, 400), 12)
    for size, order in [(13, 3), (20, 2), (14, 1), (20, 5)]:
        model = fitted(method, ids, order, held_out=ids[:50], vocab_size=size, dtype="float64")
        for context in ([], [1], [12, 3], [0, 0, 1], ids[:9], [size - 1, 1, 1, 2]):
            total = np.exp(model.next_log_probs(context)).sum()
            assert abs(total - 1) < 1e-9, (size, order, context)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(PROPER)),
    st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=8),
    st.integers(1, 4),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b", "c", "x"]), max_size=4),
)
def test_words_of_any_corpus_sum_to_one(method, sentences, order, interpolate, context):
    text = "".join(" ".join(sentence) + "\n" for sentence in sentences)
    options = {"interpolate_unigrams": interpolate, "dtype": "float64"}
    model = fitted(method, text, order, held_out="a b x\n", **options)
    logs = model.next_log_probs(" ".join(context))
    assert abs(np.exp(logs).sum() - 1) < 1e-9
    assert logs.max() <= 1e-12


@pytest.mark.parametrize("method", [*PROPER, "stupid_backoff"])
def test_models_write_read_generate_and_score(method, texts, tmp_path):
    train, test = texts
    if method == "stupid_backoff":
        model = NGram(3, smoothing=method, alpha=0.3).fit(train)
    else:
        model = fitted(method, train, held_out=test)
    model.save(tmp_path / "model")
    again = NGram.load(tmp_path / "model")
    assert again.smoothing == model.smoothing
    assert again._smoothing == model._smoothing
    assert again.discounts == model.discounts
    assert again.weights == model.weights
    assert again.is_normalized == model.is_normalized
    assert isinstance(lm.load(tmp_path / "model"), NGram)
    np.testing.assert_array_equal(again.log_probs(test), model.log_probs(test))
    assert again.generate("the", max_new_tokens=8, seed=1) == model.generate(
        "the", max_new_tokens=8, seed=1
    )


# Textbook formulas.


def grams(text, order):
    """Counts of every n-gram, of contexts, and the vocabulary with ``<unk>`` and ``</s>``."""
    counts = [collections.Counter() for _ in range(order + 1)]
    for line in text.splitlines():
        tokens = ["<s>", *line.split(), "</s>"]
        for n in range(1, order + 1):
            for at in range(len(tokens) - n + 1):
                if n > 1 or tokens[at] != "<s>":
                    counts[n][tuple(tokens[at : at + n])] += 1
    return counts, sorted({word for (word,) in counts[1]} | {"<unk>"})


class Plain:
    """Interpolated or back-off smoothing as the textbook has it."""

    def __init__(self, text, order, kept, *, interpolate, adjusted=False):
        self.counts, self.words = grams(text, order)
        if adjusted:
            for n in range(order - 1, 0, -1):
                fronts = collections.Counter(gram[1:] for gram in self.counts[n + 1])
                for gram in self.counts[n]:
                    if gram[0] != "<s>":
                        self.counts[n][gram] = fronts[gram]
        self.order, self.kept, self.interpolate = order, kept, interpolate

    def prob(self, word, context):
        context = tuple(context[-(self.order - 1) :]) if self.order > 1 else ()
        n = len(context) + 1
        after = {gram[-1]: c for gram, c in self.counts[n].items() if gram[:-1] == context}
        if not after:
            return self.prob(word, context[1:])
        share = {w: self.kept(self.counts[n], after, c) for w, c in after.items()}
        left = 1 - sum(share.values())
        if not context:
            return share.get(word, 0) + left / len(self.words)
        if self.interpolate:
            return share.get(word, 0) + left * self.prob(word, context[1:])
        if word in after:
            return share[word]
        others = 1 - sum(self.prob(w, context[1:]) for w in after)
        return left / others * self.prob(word, context[1:])


def absolute_kept(counts, after, count):
    t = collections.Counter(counts.values())
    return (count - t[1] / (t[1] + 2 * t[2])) / sum(after.values())


def witten_bell_kept(_counts, after, count):
    return count / (sum(after.values()) + len(after))


@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("name", ["witten_bell", "absolute", "kneser_ney"])
def test_matches_the_textbook(name, interpolate):
    kept = witten_bell_kept if name == "witten_bell" else absolute_kept
    text = SMALL + "the cat ran\nthe cat ran\nthe dog sat on\n"
    plain = Plain(text, 3, kept, interpolate=interpolate, adjusted=name == "kneser_ney")
    model = NGram(
        3, smoothing=name, interpolate=interpolate, dtype="float64", discount_fallback=False
    ).fit(text)
    for context in ["", "the", "the cat", "cat the", "sat on", "the x", "end the dog"]:
        logs = np.exp(model.next_log_probs(context))
        tokens = ["<s>", *context.split()]
        tokens = ["<unk>" if word == "x" else word for word in tokens]
        for word, id in zip(model.vocabulary, range(model.vocab_size), strict=True):
            expected = 0 if word == "<s>" else plain.prob(word, tokens)
            assert abs(logs[id] - expected) < 1e-12, (context, word)


def test_discounts_of_katz_and_good_turing(texts):
    counts, _ = grams(texts[0], 3)
    katz = NGram(3, smoothing="katz").fit(texts[0])
    for n in (2, 3):
        t = collections.Counter(counts[n].values())
        common = 6 * t[6] / t[1]
        expected = []
        for r in range(1, 6):
            turing = (r + 1) * t[r + 1] / t[r]
            expected.append(r - (turing - common * r) / (1 - common))
        np.testing.assert_allclose(katz.discounts[n - 1], expected, rtol=1e-12)
    turing = NGram(2, smoothing="good_turing").fit(texts[0])
    t = collections.Counter(counts[2].values())
    assert turing.discounts[1][0] == pytest.approx(1 - 2 * t[2] / t[1])
    assert all(0 < d < r for r, d in enumerate(turing.discounts[1], 1))


def test_katz_backs_off_with_what_discounts_leave(texts):
    model = NGram(2, smoothing="katz", dtype="float64").fit(texts[0])
    counts, words = grams(texts[0], 2)
    discounts = [0, *model.discounts[1], 0]
    after = {gram[1]: c for gram, c in counts[2].items() if gram[0] == "the"}
    total = sum(after.values())
    probs = np.exp(model.next_log_probs("the"))
    lower = {
        w: math.exp(NGram.next_log_probs(model, "q q")[model.tokenizer.token_to_id(w)])
        for w in words
    }
    left = sum(discounts[min(c, 6)] for c in after.values()) / total
    others = 1 - sum(lower[w] for w in after)
    for word in words:
        count = after.get(word, 0)
        seen = (count - discounts[min(count, 6)]) / total
        expected = seen if count else left / others * lower[word]
        assert abs(probs[model.tokenizer.token_to_id(word)] - expected) < 1e-12


@pytest.mark.parametrize("bucketed", [False, True])
def test_weights_of_jelinek_mercer_are_those_of_the_highest_likelihood(texts, bucketed):
    train, test = texts
    model = NGram(3, smoothing="jelinek_mercer", bucketed=bucketed).fit(train, held_out=test)
    assert [len(order) for order in model.weights] == [16 if bucketed else 1] * 3
    best = model.log_probs(test).mean()
    if bucketed:
        plain = NGram(3, smoothing="jelinek_mercer").fit(train, held_out=test)
        assert best > plain.log_probs(test).mean()
        return
    weights = [order[0] for order in model.weights]
    for order in range(3):
        for step in (-0.02, 0.02):
            other = list(weights)
            other[order] = min(max(other[order] + step, 0), 1)
            near = NGram(3, smoothing="jelinek_mercer", weights=other).fit(train)
            assert near.log_probs(test).mean() < best
    same = NGram(3, smoothing="jelinek_mercer", weights=weights).fit(train)
    np.testing.assert_allclose(same.log_probs(test), model.log_probs(test), atol=1e-6)


def test_double_precision_is_the_same_model(texts):
    train, test = texts
    plain = NGram(3).fit(train)
    double = NGram(3, dtype="float64").fit(train)
    assert plain.counts == double.counts
    assert plain.discounts == double.discounts
    np.testing.assert_allclose(plain.log_probs(test), double.log_probs(test), atol=3e-6)
    assert not np.array_equal(plain.log_probs(test), double.log_probs(test))
    with pytest.raises(ValueError, match="dtype: expected float32 or float64, got 'half'"):
        NGram(dtype="half")


def test_stupid_back_off_scores():
    model = NGram(3, smoothing="stupid_backoff", dtype="float64").fit(SMALL)
    scores = np.exp(model.next_log_probs("the cat")).tolist()
    score = dict(zip(model.vocabulary, scores, strict=True))
    assert score["sat"] == pytest.approx(1 / 2)
    assert score["and"] == pytest.approx(0.4 / 3)
    assert score["dog"] == pytest.approx(0.4**2 * 2 / 24)
    assert score["<unk>"] < 1e-90
    assert not model.is_normalized
    with pytest.warns(UserWarning, match="scores of this model do not sum to one"):
        assert not evaluate(model, SMALL).normalized


def test_mle_gives_nothing_to_what_it_did_not_see():
    model = NGram(2, smoothing="mle", dtype="float64").fit(SMALL)
    logs = model.next_log_probs("the")
    assert math.exp(logs[model.tokenizer.token_to_id("cat")]) == pytest.approx(2 / 5)
    assert logs[model.tokenizer.token_to_id("and")] < -200
    assert model.log_probs("never")[0] < -200


def test_smoothing_helps_in_the_known_order(texts):
    train, test = texts
    bits = {m: -fitted(m, train, held_out=test).log_probs(test).mean() for m in PROPER}
    assert bits["modified_kneser_ney"] < bits["katz"] < bits["laplace"] < bits["mle"]
    assert bits["kneser_ney"] < bits["absolute"]
    assert bits["lidstone"] < bits["laplace"]


def test_any_number_of_threads_gives_the_same_bits(texts):
    before = num_threads()
    try:
        for method in ("katz", "witten_bell", "kneser_ney:backoff", "jelinek_mercer:bucketed"):
            found = []
            for threads in (1, 2, 3):
                set_num_threads(threads)
                model = fitted(method, texts[0], held_out=texts[1])
                found.append(model.log_probs(texts[1]))
            for other in found[1:]:
                np.testing.assert_array_equal(found[0], other)
    finally:
        set_num_threads(before)


def test_tokenizers_and_ids(texts):
    tokenizer = CharTokenizer.train(SMALL)
    for method in PROPER:
        model = fitted(method, SMALL, 4, held_out="the dog and", tokenizer=tokenizer)
        assert abs(np.exp(model.next_log_probs("the c")).sum() - 1) < 1e-6
        assert model.generate("the", max_new_tokens=3, seed=0).startswith("the")


def test_undefined_discounts_warn_or_fail():
    with pytest.warns(UserWarning, match=r"order 1 \(none has a count of 2\).*\(0.5,\) are used"):
        NGram(1, smoothing="absolute").fit("a b c\n")
    with pytest.warns(UserWarning, match="fewer than three different counts"):
        NGram(2, smoothing="good_turing").fit("a b c\n")
    with pytest.warns(UserWarning, match="no discounts of counts up to 5 lie between 0 and 1"):
        NGram(2, smoothing="katz").fit("a b c\n")
    with pytest.raises(ValueError, match="order 1 are undefined"):
        NGram(2, smoothing="katz", discount_fallback=False).fit("a b c\n")


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="unknown method 'kat', did you mean katz"):
        NGram(2, smoothing="kat")
    with pytest.raises(ValueError, match="gamma: is an option of lidstone, not of katz"):
        NGram(2, smoothing="katz", gamma=1.0)
    with pytest.raises(ValueError, match="weights: expected 2, one for each order, got 1"):
        NGram(2, smoothing="jelinek_mercer", weights=[0.5])
    with pytest.raises(ValueError, match="held_out: expected text to fit the weights on"):
        NGram(2, smoothing="jelinek_mercer").fit(SMALL)
    with pytest.raises(ValueError, match="held_out: expected none with katz"):
        NGram(2, smoothing="katz").fit(SMALL, held_out=SMALL)
    with pytest.raises(ValueError, match="held_out: expected at least one word"):
        NGram(2, smoothing="jelinek_mercer").fit(SMALL, held_out="")
    with pytest.raises(TypeError, match="held_out: expected texts as the data, got list"):
        NGram(2, smoothing="jelinek_mercer").fit(SMALL, held_out=[[1, 2]])


def test_broken_configurations_are_refused(tmp_path):
    NGram(2, smoothing="lidstone", gamma=0.5).fit(SMALL).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    good = json.loads(path.read_text())
    (tmp_path / "model" / "MANIFEST.json").unlink()
    for change in (
        {"smoothing": "other"},
        {"smoothing": 3},
        {"smoothing_options": {"gamma": -1}},
        {"smoothing_options": {"alpha": 0.4}},
        {"smoothing_options": []},
        {"discount_unigrams": None},
        {"weights": 3},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match="expected the configuration of an NGram"):
            NGram.load(tmp_path / "model")
