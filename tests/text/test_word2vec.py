"""Word2Vec and FastText: corpora, options, folders, stopping."""

import gzip
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina import nn
from lamina.files import FormatError
from lamina.text import FastText, KeyedVectors, Word2Vec

GOLDEN = Path(__file__).parents[1] / "golden" / "word2vec"


def test_hashes_are_those_of_fasttext():
    expected = json.loads((GOLDEN / "expected.json").read_text(encoding="utf8"))
    kernels = lamina.text.word2vec._kernels
    for word, hashes in expected["hashes"].items():
        buckets = (1 << 32) - 1
        got = kernels.word2vec_subwords(word, 3, 5, buckets)
        assert got.tolist() == [hash % buckets for hash in hashes]
    # Published values of FNV-1a for plain ASCII.
    assert kernels.word2vec_hash(b"") == 0x811C9DC5
    assert kernels.word2vec_hash(b"foobar") == 0xBF9CF968


def test_the_beginning_is_that_of_gensim():
    expected = json.loads((GOLDEN / "expected.json").read_text(encoding="utf8"))
    model = Word2Vec(vector_size=5, min_count=1, seed=3, sample=1e-2)
    model.build_vocab(expected["sentences"])
    # Words with the same count come in another order.
    assert sorted(model.wv.index_to_key) == sorted(expected["index_to_key"])
    np.testing.assert_allclose(model.wv.vectors, expected["initial"], atol=1e-8)


# Sentences, files, seeds.


def two_topics(rng, sentences=400):
    topics = [[f"{name}{i}" for i in range(6)] for name in ("sea", "city")]
    return [list(rng.choice(topics[i % 2], size=8)) for i in range(sentences)]


@pytest.mark.parametrize(
    "options",
    [{"sg": 1}, {"sg": 0}, {"hs": 1, "negative": 0}, {"sg": 1, "shared_negatives": True}],
    ids=str,
)
@pytest.mark.parametrize("workers", [1, 2])
def test_words_of_a_topic_are_similar(options, workers, rng):
    model = Word2Vec(
        two_topics(rng),
        vector_size=16,
        sample=0,
        epochs=20,
        workers=workers,
        compute_loss=True,
        **options,
    )
    near = model.wv.most_similar("sea0", topn=5)
    assert {word for word, _ in near} == {f"sea{i}" for i in range(1, 6)}
    assert model.losses[-1] < model.losses[0]
    assert len(model.losses) == 20
    assert model.get_latest_training_loss() == sum(model.losses)


def test_a_seed_repeats_with_one_worker(rng):
    sentences = two_topics(rng, 50)
    one, same, other = (
        Word2Vec(sentences, vector_size=8, workers=1, seed=seed, epochs=2).wv.vectors
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_generators_lists_and_files_are_the_same_text(rng, tmp_path):
    sentences = [*two_topics(rng, 50), ["  "], [], ["\u2028", "\u0301", "a\u00a0b"]]
    text = "\n".join(" ".join(s) for s in sentences[:50])
    (tmp_path / "text").write_text(text + "\n", encoding="utf8")
    with gzip.open(tmp_path / "text.gz", "wt", encoding="utf8") as file:
        file.write(text)
    make = {"vector_size": 8, "workers": 1, "epochs": 2, "sample": 0, "min_count": 1}
    listed = Word2Vec(sentences[:50], **make)
    made = Word2Vec((s for s in sentences[:50]), **make)
    np.testing.assert_array_equal(listed.wv.vectors, made.wv.vectors)
    for name in ("text", "text.gz"):
        read = Word2Vec(corpus_file=tmp_path / name, **make)
        assert read.wv.index_to_key == listed.wv.index_to_key
        np.testing.assert_array_equal(read.wv.counts, listed.wv.counts)
        assert (read.corpus_count, read.corpus_total_words) == (50, 400)
        # One block of sentences either way, so even the draws are the same.
        np.testing.assert_array_equal(read.wv.vectors, listed.wv.vectors)
    odd = Word2Vec(sentences, **make)
    for word in ("  ", "\u2028", "\u0301", "a\u00a0b"):
        assert odd.wv[word].shape == (8,)


def test_vocabulary_limits():
    sentences = [["a"] * 5 + ["b"] * 4 + ["c"] * 2 + ["d"] * 2 + ["e"]]

    def words(**options):
        model = Word2Vec(vector_size=2, **options)
        model.build_vocab(sentences)
        return model.wv.index_to_key

    assert words(min_count=2) == ["a", "b", "c", "d"]
    assert words(min_count=1, max_final_vocab=3) == ["a", "b"]
    assert words(min_count=1, max_final_vocab=4) == ["a", "b", "c", "d"]
    assert words(min_count=1, max_vocab_size=4) == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match=r"no word of 14 occurs at least min_count=6 times"):
        words(min_count=6)


