import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import files, tagging
from lamina.tagging.suffixes import Suffixes, kind

SENTENCES = [
    [("the", "DET"), ("dog", "NOUN"), ("barks", "VERB"), (".", "PUNCT")],
    [("a", "DET"), ("cat", "NOUN"), ("sleeps", "VERB"), (".", "PUNCT")],
    [("the", "DET"), ("cat", "NOUN"), ("quickly", "ADV"), ("runs", "VERB"), (".", "PUNCT")],
    [("dogs", "NOUN"), ("run", "VERB"), ("slowly", "ADV"), (".", "PUNCT")],
    [("Paris", "PROPN"), ("sleeps", "VERB"), ("calmly", "ADV"), (".", "PUNCT")],
    [("London", "PROPN"), ("runs", "VERB"), ("madly", "ADV"), (".", "PUNCT")],
]


@pytest.fixture
def tagger():
    return tagging.HMMTagger().fit(SENTENCES)


@pytest.mark.parametrize("order", [2, 3])
def test_it_learns(order):
    tagger = tagging.HMMTagger(order).fit(SENTENCES)
    assert tagger.score(SENTENCES) == 1
    np.testing.assert_allclose(tagger.weights.sum(), 1)
    assert (tagger.weights[2] == 0) == (order == 2)
    assert "dog" in tagger
    assert "bird" not in tagger


def test_unknown_words(tagger):
    found = tagger.tag([["The", "cat", "gladly", "runs", "."], ["Berlin", "sleeps", "."]])
    assert found == [["DET", "NOUN", "ADV", "VERB", "PUNCT"], ["PROPN", "VERB", "PUNCT"]]


def test_odd_sentences(tagger):
    assert tagger.tag([]) == []
    assert tagger.tag([[], ["dog"], []]) == [[], ["NOUN"], []]
    assert len(tagger.tag([["", "\0", "é", "x" * 1000]])[0]) == 4
    single = tagging.HMMTagger().fit([[("a", "X")]])
    assert single.tag([["a", "b"]]) == [["X", "X"]]


def test_probabilities_of_tags(tagger):
    for word in ("dog", "happily", "Rome", "3rd", "--", "e-mail", "USA", ""):
        np.testing.assert_allclose(tagger._suffixes.tags(word).sum(), 1)
    np.testing.assert_allclose(np.exp(tagger._trans).sum(2) + np.exp(tagger._end), 1)


def test_kinds():
    words = ("3rd", "--", "e-mail", "USA", "A", "Rome", "dog", "")
    assert [kind(word) for word in words] == [
        "digit", "sign", "hyphen", "upper", "title", "title", "lower", "sign",
    ]  # fmt: skip


def test_suffix_by_hand():
    sizes = np.array([3.0, 1.0])
    model = Suffixes(1).fit([("ab", np.array([2.0, 0.0])), ("cd", np.array([0.0, 1.0]))], sizes)
    base = sizes / 4
    theta = base.std(ddof=1)
    none = (np.array([2, 1]) / 3 + theta * base) / (1 + theta)
    np.testing.assert_allclose(model.tags("xb"), (np.array([1, 0]) + theta * none) / (1 + theta))
    np.testing.assert_allclose(model.tags("xy"), none)
    np.testing.assert_allclose(model.tags("12"), base)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_best_path(seed):
    rng = np.random.default_rng(seed)
    words, tags = "abc", "XYZ"
    data = [
        [(words[rng.integers(3)], tags[rng.integers(3)]) for _ in range(rng.integers(1, 6))]
        for _ in range(8)
    ]
    tagger = tagging.HMMTagger(int(rng.integers(2, 4))).fit(data)
    sentence = [words[i] for i in rng.integers(0, 3, 4)]
    size = len(tagger.tags)

    def worth(path):
        u = v = size
        total = 0.0
        for word, tag in zip(sentence, path, strict=True):
            total += tagger._trans[u, v, tag] + tagger._emission(word)[tag]
            u, v = v, tag
        return total + tagger._end[u, v]

    best = max(worth(path) for path in itertools.product(range(size), repeat=4))
    found = [tagger.tags.index(tag) for tag in tagger.tag([sentence])[0]]
    if np.isfinite(best):
        np.testing.assert_allclose(worth(found), best)


def test_save_and_load(tagger, tmp_path):
    tagger.save(tmp_path / "a")
    again = tagging.HMMTagger.load(tmp_path / "a")
    words = [["The", "cat", "gladly", "runs", "."], ["Berlin", "sleeps", "."]]
    assert again.tag(words) == tagger.tag(words)
    assert again.tags == tagger.tags
    (tmp_path / "a" / "MANIFEST.json").unlink()
    for name in ("config.json", "model.safetensors"):
        path = tmp_path / "a" / name
        content = path.read_bytes()
        for cut in range(0, len(content), 11):
            path.write_bytes(content[:cut])
            with pytest.raises(files.FormatError):
                tagging.HMMTagger.load(tmp_path / "a")
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tagging.HMMTagger(4), ValueError, "order: expected 2 or 3, got 4"),
        (lambda: tagging.HMMTagger(max_suffix=0), ValueError, "max_suffix: expected a positive"),
        (lambda: tagging.HMMTagger().fit([[]]), ValueError, "expected at least one word, got none"),
        (lambda: tagging.HMMTagger().tag([["a"]]), RuntimeError, "not fitted yet"),
        (
            lambda: tagging.HMMTagger().fit(SENTENCES).tag(["the dog"]),
            TypeError,
            "expected lists of words, got str",
        ),
        (
            lambda: tagging.HMMTagger().fit([[("a", str(i)) for i in range(256)]]),
            ValueError,
            "expected at most 255 tags, got 256",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
