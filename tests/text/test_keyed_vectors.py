"""Words and vectors: queries, evaluation and files, against gensim's answers."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.files import FormatError
from lamina.text import KeyedVectors
from lamina.text.correlation import incomplete_beta, ranks

GOLDEN = Path(__file__).parents[1] / "golden" / "word2vec"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf8"))
VECTORS = np.load(GOLDEN / "vectors.npz")["vectors"]


@pytest.fixture
def keyed():
    return KeyedVectors(EXPECTED["words"], VECTORS)


def check_found(got, expected):
    assert [word for word, _ in got] == [word for word, _ in expected]
    np.testing.assert_allclose([x for _, x in got], [x for _, x in expected], atol=2e-6)


def test_most_similar_is_gensims(keyed):
    plus, minus = ["König", "woman"], ["man"]
    check_found(keyed.most_similar(plus, minus, topn=4), EXPECTED["most_similar"])
    weighted = keyed.most_similar([("x", 2.0), "the"], topn=4)
    check_found(weighted, EXPECTED["most_similar_weighted"])
    restricted = keyed.most_similar("x", topn=4, restrict_vocab=5)
    check_found(restricted, EXPECTED["restricted"])
    check_found(keyed.most_similar_cosmul(plus, minus, topn=4), EXPECTED["cosmul"])
    got = keyed.similar_by_vector(VECTORS[3] + VECTORS[5], topn=3)
    check_found(got, EXPECTED["similar_by_vector"])
    check_found(keyed.similar_by_word("x", topn=3), keyed.most_similar(positive="x", topn=3))
    everything = keyed.most_similar("x", topn=None)
    assert everything.shape == (12,)
    assert everything[11] == pytest.approx(1)
    assert len(keyed.most_similar("x", topn=99)) == 11
    assert keyed.most_similar("x", topn=0) == []


def test_similarities_are_gensims(keyed):
    assert keyed.similarity("man", "woman") == pytest.approx(EXPECTED["similarity"], abs=1e-6)
    assert keyed.distance("man", "日本") == pytest.approx(EXPECTED["distance"], abs=1e-6)
    np.testing.assert_allclose(
        keyed.distances("man", ["x", "zero"]), EXPECTED["distances"], atol=1e-6
    )
    assert keyed.distances("man").shape == (12,)
    got = keyed.n_similarity(["man", "x"], ["the", "zero", "🙂"])
    assert got == pytest.approx(EXPECTED["n_similarity"], abs=1e-6)
    words = ["man", "woman", "König", "x"]
    assert keyed.doesnt_match([*words, "unknown"]) == EXPECTED["doesnt_match"]
    assert keyed.rank("man", "x") == EXPECTED["rank"]
    assert keyed.closer_than("man", "x") == EXPECTED["closer_than"]
    mean = keyed.get_mean_vector(["man", "unknown", "x"], weights=[1, 2, -3])
    np.testing.assert_allclose(mean, EXPECTED["mean"], atol=1e-6)
    assert keyed.most_similar_to_given("König", ["man", "Königin"]) == "Königin"


def test_evaluation_is_gensims(keyed):
    pearson, spearman, oov = keyed.evaluate_word_pairs(GOLDEN / "pairs.tsv")
    np.testing.assert_allclose(pearson, EXPECTED["pearson"], atol=1e-6)
    np.testing.assert_allclose(spearman, EXPECTED["spearman"], atol=1e-6)
    assert oov == pytest.approx(EXPECTED["oov"])
    score, sections = keyed.evaluate_word_analogies(GOLDEN / "analogies.txt")
    assert score == EXPECTED["analogies"]
    got = [
        [s["section"], *([list(q) for q in s[k]] for k in ("correct", "incorrect"))]
        for s in sections
    ]
    assert got == EXPECTED["sections"]
    # Unknown words as wrong answers.
    missed, _ = keyed.evaluate_word_analogies(GOLDEN / "analogies.txt", dummy4unknown=True)
    assert missed < score
    _, dummy, share = keyed.evaluate_word_pairs(GOLDEN / "pairs.tsv", dummy4unknown=True)
    assert dummy != spearman
    assert 0 < share < 100


def test_broken_tasks_are_named(keyed):
    with pytest.raises(ValueError, match="expected two known pairs, got 0"):
        keyed.evaluate_word_pairs([])
    with pytest.raises(ValueError, match="line 2: expected two words and a number"):
        keyed.evaluate_word_pairs(["man\twoman\t1", "man\twoman"])
    with pytest.raises(ValueError, match="line 1: expected four words after the name of a section"):
        keyed.evaluate_word_analogies(["a b c d"])
    assert keyed.evaluate_word_analogies([])[0] == 0


def test_access(keyed):
    np.testing.assert_array_equal(keyed["König"], VECTORS[1])
    np.testing.assert_array_equal(keyed[1], VECTORS[1])
    np.testing.assert_array_equal(keyed[["man", "x"]], VECTORS[[3, 11]])
    assert "König" in keyed
    assert "unknown" not in keyed
    assert keyed.key_to_index["x"] == keyed.get_index("x") == 11
    assert keyed.get_index("unknown", -1) == -1
    assert list(keyed) == keyed.index_to_key == EXPECTED["words"]
    np.testing.assert_allclose(np.linalg.norm(keyed.get_normed_vectors(), axis=1), 1, rtol=1e-6)
    assert repr(keyed) == "KeyedVectors(12 words, vector_size=6)"
    before = keyed.similarity("man", "x")
    keyed.vectors = keyed.vectors[::-1]
    assert keyed.similarity("zero", "woman") != before
    assert keyed.get_normed_vectors()[0] == pytest.approx(VECTORS[11] / np.linalg.norm(VECTORS[11]))


def test_bad_queries_are_named(keyed):
    for call in (
        lambda: keyed["unknown"],
        lambda: keyed[12],
        lambda: keyed.most_similar("unknown"),
        lambda: keyed.similarity("man", "unknown"),
        lambda: keyed.get_index("unknown"),
    ):
        with pytest.raises(KeyError, match="is not among the 12 words"):
            call()
    with pytest.raises(ValueError, match="most_similar: expected at least one word"):
        keyed.most_similar()
    with pytest.raises(ValueError, match=r"vector: expected shape \[6\], got \[5\]"):
        keyed.similar_by_vector(np.ones(5))
    with pytest.raises(TypeError, match="topn: expected an integer, got float"):
        keyed.most_similar("x", topn=1.5)
    with pytest.raises(ValueError, match="doesnt_match: expected at least one known word"):
        keyed.doesnt_match(["unknown"])
    with pytest.raises(ValueError, match="words: expected each word once"):
        KeyedVectors(["a", "a"], np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected a row for each of 2 words, got shape \[3, 1\]"):
        KeyedVectors(["a", "b"], np.zeros((3, 1)))


# Files.


@pytest.mark.parametrize(("name", "binary"), [("txt", False), ("bin", True), ("txt.gz", False)])
def test_files_of_gensim_are_read(name, binary):
    path = GOLDEN / f"vectors.{name}"
    keyed = KeyedVectors.load_word2vec_format(path, binary=binary)
    assert keyed.index_to_key == EXPECTED["words"]
    np.testing.assert_allclose(keyed.vectors, VECTORS, rtol=1e-6, atol=1e-6)
    if binary:
        np.testing.assert_array_equal(keyed.vectors, VECTORS)
    few = KeyedVectors.load_word2vec_format(path, binary=binary, limit=3)
    assert few.index_to_key == EXPECTED["words"][:3]
    assert few.vectors.shape == (3, 6)


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.txt.gz", "v.bin.gz", "bare.txt"])
def test_files_come_back(keyed, name, tmp_path):
    binary, header = ".bin" in name, not name.startswith("bare")
    keyed.save_word2vec_format(tmp_path / name, binary=binary, write_header=header)
    back = KeyedVectors.load_word2vec_format(tmp_path / name, binary=binary, no_header=not header)
    assert back.index_to_key == keyed.index_to_key
    np.testing.assert_array_equal(back.vectors, keyed.vectors)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "v.bin":
        assert (tmp_path / name).read_bytes() == (GOLDEN / "vectors.bin").read_bytes()
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes()).startswith(b"12 6\n")


def test_unusual_files(tmp_path):
    path = tmp_path / "v"
    path.write_text("3 1\nNew York 1\na 2\na 3\n")
    keyed = KeyedVectors.load_word2vec_format(path)
    assert keyed.index_to_key == ["New York", "a"]
    assert keyed.vectors.tolist() == [[1], [2]]
    for content, message in [
        ("", "line 1: expected the number of words and their width"),
        ("2 1\na 1\n", "line 3: ends after 1 of 2 words"),
        ("1 2\na 1 b\n", "line 2: expected a number, got 'b'|got \"b\""),
        ("99999999999999 1\n", "ends after 0 of"),
    ]:
        path.write_text(content)
        with pytest.raises(ValueError, match=f"v, {message}|v: {message}|{message}"):
            KeyedVectors.load_word2vec_format(path)
    with pytest.raises(FileNotFoundError):
        KeyedVectors.load_word2vec_format(tmp_path / "missing")
    with pytest.raises(ValueError, match="limit: expected at least 0, got -1"):
        KeyedVectors.load_word2vec_format(path, limit=-1)
    with pytest.raises(ValueError, match='expected words without white space, got "New York"'):
        keyed.save_word2vec_format(path)
    with pytest.raises(IsADirectoryError):
        keyed.save_word2vec_format(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_folders_come_back(keyed, tmp_path):
    for counts in (None, np.arange(12)[::-1]):
        one = KeyedVectors(keyed.index_to_key, keyed.vectors, counts)
        one.save(tmp_path / "model")
        back = KeyedVectors.load(tmp_path / "model")
        assert back.index_to_key == one.index_to_key
        np.testing.assert_array_equal(back.vectors, one.vectors)
        assert (back.counts is None) == (counts is None)
    data = (tmp_path / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model" / "model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(FormatError, match="is damaged"):
        KeyedVectors.load(tmp_path / "model")


WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\r\x0b\x0c"), min_size=1
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(WORDS, min_size=1, max_size=6, unique=True),
    st.integers(1, 5),
    st.booleans(),
    st.data(),
)
def test_any_words_come_back(tmp_path_factory, words, size, binary, data):
    path = tmp_path_factory.mktemp("v") / "v"
    floats = st.floats(width=32, allow_nan=False)
    rows = data.draw(st.lists(floats, min_size=len(words) * size, max_size=len(words) * size))
    keyed = KeyedVectors(words, np.array(rows, np.float32).reshape(len(words), size))
    keyed.save_word2vec_format(path, binary=binary)
    back = KeyedVectors.load_word2vec_format(path, binary=binary)
    assert back.index_to_key == words
    np.testing.assert_array_equal(back.vectors, keyed.vectors)
    keyed.save(path.with_name("folder"))
    assert KeyedVectors.load(path.with_name("folder")).index_to_key == words


def test_statistics():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]
    # Closed forms: uniform, and the arcsine law.
    assert incomplete_beta(1, 1, 0.3) == pytest.approx(0.3)
    assert incomplete_beta(0.5, 0.5, 0.25) == pytest.approx(1 / 3)
    assert incomplete_beta(2, 3, 0.4) == pytest.approx(0.5248)
