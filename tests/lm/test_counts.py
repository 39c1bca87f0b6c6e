import collections
import gzip
import itertools
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import _kernels, num_threads, set_num_threads
from lamina.lm import NGram, NGramCounts
from lamina.lm.ngram.counts import parse_memory, read_corpus

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"


def read_arpa(path):
    """Logarithms by n-gram: of the probability and of the back-off weight."""
    found = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1:
                found[fields[1]] = (float(fields[0]), float(fields[2]) if fields[2:] else 0.0)
    return found


@pytest.mark.parametrize("memory", [None, "1M"])
@pytest.mark.parametrize(
    ("name", "prune"), [("o2", ()), ("o3_prune011", (0, 1)), ("o3_prune011", (0, 1, 1)), ("o5", ())]
)
def test_models_are_those_of_lmplz(tmp_path, name, prune, memory):
    corpus = read_corpus(GOLDEN / "train.txt", memory=memory, temp=tmp_path)
    order = int(name[1])
    method, held_out = NGram(order, discount_fallback=False).method(corpus)
    model, _, _, undefined = corpus.estimate(order, method, prune, held_out)
    assert not undefined
    model.save_arpa(tmp_path / "model.arpa.gz")
    got, expected = read_arpa(tmp_path / "model.arpa.gz"), read_arpa(GOLDEN / f"{name}.arpa.gz")
    assert got.keys() == expected.keys()
    for ngram, (prob, backoff) in expected.items():
        # lmplz writes <s>, which is never predicted, as it likes.
        assert ngram == "<s>" or abs(got[ngram][0] - prob) < 1e-5, ngram
        assert abs(got[ngram][1] - backoff) < 1e-5, ngram
    assert os.listdir(tmp_path) == ["model.arpa.gz"]


def test_pruned_totals_are_those_of_kenlm():
    model = NGramCounts.count(GOLDEN / "train.txt", 3).estimate(prune=(0, 1, 1))
    lines = (GOLDEN / "test.txt").read_text(encoding="utf-8").splitlines()
    expected = (GOLDEN / "o3_prune011.query.txt").read_text(encoding="utf-8").splitlines()
    for line, fields in zip(lines, map(str.split, expected), strict=True):
        assert abs(model.score(line) - float(fields[1])) < 1e-4
        assert sum(score.oov for score in model.full_scores(line)) == int(fields[3])


def test_every_way_gives_the_same_bits(tmp_path):
    text = GOLDEN / "train.txt"
    NGram(5).fit(text.read_text(encoding="utf-8")).save_arpa(tmp_path / "fit.arpa")
    threads = num_threads()
    method, _ = NGram(5).method(_kernels.NGramText())
    try:
        for number in (1, 3):
            set_num_threads(number)
            for memory in (None, "1M"):
                corpus = read_corpus(text, memory=memory, temp=tmp_path)
                corpus.estimate(5, method, (), None)[0].save_arpa(tmp_path / "got.arpa")
                assert (tmp_path / "got.arpa").read_bytes() == (tmp_path / "fit.arpa").read_bytes()
                corpus = read_corpus(text, memory=memory, temp=tmp_path)
                corpus.estimate_to_file(5, method, (), None, tmp_path / "model.bin", False)
                NGram.load_binary(tmp_path / "model.bin").save_arpa(tmp_path / "got.arpa")
                assert (tmp_path / "got.arpa").read_bytes() == (tmp_path / "fit.arpa").read_bytes()
    finally:
        set_num_threads(threads)


