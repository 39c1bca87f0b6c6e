import copy
import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina.lm import NGram
from lamina.lm.ngram import QueryTotals, State, TokenScore

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"
KINDS = ["trie", "probing", "compact"]
TEXT = "a b c a b\nb c a\n\nc c a b d\na b\n" * 5


@pytest.fixture(scope="module")
def kenlm():
    return NGram.load_arpa(GOLDEN / "o3.arpa.gz")


@pytest.fixture(scope="module")
def held_out():
    return (GOLDEN / "test.txt").read_text(encoding="utf-8")


@pytest.fixture(params=KINDS)
def model(request):
    with pytest.warns(UserWarning, match="discounts"):
        trie = NGram(3).fit(TEXT)
    return trie.convert(request.param, bits=16)


@pytest.mark.parametrize("kind", ["trie", "probing"])
@pytest.mark.parametrize("name", ["o3", "o3_nointerp", "o5"])
def test_queries_print_what_kenlm_prints(name, kind, held_out):
    model = NGram.load_arpa(GOLDEN / f"{name}.arpa.gz").convert(kind)
    printed, totals = model.query(held_out, detail="sentence")
    assert printed == (GOLDEN / f"{name}.query.txt").read_text(encoding="utf-8")
    sums = [float(line.split()[1]) for line in printed.splitlines()]
    assert totals.log10 == pytest.approx(sum(sums), rel=1e-6)
    assert totals.tokens == len(held_out.split()) + held_out.count("\n")


@pytest.mark.parametrize("kind", ["trie", "probing"])
def test_words_are_those_of_kenlm(kenlm, kind, held_out):
    printed, _ = kenlm.convert(kind).query(held_out, detail="word")
    words = [part for line in printed.splitlines() for part in line.split("\t") if "=" in part]
    golden = (GOLDEN / "o3.query_words_first40.txt").read_text(encoding="utf-8").split("\t")
    golden = [part.strip() for part in golden if part.strip()]
    assert len(golden) > 1000
    assert words[: len(golden)] == golden


def test_probing_is_exact_and_compact_nearly(kenlm, held_out):
    exact = kenlm.log_probs(held_out)
    assert (kenlm.convert("probing").log_probs(held_out) == exact).all()
    worst = []
    for bits in (6, 8, 12, 16):
        small = kenlm.convert("compact", bits=bits)
        error = np.abs(small.log_probs(held_out) - exact).max() / math.log(10)
        assert error <= 3 * small.rounding_error + 1e-6
        worst.append(small.rounding_error)
        assert small.perplexity("i do") == pytest.approx(kenlm.perplexity("i do"), rel=0.5)
    assert worst == sorted(worst, reverse=True)
    assert kenlm.rounding_error == 0


@pytest.mark.parametrize("lazy", [True, False])
def test_binary_files_round_trip(model, tmp_path, lazy):
    path = tmp_path / "model.bin"
    model.save_binary(path, model.kind, bits=16)
    read = NGram.load_binary(path, lazy=lazy)
    assert (read.kind, read.order, read.counts) == (model.kind, model.order, model.counts)
    assert read.vocabulary == model.vocabulary
    assert (read.log_probs(TEXT) == model.log_probs(TEXT)).all()
    assert (read.next_log_probs("a b") == model.next_log_probs("a b")).all()
    assert [child.name for child in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_ids_round_trip(tmp_path, kind):
    ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9] * 3
    model = NGram(3, vocab_size=12, discount_fallback=True)
    with pytest.warns(UserWarning, match="discounts"):
        model.fit(ids)
    model.save_binary(tmp_path / "m", kind, bits=16)
    read = NGram.load_binary(tmp_path / "m")
    assert read.vocab_size == 12
    assert 4 in read
    assert 11 not in read
    np.testing.assert_allclose(read.log_probs(ids), model.log_probs(ids), atol=1e-2)
    log10, state = read.score_word(read.begin_state(), 3)
    assert log10 * math.log(10) == pytest.approx(read.log_probs([3])[0])
    assert state == read.state([3])
    with pytest.raises(TypeError, match="expected an id"):
        read.score_word(state, "3")
    with pytest.raises(ValueError, match="expected ids below 15"):
        read.score_word(state, 12)


def test_words_one_by_one_are_the_sentence(model):
    state, total = model.begin_state(), 0.0
    expected = list(model.full_scores("a b x c"))
    for word, score in zip(["a", "b", "x", "c", "</s>"], expected, strict=True):
        log10, after = model.score_word(state, word)
        out = State()
        assert model.BaseScore(state, word, out) == pytest.approx(score.log10, abs=1e-6)
        assert out == after
        assert hash(out) == hash(after)
        full = model.BaseFullScore(state, word, out)
        assert isinstance(full, TokenScore)
        assert full.log_prob == full.log10
        assert full[1:] == score[1:]
        assert log10 == pytest.approx(score.log10, abs=1e-12)
        state, total = after, total + log10
    assert total == pytest.approx(model.score("a b x c"))


