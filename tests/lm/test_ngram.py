import collections
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina import _kernels, num_threads, set_num_threads
from lamina.lm import NGram, evaluate
from lamina.text import WordTokenizer

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"
SMALL = "the cat sat on the mat\nthe dog sat on the cat\n\na cat and a dog\nthe end\n"


class Letters:
    vocab_size = 27

    def token_to_id(self, token):
        return {" ": 0}.get(token)

    def encode(self, text):
        return np.array([0 if c == " " else ord(c) - 96 for c in text], np.int64)

    def decode(self, ids):
        return "".join(" " if i == 0 else chr(96 + i) for i in ids)


def small(order=3, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NGram(order, **options).fit(SMALL)


@pytest.fixture(scope="module")
def golden():
    text = (GOLDEN / "train.txt").read_text(encoding="utf-8")
    models = {}
    for order, interpolate in [(2, True), (3, True), (5, True), (3, False)]:
        model = NGram(order, interpolate_unigrams=interpolate, discount_fallback=False)
        models[order, interpolate] = model.fit(text)
    return models


def count_plain(ids, order):
    return collections.Counter(zip(*(ids[i:] for i in range(order)), strict=False))


# Counting.


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6, 20])
@pytest.mark.parametrize("size", [1, 3, 200, 100_000])
def test_count_matches_counter(rng, order, size):
    ids = np.minimum(rng.geometric(20 / (size + 20), 3000) - 1, size - 1).astype(np.uint32)
    ngrams, counts = _kernels.ngram_count(ids, order)
    assert ngrams.dtype == np.uint32
    assert counts.dtype == np.int64
    expected = sorted(count_plain(ids.tolist(), order).items())
    assert list(zip(map(tuple, ngrams.tolist()), counts.tolist(), strict=True)) == expected


def test_count_of_many_equal_and_of_few():
    ngrams, counts = _kernels.ngram_count(np.full(100_000, 7, np.uint32), 3)
    assert ngrams.tolist() == [[7, 7, 7]]
    assert counts.tolist() == [99_998]
    for length in range(3):
        ngrams, counts = _kernels.ngram_count(np.zeros(length, np.uint32), 3)
        assert ngrams.shape == (0, 3)
        assert counts.shape == (0,)