@pytest.mark.parametrize("sentences", [[], [[]], [[], []]], ids=str)
def test_an_empty_corpus_is_an_error(sentences, tmp_path):
    with pytest.raises(ValueError, match="Word2Vec: no word of 0 occurs"):
        Word2Vec(sentences)
    (tmp_path / "empty").write_text("\n" * len(sentences))
    with pytest.raises(ValueError, match="no word of 0"):
        Word2Vec(corpus_file=tmp_path / "empty")


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("hs", [0, 1])
def test_one_word_alone(sg, hs):
    model = Word2Vec(
        [["a", "a", "a"], ["a"]], vector_size=3, min_count=1, sg=sg, hs=hs, epochs=1, sample=0
    )
    assert np.isfinite(model.wv.vectors).all()
    used, read = model.train([["b"], ["a", "b", "b"]])
    assert (used, read) == (1, 4)


def test_where_the_learning_rate_ends():
    assert Word2Vec().min_alpha == 0.0025
    assert Word2Vec(alpha=0.5).min_alpha == 0.05
    assert Word2Vec(alpha=0.5, min_alpha=0).min_alpha == 0
    assert FastText(alpha=0.5).min_alpha == FastText().min_alpha == 0.0001


def test_long_sentences_are_cut(tmp_path):
    words = ["a", "b"] * 12_000
    (tmp_path / "text").write_text(" ".join(words))
    for source in ({"sentences": [words]}, {"corpus_file": tmp_path / "text"}):
        model = Word2Vec(**source, vector_size=2, epochs=1, sample=0, workers=1)
        assert model.corpus_total_words == 24_000