def test_a_state_may_be_written_over_itself(model):
    state = State()
    model.BeginSentenceWrite(state)
    assert state == model.begin_state()
    assert state.words == [1]
    before = copy.copy(state)
    model.BaseScore(state, "a", state)
    assert state == model.score_word(before, "a")[1] == model.state("a")
    model.NullContextWrite(state)
    assert state == model.null_state() == State()
    assert len(state) == 0


def test_states_compare_hash_and_copy(model):
    a, b = model.state("a"), model.state("a b")
    assert a != b
    assert (a < b) != (b < a)
    assert a <= copy.deepcopy(a) >= a
    assert len({a, model.state("a"), copy.copy(a), b}) == 2
    assert a != "a"
    assert repr(State()) == "NGramState(words=[])"
    with pytest.raises(TypeError):
        _ = a < 3


def test_states_forget_what_does_not_matter(model):
    # No n-gram goes on from a word that is unknown.
    assert model.state("a b x") == State() or model.state("a b x").words == [0]
    assert model.state("a b\n") == model.begin_state()


@pytest.mark.parametrize(("bos", "eos"), list(itertools.product([True, False], repeat=2)))
def test_batches_are_sentences(model, bos, eos):
    sentences = ["a b", "", "x", "c a b d a b", "a\nb"]
    batch = model.score_batch(sentences, bos, eos)
    single = [model.score(sentence, bos, eos) for sentence in sentences]
    np.testing.assert_allclose(batch, single, rtol=1e-12, atol=1e-12)
    assert model.score_batch([]).shape == (0,)


words = st.lists(st.sampled_from(["a", "b", "c", "d", "x", "<s>"]), max_size=12)


@settings(max_examples=50, deadline=None)
@given(context=words)
def test_all_forms_sum_to_one_and_agree(context):
    trie, *others = _forms()
    text = " ".join(context)
    expected = trie.next_log_probs(text)
    assert np.exp(expected).sum() == pytest.approx(1, abs=1e-5)
    for form in others:
        np.testing.assert_allclose(form.next_log_probs(text), expected, atol=1e-2)
        log10, _ = form.score_word(form.state(text), "b")
        index = form.vocabulary.index("b")
        assert log10 * math.log(10) == pytest.approx(form.next_log_probs(text)[index])


_MADE = []


def _forms():
    if not _MADE:
        with pytest.warns(UserWarning, match="discounts"):
            trie = NGram(3).fit(TEXT)
        _MADE.extend([trie, trie.convert("probing"), trie.convert("compact", bits=16)])
    return _MADE


def test_any_number_of_threads_gives_the_same_bits(kenlm, held_out):
    before = lamina.num_threads()
    found = []
    try:
        for kind, threads in itertools.product(["probing", "compact"], [1, 2, 3]):
            lamina.set_num_threads(threads)
            model = kenlm.convert(kind)
            found.append((model.log_probs(held_out * 20), model.query(held_out)[1]))
    finally:
        lamina.set_num_threads(before)
    for group in (found[:3], found[3:]):
        for logs, totals in group[1:]:
            assert (logs == group[0][0]).all()
            assert totals == group[0][1]


def test_totals_add_up(model):
    first, second = model.query("a b\nc\n")[1], model.query("x\n")[1]
    both = model.query("a b\nc\nx\n")[1]
    assert (first + second)[2:] == both[2:] == (7, 1)
    assert both.perplexity == pytest.approx(10 ** (-both.log10 / 7))
    known = (both.log10 - both.log10_oov) / 6
    assert both.perplexity_excluding_oov == pytest.approx(10**-known)
    assert math.isnan(QueryTotals(0.0, 0.0, 0, 0).perplexity)
    assert model.query("")[0] == ""
    assert model.query("\n", detail="sentence")[1].tokens == 1
    assert model.query("\n", context=False, detail="sentence")[0] == "Total: 0 OOV: 0\n"


def test_bad_input_is_named(model, tmp_path):
    with pytest.raises(ValueError, match="bits: expected 4 to 16, got 3"):
        model.convert("compact", bits=3)
    with pytest.raises(TypeError, match="bits: expected an integer, got str"):
        model.save_binary(tmp_path / "m", bits="8")
    with pytest.raises(ValueError, match="expected trie, probing or compact, got arpa"):
        model.convert("arpa")
    with pytest.raises(ValueError, match="detail: expected one of"):
        model.query("a", detail="all")
    with pytest.raises(TypeError, match="expected a word or an id, got float"):
        model.score_word(model.begin_state(), 1.5)
    with pytest.raises(ValueError, match="expected ids below"):
        model.score_word(model.begin_state(), 99)
    (tmp_path / "bad").write_bytes(b"LAMINANG" + bytes(100))
    with pytest.raises(ValueError, match=r"bad: expected version 2, got 0"):
        NGram.load_binary(tmp_path / "bad")
    with pytest.raises(FileNotFoundError):
        NGram.load_binary(tmp_path / "none")
    if model.kind != "trie":
        with pytest.raises(ValueError, match="cannot be turned back"):
            model.save_arpa(tmp_path / "m.arpa")