def test_count_takes_any_strides(rng):
    ids = rng.integers(0, 9, 2000).astype(np.uint32)
    expected = _kernels.ngram_count(ids[::2].copy(), 2)
    for got, wanted in zip(_kernels.ngram_count(ids[::2], 2), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_count_refuses():
    with pytest.raises(ValueError, match=r"\[ngram_count\] order: expected 1 to 20, got 21"):
        _kernels.ngram_count(np.zeros(3, np.uint32), 21)
    with pytest.raises(TypeError, match="ids: expected 1-d uint32 array, got 1-d int64"):
        _kernels.ngram_count(np.zeros(3, np.int64), 2)


# KenLM.


@pytest.mark.parametrize("name", ["o3", "o5", "o3_nointerp"])
def test_sentence_totals_are_those_of_kenlm(golden, name):
    model = golden[int(name[1]), "nointerp" not in name]
    lines = (GOLDEN / "test.txt").read_text(encoding="utf-8").splitlines()
    expected = (GOLDEN / f"{name}.query.txt").read_text(encoding="utf-8").splitlines()
    for line, fields in zip(lines, map(str.split, expected), strict=True):
        assert abs(model.score(line) - float(fields[1])) < 1e-4
        assert sum(score.oov for score in model.full_scores(line)) == int(fields[3])


def test_matched_lengths_are_those_of_kenlm(golden):
    lines = (GOLDEN / "test.txt").read_text(encoding="utf-8").splitlines()
    text = (GOLDEN / "o3.query_words_first40.txt").read_text(encoding="utf-8")
    fields = text.split("Total:")[0].replace("\t", " ").split()
    words = zip(fields[0::3], fields[1::3], fields[2::3], strict=False)
    checked = 0
    for line in lines:
        tokens = [*line.split(), "</s>"]
        for token, score in zip(tokens, golden[3, True].full_scores(line), strict=True):
            word = next(words, None)
            if word is None or not word[0].rpartition("=")[2].isdigit():
                break
            name, _, id = word[0].rpartition("=")
            assert name == token
            assert score.oov == (id == "0")
            assert score.ngram_length == int(word[1])
            assert abs(score.log10 - float(word[2])) < 1e-4
            checked += 1
    assert checked > 3000


@pytest.mark.parametrize("key", [(2, True), (3, True), (5, True), (3, False)])
def test_golden_models_sum_to_one(golden, key, rng):
    model = golden[key]
    text = (GOLDEN / "test.txt").read_text(encoding="utf-8")
    ids = model.tokenizer.encode(text)
    for end in rng.integers(0, len(ids), 100):
        logs = model.next_log_probs(ids[:end])
        assert logs.shape == (model.vocab_size,)
        assert abs(np.exp(logs).sum() - 1) < 1e-6


def test_chain_rule_and_blocks(golden):
    model = golden[5, True]
    text = (GOLDEN / "test.txt").read_text(encoding="utf-8")
    logs = model.log_probs(text)
    ids = np.append(model.tokenizer.encode(text[:-1]), 2)
    assert len(logs) == len(ids) == len(text.split()) + len(text.splitlines())
    np.testing.assert_array_equal(model.log_probs(ids), logs)
    for at in range(0, len(ids), 37):
        assert abs(model.next_log_probs(ids[:at])[ids[at]] - logs[at]) < 1e-12
    totals = [model.score(line) for line in text.splitlines()]
    assert abs(logs.sum() / math.log(10) - sum(totals)) < 1e-6


# A textbook estimate.


def kneser_ney(sentences, order, discounts):
    """Probability of a word after a context, by the equations and dictionaries."""
    raw = collections.Counter()
    for sentence in sentences:
        words = ["<s>", *sentence, "</s>"]
        for n in range(1, order + 1):
            raw.update(zip(*(words[i:] for i in range(n)), strict=False))
    adjusted = collections.Counter()
    for ngram, count in raw.items():
        if len(ngram) == order or ngram[0] == "<s>":
            adjusted[ngram] = count
        if len(ngram) > 1:
            adjusted[ngram[1:]] += 1 if ngram[1] != "<s>" else 0
    del adjusted[("<s>",)]
    words = {w for s in sentences for w in s} | {"<unk>", "</s>"}

    def discount(ngram):
        return discounts[len(ngram) - 1][min(adjusted[ngram], 3) - 1]

    def prob(context, word):
        if context and raw[tuple(context)] == 0:
            return prob(context[1:], word)
        found = [g for g in adjusted if len(g) == len(context) + 1 and g[:-1] == tuple(context)]
        if not found:
            return prob(context[1:], word)
        total = sum(adjusted[g] for g in found)
        lower = prob(context[1:], word) if context else 1 / len(words)
        own = (*context, word)
        mine = adjusted[own] - discount(own) if adjusted[own] else 0
        return mine / total + sum(map(discount, found)) / total * lower

    return prob, sorted(words)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_matches_the_equations(order):
    model = small(order)
    sentences = [line.split() for line in SMALL.splitlines()]
    prob, words = kneser_ney(sentences, order, model.discounts)
    contexts = [
        (),
        ("the",),
        ("sat", "on"),
        ("the", "dog", "sat"),
        ("zebra", "the"),
        ("a", "zebra"),
    ]
    for context in contexts:
        logs = model.next_log_probs(" ".join(context))
        full = ("<s>", *(word if word in words else "<unk>" for word in context))
        for word in words:
            expected = prob(list(full)[-(order - 1) :] if order > 1 else [], word)
            got = math.exp(logs[model.vocabulary.index(word)])
            assert abs(got - expected) < 1e-6, (context, word)


@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=6), min_size=1, max_size=12),
    st.integers(1, 6),
    st.booleans(),
    st.lists(st.sampled_from("abcdez"), max_size=7),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:NGram")