def test_shards_merge_to_the_whole(tmp_path):
    lines = (GOLDEN / "train.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    cuts = [0, len(lines) // 3, len(lines) // 2, len(lines)]
    shards = []
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        NGramCounts.count("".join(lines[start:end]), 3).save(tmp_path / f"{number}.counts")
        shards.append(NGramCounts.load(tmp_path / f"{number}.counts"))
    merged = shards[0].merge(*shards[1:])
    whole = NGramCounts.count(GOLDEN / "train.txt", 3)
    assert merged.vocabulary == whole.vocabulary
    assert list(merged) == list(whole)
    for prune in ((), (0, 1, 2)):
        merged.estimate(prune=prune).save_arpa(tmp_path / "merged.arpa")
        whole.estimate(prune=prune).save_arpa(tmp_path / "whole.arpa")
        assert (tmp_path / "merged.arpa").read_bytes() == (tmp_path / "whole.arpa").read_bytes()


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=10),
    st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_a_counter(sentences, order):
    counts = NGramCounts.count("".join(" ".join(words) + "\n" for words in sentences), order)
    plain = collections.Counter()
    for words in sentences:
        marked = ["<s>", *words, "</s>"]
        for length in range(1, order + 1):
            plain.update(zip(*(marked[i:] for i in range(length)), strict=False))
    for ngram, count in plain.items():
        assert counts[ngram] == count
    assert counts[("a",) * (order + 1)] == 0
    assert counts["zebra"] == 0
    assert sum(count for _, count in counts) == sum(len(words) + 2 for words in sentences)


def test_files_are_read_as_texts_are(tmp_path):
    text = "a b c\n\nc  a\tb\r\nlast line"
    (tmp_path / "plain.txt").write_bytes(text.encode())
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(text.encode()))
    expected = list(NGramCounts.count(text, 2))
    assert list(NGramCounts.count(tmp_path / "plain.txt", 2)) == expected
    assert list(NGramCounts.count(tmp_path / "packed.txt.gz", 2)) == expected
    (tmp_path / "symbols.txt").write_text("a <s> b c\n\n</s> c a b\nlast <unk> line")
    assert list(NGramCounts.count(tmp_path / "symbols.txt", 2, skip_symbols=True)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected at least one word"),
        (b"a\nb <s>\n", "line 2: the word <s> is reserved"),
        (b"a\n\nb \xff\n", "line 3: is not UTF-8"),
    ],
)
def test_bad_texts_are_named(tmp_path, content, message):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        NGramCounts.count(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        NGramCounts.count(tmp_path / "nowhere")
    with pytest.raises(TypeError, match="expected str or Path, got int"):
        NGramCounts.count([3])


def test_bad_options_are_named(tmp_path):
    counts = NGramCounts.count("a b\n", 2)
    for prune, message in [
        ((1,), "expected 0 for single words, got 1"),
        ((0, 2, 1), "expected at most 2 thresholds, got 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            counts.estimate(prune=prune)
    with pytest.raises(ValueError, match="expected thresholds that do not fall"):
        NGramCounts.count("a b\n", 3).estimate(prune=(0, 2, 1))
    with pytest.raises(ValueError, match="order: expected 1 to 20, got 21"):
        NGramCounts.count("a", 21)
    with pytest.raises(ValueError, match="expected order 2, got 3"):
        counts.merge(NGramCounts.count("a", 3))
    with pytest.raises(FileNotFoundError):
        NGramCounts.count(GOLDEN / "train.txt", memory="1M", temp=tmp_path / "nowhere")
    counts.save(tmp_path / "counts")
    with pytest.raises(ValueError, match="expected a model, got counts of n-grams"):
        NGram.load_binary(tmp_path / "counts")


def test_memory_is_a_size():
    assert parse_memory("200M") == 200 << 20
    assert parse_memory("1.5g") == 3 << 29
    assert parse_memory(1 << 20) == 1 << 20
    assert parse_memory("50%") > 1 << 20
    for size in ("", "much", "-1G", "10", "1Q"):
        with pytest.raises(ValueError, match="memory: expected"):
            parse_memory(size)


def test_a_text_may_be_asked_for_its_length_while_it_is_estimated():
    corpus = _kernels.NGramText()
    corpus.add((GOLDEN / "train.txt").read_text(encoding="utf-8"))
    method, _ = NGram(5).method(corpus)
    estimate = threading.Thread(target=lambda: corpus.estimate(5, method, (), None), daemon=True)
    estimate.start()
    while estimate.is_alive():
        len(corpus)
        time.sleep(0.001)
    assert len(corpus) == 0