BAD = [
    ({"vector_size": 0}, ValueError, r"Word2Vec: vector_size: expected 1 to 1048576, got 0"),
    ({"vector_size": 2.5}, TypeError, r"vector_size: expected an integer, got float"),
    ({"window": 0}, ValueError, r"window: expected 1 to 10000, got 0"),
    ({"negative": -1}, ValueError, r"negative: expected 0 to 10000, got -1"),
    ({"negative": 0}, ValueError, r"expected hs or negative, got neither"),
    (
        {"alpha": float("nan")},
        ValueError,
        r"alpha: expected a finite number of at least 0, got nan",
    ),
    ({"sample": -1}, ValueError, r"sample: expected a finite number of at least 0, got -1"),
    ({"workers": 0}, ValueError, r"workers: expected 1 or more, got 0"),
    ({"epochs": 0}, ValueError, r"epochs: expected 1 or more, got 0"),
    (
        {"shared_negatives": True},
        ValueError,
        r"shared_negatives: expected sg=1 and negative above 0",
    ),
    ({"ns_exponent": float("inf")}, ValueError, r"ns_exponent: expected a finite number, got inf"),
    ({"sentences": "a b c"}, TypeError, r"expected lists of words, got str; a text file is corpus"),
    ({"sentences": ["a b", "c"]}, TypeError, r"sentences: expected lists of words, got a text"),
    ({"sentences": [[1, 2]]}, TypeError, r"sentences: expected words as str, got int"),
    ({"corpus_file": "x"}, TypeError, r"expected either sentences or corpus_file"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=lambda x: str(x)[:40])
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        Word2Vec(**{"sentences": [["a", "b"]], "min_count": 1, **options})


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        Word2Vec(corpus_file=tmp_path / "missing")
    (tmp_path / "latin").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(ValueError, match="latin: is not UTF-8 text"):
        Word2Vec(corpus_file=tmp_path / "latin")
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        Word2Vec().train([["a"]])
    with pytest.raises(ValueError, match="FastText: shared_negatives"):
        FastText(sg=1, shared_negatives=True)


# Going on, folders, callbacks, stopping.


@pytest.mark.parametrize("cls", [Word2Vec, FastText])
@pytest.mark.parametrize("options", [{"sg": 1}, {"hs": 1, "negative": 2}], ids=str)
def test_a_saved_model_goes_on_to_the_same_bits(cls, options, rng, tmp_path):
    sentences = two_topics(rng, 40)
    if cls is FastText:
        options = {**options, "bucket": 300}
    model = cls(sentences, vector_size=7, workers=1, epochs=2, compute_loss=True, **options)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model")
    assert loaded._options() == model._options()
    assert loaded.losses == model.losses
    np.testing.assert_array_equal(loaded.wv.vectors, model.wv.vectors)
    for one in (model, loaded):
        one.train(sentences, epochs=1)
    np.testing.assert_array_equal(loaded.wv.vectors, model.wv.vectors)
    assert loaded.wv.index_to_key == model.wv.index_to_key
    if cls is FastText:
        np.testing.assert_array_equal(loaded.wv["other"], model.wv["other"])
    with pytest.raises(FormatError, match="expected the configuration of a KeyedVectors"):
        KeyedVectors.load(tmp_path / "model")


def test_broken_folders_are_named(rng, tmp_path):
    model = Word2Vec(two_topics(rng, 20), vector_size=4, workers=1, epochs=1)
    folder = tmp_path / "model"
    model.save(folder)
    (folder / "MANIFEST.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    for change, message in [
        ({"vector_size": 5}, r"input: expected float32 of shape \[12, 5\]"),
        ({"vector_size": 0}, "expected 1 to 1048576"),
        ({"hs": 1}, "nodes: expected float32"),
        ({"other": 1}, "other"),
    ]:
        broken = {**config, "options": {**config["options"], **change}}
        (folder / "config.json").write_text(json.dumps(broken))
        with pytest.raises(FormatError, match=message):
            Word2Vec.load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = (folder / "model.safetensors").read_bytes()
    for bytes in (b"", weights[:100], weights[:-5], b"\xff" * 200):
        (folder / "model.safetensors").write_bytes(bytes)
        with pytest.raises(FormatError):
            Word2Vec.load(folder)


def test_callbacks_and_progress(rng):
    calls, seen = [], []
    model = Word2Vec(vector_size=4, workers=1)
    sentences = two_topics(rng, 30)
    model.build_vocab(sentences)

    def after(model, epoch, loss):
        calls.append((epoch, loss, model.wv.vectors.copy()))

    model.train(
        sentences,
        epochs=3,
        callbacks=[after],
        progress=lambda *at: seen.append(at),
        compute_loss=True,
    )
    assert [epoch for epoch, *_ in calls] == [0, 1, 2]
    assert [loss for _, loss, _ in calls] == model.losses
    assert (calls[0][2] != calls[1][2]).any()

    def fail(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.train(sentences, callbacks=[fail])
    with pytest.raises(RuntimeError, match="enough"):
        model.train(two_topics(rng, 4000), epochs=1000, progress=fail)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_training(rng, workers):
    import _thread

    model = Word2Vec(vector_size=50, workers=workers, sg=1, sample=0)
    sentences = two_topics(rng, 4000)
    model.build_vocab(sentences)
    before = model.wv.vectors.copy()
    threading.Timer(0.5, _thread.interrupt_main).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        model.train(sentences, epochs=100_000)
    assert time.perf_counter() - start < 20
    # What was learnt until then counts.
    assert (model.wv.vectors != before).any()


def test_an_embedding_takes_the_vectors(rng):
    model = Word2Vec(two_topics(rng, 20), vector_size=4, epochs=1)
    table = nn.Embedding.from_pretrained(model.wv.vectors)
    np.testing.assert_array_equal(table.weight.data, model.wv.vectors)
    assert not table.weight.requires_grad
    table = nn.Embedding.from_pretrained(model.wv.vectors, freeze=False, padding_idx=-1)
    assert table.weight.requires_grad
    assert table.padding_idx == len(model.wv) - 1
    with pytest.raises(ValueError, match="from_pretrained: embeddings: expected 2 dimensions"):
        nn.Embedding.from_pretrained(np.zeros(3, np.float32))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.text(min_size=1, max_size=3), max_size=9), min_size=1, max_size=9),
    st.integers(0, 1),
    st.integers(0, 1),
)
def test_any_words_can_be_trained(sentences, sg, hs):
    if not any(sentences):
        return
    model = Word2Vec(sentences, vector_size=3, min_count=1, sg=sg, hs=hs, epochs=1, workers=1)
    counted: dict[str, int] = {}
    for word in (word for sentence in sentences for word in sentence):
        counted[word] = counted.get(word, 0) + 1
    assert dict(zip(model.wv.index_to_key, model.wv.counts.tolist(), strict=True)) == counted
    assert sorted(counted.values(), reverse=True) == model.wv.counts.tolist()
    assert np.isfinite(model.wv.vectors).all()