def test_words_sum_to_one(sentences, order, interpolate, context):
    text = "".join(" ".join(sentence) + "\n" for sentence in sentences)
    model = NGram(order, interpolate_unigrams=interpolate).fit(text)
    logs = model.next_log_probs(" ".join(context))
    assert abs(np.exp(logs).sum() - 1) < 1e-6
    line = " ".join(context)
    assert abs(model.log_probs(line).sum() - model.score(line) * math.log(10)) < 1e-9 or not line


@given(
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=30), min_size=1, max_size=3),
    st.integers(1, 20),
    st.integers(8, 12),
    st.booleans(),
    st.lists(st.integers(0, 7), max_size=25),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore:NGram")
def test_ids_sum_to_one(data, order, size, interpolate, context):
    model = NGram(order, vocab_size=size, interpolate_unigrams=interpolate).fit(data)
    logs = model.next_log_probs(context)
    assert logs.shape == (size,)
    assert abs(np.exp(logs).sum() - 1) < 1e-6
    np.testing.assert_allclose(model.log_probs([*context, 3])[-1], logs[3], rtol=0, atol=1e-12)


# Ways of use.


def test_lines_words_and_names():
    model = small()
    assert model.order == 3
    assert model.vocabulary[:5] == ["<unk>", "<s>", "</s>", "the", "cat"]
    assert "cat" in model
    assert model.vocabulary.index("cat") in model
    assert "zebra" not in model
    assert "<unk>" not in model
    assert None not in model
    assert model.counts[0] == len(model.vocabulary) == model.vocab_size
    assert model.num_parameters == sum(model.counts) + sum(model.counts[:2])
    scores = list(model.full_scores("the zebra"))
    assert [score.oov for score in scores] == [False, True, False]
    assert [score.ngram_length for score in scores] == [2, 1, 1]
    assert model.score("the cat") == pytest.approx(
        sum(s.log10 for s in model.full_scores("the cat"))
    )
    assert model.perplexity("the cat") == pytest.approx(10 ** (-model.score("the cat") / 3))
    without_end = model.score("the cat", eos=False)
    assert without_end > model.score("the cat")
    assert model.score("the cat", bos=False, eos=False) != without_end
    assert model.oov_mass("the zebra") == pytest.approx(1 / 3)
    assert model.log_probs("").shape == (0,)
    assert model.log_probs("\n").shape == (1,)
    assert model.tokenizer.decode(model.tokenizer.encode("the cat\na dog")) == "the cat\na dog"
    assert repr(model) == f"NGram(order=3, counts={model.counts})"
    assert repr(NGram(2)) == "NGram(order=2)"


def test_texts_may_come_in_pieces():
    whole, pieces = small(), NGram(3)
    with pytest.warns(UserWarning, match="NGram"):
        pieces.fit(line + "\n" for line in SMALL.splitlines())
    np.testing.assert_array_equal(whole.next_log_probs("the"), pieces.next_log_probs("the"))


def test_context_is_the_last_line():
    model = small()
    np.testing.assert_array_equal(
        model.next_log_probs("a dog\nthe cat"), model.next_log_probs("the cat")
    )
    np.testing.assert_array_equal(model.next_log_probs("the cat\n"), model.next_log_probs())
    assert model.next_log_probs()[1] == -np.inf


@pytest.mark.filterwarnings("ignore:NGram")
def test_tokenizer():
    text = "in a hole in the ground there lived a hobbit"
    model = NGram(4, tokenizer=Letters()).fit(text)
    assert model.vocab_size == 27
    assert model.eos_token_id is None
    logs = model.next_log_probs("the ")
    assert logs.shape == (27,)
    assert abs(np.exp(logs).sum() - 1) < 1e-6
    # Letters that training lacks share what the unknown letter would get.
    unseen = [i for i in range(27) if i not in set(Letters().encode(text))]
    assert len(set(logs[unseen])) == 1
    assert model.log_probs("hobbit").shape == (6,)
    np.testing.assert_array_equal(
        model.log_probs("hobbit"), model.log_probs(Letters().encode("hobbit"))
    )
    assert "hobbit" in model
    assert "z" not in model
    assert model.oov_mass("zhz") == pytest.approx(2 / 3)
    assert [score.oov for score in model.full_scores("zh")] == [True, False]
    assert model.vocabulary[:3] == [" ", "a", "b"]
    assert model.tokenizer.decode([1, 2]) == "ab"
    assert model.perplexity("hobbit") == pytest.approx(10 ** (-model.score("hobbit") / 6))


@pytest.mark.filterwarnings("ignore:NGram")
def test_ids_agree_with_words():
    ids = [0, 1, 2, 0, 1, 3, 3, 0, 1, 2, 2, 0, 3, 1, 1, 4, 0, 1, 4]
    by_id = NGram(3, vocab_size=6).fit(ids)
    inferred = NGram(3).fit(np.array(ids))
    assert inferred.vocab_size == 5
    assert inferred.fit([[5, 1], [1, 2]]).vocab_size == 6
    assert by_id.tokenizer.encode("1 2").tolist() == [1, 2]
    text = " ".join(f"w{i}" for i in ids)
    by_word = NGram(3).fit(text)
    # The end of a sentence is all that the streams differ in.
    assert by_id.counts[0] == by_word.counts[0] - 1
    for context in [[0, 1], [2], [3, 3, 0]]:
        by_name = by_word.next_log_probs(" ".join(f"w{i}" for i in context))
        ranks = np.argsort(-by_id.next_log_probs(context)[:5])
        assert by_word.vocabulary[3 + np.argmax(by_name[3:])] == f"w{ranks[0]}"


@pytest.mark.filterwarnings("ignore:NGram")
def test_all_ids_seen_leaves_nothing_for_others():
    for interpolate in (True, False):
        model = NGram(2, vocab_size=3, interpolate_unigrams=interpolate).fit([0, 1, 2, 1, 0, 0, 2])
        assert abs(np.exp(model.next_log_probs([1])).sum() - 1) < 1e-6
        assert abs(np.exp(model.next_log_probs([])).sum() - 1) < 1e-6


@pytest.mark.filterwarnings("ignore:NGram")
def test_literal_unknown_words_are_counted():
    model = NGram(2).fit("a <unk> b\n<unk> a\n")
    assert model.next_log_probs("a")[0] > math.log(0.2)
    assert model.full_scores("<unk>").__next__().oov


def test_order_one_and_order_twenty(tmp_path):
    model = small(1)
    logs = model.log_probs("the cat\n")
    np.testing.assert_array_equal(model.next_log_probs("the"), model.next_log_probs())
    assert logs.shape == (3,)
    text = (
        " ".join(f"w{i % 23}" for i in range(400)) + "\n" + " ".join("abcdefghijklmnopqrstuvwxyz")
    )
    with pytest.warns(UserWarning, match=r"order 20 \(no 20-gram has a count of 2\)"):
        long = NGram(20).fit(text)
    assert len(long.counts) == 20
    assert max(score.ngram_length for score in long.full_scores(text.splitlines()[0])) == 20
    long.save_arpa(tmp_path / "long.arpa")
    again = NGram.load_arpa(tmp_path / "long.arpa")
    np.testing.assert_array_equal(long.log_probs(text), again.log_probs(text))


def test_unseen_contexts_back_off():
    model = small()
    np.testing.assert_allclose(
        model.next_log_probs("zebra zebra"), model.next_log_probs("zebra"), rtol=0, atol=1e-12
    )


def test_discount_fallback():
    with pytest.raises(ValueError, match=r"the discounts of order 1 are undefined .no 1-gram"):
        NGram(2, discount_fallback=False).fit("a b\n")
    with pytest.warns(UserWarning, match=r"order 2 .no 2-gram has a count of 2") as caught:
        model = NGram(2, discount_fallback=(0.4, 0.8, 1.2)).fit("a b\n")
    assert len(caught) == 1
    assert "(0.4, 0.8, 1.2) are used there; more text or a lower order" in str(caught[0].message)
    assert model.discounts == [(0.4, 0.8, 1.2)] * 2
    for wrong in [(1, 2), (0.5, 1, 3.5), (-1, 1, 1)]:
        with pytest.raises(ValueError, match="discount_fallback: expected three numbers"):
            NGram(2, discount_fallback=wrong)


@pytest.mark.filterwarnings("ignore:NGram")
def test_one_word_and_empty_lines():
    for text in ["a", "\n", "\n\n\n", "a\n\n", "a a a a"]:
        model = NGram(3).fit(text)
        assert abs(np.exp(model.next_log_probs("a a")).sum() - 1) < 1e-6
        assert math.isfinite(model.score("b a"))


@pytest.mark.filterwarnings("ignore:NGram")
def test_empty_corpora_and_bad_arguments():
    for data in ["", [], [""], np.zeros(0, np.int64)]:
        with pytest.raises(ValueError, match="empty corpus"):
            NGram(2).fit(data)
    for order in (0, 21, -1):
        with pytest.raises(ValueError, match=f"NGram: order: expected 1 to 20, got {order}"):
            NGram(order)
    with pytest.raises(TypeError, match="order: expected an integer, got float"):
        NGram(2.0)
    with pytest.raises(ValueError, match="vocab_size: expected 1 to 16777216, got 0"):
        NGram(2, vocab_size=0)
    with pytest.raises(ValueError, match="give only one of them"):
        NGram(2, tokenizer=Letters(), vocab_size=27)
    with pytest.raises(RuntimeError, match="not fitted yet"):
        NGram(2).score("a")
    with pytest.raises(ValueError, match="text, line 2: the word <s> is reserved"):
        NGram(2).fit("a\nb <s>\n")
    with pytest.raises(ValueError, match="expected ids below 3, got 3"):
        NGram(2, vocab_size=3).fit([1, 3])
    with pytest.raises(ValueError, match="expected 0 to 16777215, got -1 to 3"):
        NGram(2, vocab_size=9).fit([-1, 3])
    with pytest.raises(ValueError, match="expected integers"):
        NGram(2, vocab_size=9).fit([[0.5]])
    with pytest.raises(TypeError, match="data: expected texts or ids, got int"):
        NGram(2).fit(7)
    model = small()
    with pytest.raises(ValueError, match=r"ids: expected 0 to \d+, got 999"):
        model.log_probs([999])
    with pytest.raises(ValueError, match="the id of <s>, which is never predicted"):
        model.log_probs([3, 1])
    with pytest.raises(ValueError, match="expected at least one token"):
        NGram(1, vocab_size=2).fit([0, 1, 1, 1, 0]).perplexity("")


def test_more_ids_than_there_is_room_for_are_refused():
    huge = 4_000_000_000
    message = "NGram: ids: expected 0 to 16777215, got 1 to 4000000000"
    for data in (np.array([1, 2, huge]), [1, 2, huge], [[1, 2], [1, huge]]):
        with pytest.raises(ValueError, match=message):
            NGram(2).fit(data)
    for size in (huge, 2**24 + 1):
        message = f"vocab_size: expected 1 to 16777216, got {size}"
        with pytest.raises(ValueError, match=message):
            NGram(2, vocab_size=size)
        with pytest.raises(ValueError, match=message):
            NGram.load_arpa("none.arpa", vocab_size=size)
    method = NGram(2)._smoothing.kernel(precise=False)
    with pytest.raises(ValueError, match=r"\[ngram\] vocab_size: expected at most 16777216, got"):
        _kernels.ngram_estimate_ids(np.array([1, 3], np.uint32), huge, 2, method, None)
    with pytest.raises(ValueError, match=r"text: expected ids from 0 to 16777215, .* '16777216'"):
        NGram(2, vocab_size=2**24).tokenizer.encode("1 16777216")
    large = Letters()
    large.vocab_size = 2**25
    with pytest.raises(ValueError, match="vocab_size: expected 1 to 16777216, got 33554432"):
        NGram(2, tokenizer=large)


@pytest.mark.filterwarnings("ignore:NGram")
def test_words_of_ids_are_not_stored():
    model = NGram(2).fit(np.array([1, 2, 1_000_000]))
    assert model.vocab_size == 1_000_001
    assert [id in model for id in (0, 1, 2, 3, 999_999, 1_000_000, 1_000_001, -1)] == [
        *(False, True, True, False, False, True, False, False)
    ]
    assert "1000000" in model
    assert model.oov_mass("1 5 7 1000000") == 0.5
    assert abs(np.exp(model.next_log_probs([1])).sum() - 1) < 1e-6


@pytest.mark.filterwarnings("ignore:NGram")
def test_the_unknown_token_is_out_of_the_vocabulary():
    tokenizer = WordTokenizer.train(SMALL, 5)
    model = NGram(2, tokenizer=tokenizer).fit(SMALL)
    assert tokenizer.token_to_id("<unk>") == 0
    assert 0 not in model
    assert "cat" in model
    assert "zebra" not in model
    assert model.oov_mass("the zebra\n") == pytest.approx(1 / 3)
    assert [score.oov for score in model.full_scores("the zebra")] == [False, True]
    assert evaluate(model, "zebra the").oov_mass == 0.5
    every = NGram(2, tokenizer=WordTokenizer.train("a b")).fit("a b a b a")
    assert every.oov_mass("a b") == 0
    assert every.oov_mass("a z") == 0.5


@pytest.mark.filterwarnings("ignore:NGram")
def test_unclear_data_is_named():
    assert NGram(np.int64(3)).fit("a b\n").order == 3
    with pytest.raises(TypeError, match="order: expected an integer, got bool"):
        NGram(True)
    with pytest.raises(TypeError, match="vocab_size: expected an integer, got float"):
        NGram(2, vocab_size=2.5)
    with pytest.raises(TypeError, match="NGram: data: expected texts after the first, got list"):
        NGram(2).fit(["a", [1, 2]])
    ids = NGram(2, vocab_size=9).fit([1, 2, 1])
    message = "NGram: text: expected ids from 0 to 8, in decimal and apart by white space, got "
    for text, word in [("1 é", "'é'"), ("-1", "'-1'"), ("9", "'9'"), ("٣", "'٣'")]:
        with pytest.raises(ValueError, match=message + word):
            ids.generate(text)
    with pytest.raises(ValueError, match=message + "'a'"):
        NGram(2, vocab_size=9).fit(["a"])


@pytest.mark.filterwarnings("ignore:NGram")
def test_empty_lines_come_back():
    model = NGram(2).fit("a b\nb\n\na\n")
    for text in ["a\n\nb", "a\n", "\na", "\n\n\n", "a b\n\n\nb a\nb", ""]:
        assert model.tokenizer.decode(model.tokenizer.encode(text)) == text


def test_words_go_on_after_a_space_or_a_line_break(golden):
    model = golden[3, True]
    options = {"max_new_tokens": 5, "seed": 3}
    after = model.generate("before we", **options).removeprefix("before we ")
    assert model.generate("before we ", **options) == f"before we {after}"
    assert not model.generate("before we\n", **options).removeprefix("before we\n").startswith(" ")


def test_the_number_of_threads_changes_nothing(golden):
    text = (GOLDEN / "train.txt").read_text(encoding="utf-8")
    before = num_threads()
    try:
        logs = []
        for threads in (1, 3):
            set_num_threads(threads)
            logs.append(NGram(4).fit(text).log_probs(text))
    finally:
        set_num_threads(before)
    np.testing.assert_array_equal(*logs)


def test_generation_goes_on_to_the_end_of_the_line(golden):
    model = golden[3, True]
    assert model.eos_token_id == 2
    assert model.unk_token_id == 0
    text = model.generate("before we", max_new_tokens=40, seed=3)
    assert text.startswith("before we ")
    assert text == model.generate("before we", max_new_tokens=40, seed=3)
    assert "\n" not in text
    best = model.generate("first", max_new_tokens=2, do_sample=False)
    words = best.split()
    for at in range(1, len(words)):
        logs = model.next_log_probs(" ".join(words[:at]))
        assert model.vocabulary[int(logs.argmax())] == words[at]


def test_evaluation_counts_the_ends_of_lines(golden):
    text = (GOLDEN / "test.txt").read_text(encoding="utf-8")
    result = evaluate(golden[3, True], text)
    assert result.tokens == 3607
    assert result.oov_mass == pytest.approx(golden[3, True].oov_mass(text))
    assert 50 < result.perplexity < 500
