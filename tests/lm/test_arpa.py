import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from lamina.lm import NGram
from lamina.text import CharTokenizer

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"
CASES = [("o2", 2, True), ("o3", 3, True), ("o5", 5, True), ("o3_nointerp", 3, False)]
TINY = """
\\data\\
ngram 1=4
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>\t0
0\t<s>\t-0.25
-0.5\t</s>\t0
-0.75\ta\t-0.125

\\2-grams:
-0.5\t<s> a\t-0.5
-0.25\ta </s>\t0
-1\ta a\t-0.25

\\3-grams:
-0.125\t<s> a </s>

\\end\\
"""


def entries(path):
    """Probability and back-off weight of each n-gram in an ARPA file."""
    found = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1:
                assert fields[1] not in found
                found[fields[1]] = [float(x) for x in (fields[0], *fields[2:])]
    return found


def write(tmp_path, text):
    path = tmp_path / "model.arpa"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("name", "order", "interpolate"), CASES)
def test_estimates_are_those_of_kenlm(tmp_path, name, order, interpolate):
    text = (GOLDEN / "train.txt").read_text(encoding="utf-8")
    model = NGram(order, interpolate_unigrams=interpolate, discount_fallback=False).fit(text)
    model.save_arpa(tmp_path / "model.arpa.gz")
    ours, theirs = entries(tmp_path / "model.arpa.gz"), entries(GOLDEN / f"{name}.arpa.gz")
    assert ours.keys() == theirs.keys()
    assert len(ours) == sum(model.counts)
    assert all(len(ours[ngram]) == len(numbers) for ngram, numbers in theirs.items())
    got = [number for ngram in theirs for number in ours[ngram]]
    np.testing.assert_allclose(got, [x for xs in theirs.values() for x in xs], rtol=0, atol=1e-5)


def test_kenlm_files_are_read_and_written_unchanged(tmp_path):
    model = NGram.load_arpa(GOLDEN / "o3.arpa.gz")
    model.save_arpa(tmp_path / "again.arpa.gz")
    assert entries(tmp_path / "again.arpa.gz") == entries(GOLDEN / "o3.arpa.gz")
    lines = (GOLDEN / "test.txt").read_text(encoding="utf-8").splitlines()
    expected = (GOLDEN / "o3.query.txt").read_text(encoding="utf-8").splitlines()
    for line, fields in zip(lines, map(str.split, expected), strict=True):
        assert abs(model.score(line) - float(fields[1])) < 1e-4


@pytest.mark.filterwarnings("ignore:NGram")
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("suffix", [".arpa", ".arpa.gz"])
def test_round_trip(tmp_path, order, suffix):
    text = "ein Mäuschen läuft\nein Haus läuft nicht\n\nläuft ein Haus\n"
    model = NGram(order).fit(text)
    path = tmp_path / f"model{suffix}"
    model.save_arpa(path)
    assert path.read_bytes().startswith(b"\x1f\x8b") == (suffix == ".arpa.gz")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    again = NGram.load_arpa(path)
    assert again.order == order
    assert again.counts == model.counts
    assert again.vocabulary == model.vocabulary
    for context in ["", "ein", "das Haus", "läuft ein"]:
        np.testing.assert_array_equal(again.next_log_probs(context), model.next_log_probs(context))


@pytest.mark.filterwarnings("ignore:NGram")
def test_folders(tmp_path):
    words = NGram(2, interpolate_unigrams=False).fit("a b\nb a a\n")
    words.save(tmp_path / "words")
    again = NGram.load(tmp_path / "words")
    assert again.order == 2
    assert again.discounts == words.discounts
    assert not again.interpolate_unigrams
    np.testing.assert_array_equal(again.next_log_probs("a"), words.next_log_probs("a"))
    ids = NGram(3, vocab_size=7).fit([[0, 1, 2, 1], [5, 0, 1]])
    ids.save(tmp_path / "ids")
    again = NGram.load(tmp_path / "ids")
    assert again.vocab_size == 7
    assert 3 not in again
    np.testing.assert_allclose(again.next_log_probs([0]), ids.next_log_probs([0]), atol=1e-6)
    text = "to be or not to be"
    tokenizer = CharTokenizer.train(text)
    letters = NGram(3, tokenizer=tokenizer).fit(text)
    letters.save(tmp_path / "letters")
    again = NGram.load(tmp_path / "letters")
    assert again.tokenizer.encode("tob").tolist() == tokenizer.encode("tob").tolist()
    np.testing.assert_allclose(again.log_probs(text), letters.log_probs(text), atol=1e-6)
    (tmp_path / "ids" / "MANIFEST.json").unlink()
    for broken in ["{", "[]", json.dumps({"class": "GPT"}), json.dumps({"class": "NGram"})]:
        (tmp_path / "ids" / "config.json").write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match=r"config\.json"):
            NGram.load(tmp_path / "ids")


def test_fields_of_a_small_file(tmp_path):
    model = NGram.load_arpa(write(tmp_path, TINY))
    assert model.counts == [4, 3, 1]
    assert model.score("a") == pytest.approx(-0.5 - 0.125)
    assert model.score("a a") == pytest.approx(-0.5 + (-0.5 - 1) + (-0.25 - 0.25))
    assert [s.ngram_length for s in model.full_scores("a b")] == [2, 1, 1]


@pytest.mark.parametrize(
    "lenient",
    [
        TINY.replace("\n", "\r\n"),
        TINY.replace("\t", " "),
        "a comment\n" + TINY,
        TINY.replace("\t0\n", "\n"),
        TINY.replace("<unk>", "<UNK>"),
        TINY.replace("<s>", "<S>").replace("</s>", "</S>"),
        TINY.replace("ngram 1=4", "ngram 1 = 4"),
        TINY.replace("ngram ", "ngram\t"),
        TINY.replace("ngram ", "NGRAM "),
        "\ufeff" + TINY.lstrip(),
        "\ufeff" + TINY,
        TINY.replace("0\t<s>", "1\t<s>"),
        TINY.replace("-1\ta a\t-0.25\n", "").replace("-0.5\t<s> a", "-1\ta a\t-0.25\n-0.5\t<s> a"),
    ],
)
def test_lenient_reading(tmp_path, lenient):
    expected = NGram.load_arpa(write(tmp_path, TINY)).next_log_probs("a")
    np.testing.assert_array_equal(
        NGram.load_arpa(write(tmp_path, lenient)).next_log_probs("a"), expected
    )


def test_missing_pieces_are_filled_in(tmp_path):
    # Some toolkits drop n-grams that longer ones begin or end with.
    pruned = TINY.replace("ngram 2=3", "ngram 2=1").replace("-0.25\ta </s>\t0\n", "")
    pruned = pruned.replace("-0.5\t<s> a\t-0.5\n", "")
    model = NGram.load_arpa(write(tmp_path, pruned))
    assert model.counts == [4, 1, 1]
    assert model.score("a") == pytest.approx((-0.25 - 0.75) - 0.125)
    assert [s.ngram_length for s in model.full_scores("a")] == [1, 3]
    model.save_arpa(tmp_path / "again.arpa")
    assert (tmp_path / "again.arpa").read_text().split() == pruned.split()
    unknown = TINY.replace("ngram 1=4", "ngram 1=3").replace("-1.5\t<unk>\t0\n", "")
    assert NGram.load_arpa(write(tmp_path, unknown)).score("b", False, False) == -100


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "\\date\\", "the file ends before"),
        ("ngram 1=4", "ngram 1=99999999999", r"line 3: expected fewer than 4294967295 n-grams"),
        ("ngram 1=4", "ngram 1=4000000000", r"line 13: expected a number, 1 words"),
        ("ngram 1=4", "ngram 1=5", "line 13: expected a number, 1 words"),
        ("ngram 1=4", "ngram 1=3", r"line 11: expected .2-grams:, got .*a.*-0.125"),
        ("ngram 1=4", "ngram 1=x", "line 3: expected ngram N=COUNT"),
        ("ngram 2=3", "ngram 3=3", "line 4: expected order 2, got 3"),
        ("ngram 2=3", "ngram 1000000=3", "line 4: order 1000000 is above the highest, 20"),
        ("\\2-grams:", "\\4-grams:", r"line 13: expected .2-grams:"),
        ("-0.75\ta", "nan\ta", 'line 11: expected a finite number, got "nan"'),
        ("-0.75\ta", "inf\ta", 'line 11: expected a finite number, got "inf"'),
        ("-0.75\ta", "0.5\ta", "line 11: the logarithm of a probability is positive: 0.5"),
        ("-0.75\ta", "-0.75\t</s>", 'line 11: "</s>" comes twice'),
        ("a a\t", "a b\t", 'line 16: "b" is not among the 1-grams'),
        ("a a\t", "a </s>\t", '"a </s>" comes twice'),
        ("a a\t", "a a a\t", "line 16: expected a number, 2 words and at most one more number"),
        ("a a\t-0.25", "a a\tinf", "line 16: expected a finite number"),
        ("-0.5\t<s> a", "0.5\t<s> a", "line 14: the logarithm of a probability is positive: 0.5"),
        ("-0.125\t<s>", "1\t<s>", "line 19: the logarithm of a probability is positive: 1"),
        ("ngram 2=3", "ngrams 2=3", "line 4: expected ngram N=COUNT"),
        ("0\t<s>\t-0.25", "-1\tb", "line 11: expected <s> among the 1-grams"),
        ("-0.5\t</s>\t0", "-1\tb", "line 11: expected </s> among the 1-grams"),
        ("-0.75\ta\t", "-0.75\t<S>\t", 'line 11: "<s>" comes twice'),
        ("\\end\\", "", r"line 22: the file ends before .end."),
        ("\\end\\", "\\fin\\", r"expected .end., got"),
        ("a comment", "", ""),
    ],
)
def test_broken_files_are_refused(tmp_path, old, new, message):
    if not message:
        path = write(tmp_path, TINY.encode().replace(b"<unk>", b"\xff\xfe"))
        message = "line 8: not UTF-8"
    else:
        path = write(tmp_path, TINY.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        NGram.load_arpa(path)
    assert str(caught.value).startswith(str(path))


def test_long_lines_missing_files_and_wrong_ids(tmp_path):
    with pytest.raises(ValueError, match="line 1: longer than 1048576 bytes"):
        NGram.load_arpa(write(tmp_path, "x" * 2_000_000))
    with pytest.raises(ValueError, match='line 11: "a" is not an id below 5'):
        NGram.load_arpa(write(tmp_path, TINY), vocab_size=5)


def test_errors_of_the_system_keep_their_kind(tmp_path):
    model = NGram.load_arpa(write(tmp_path, TINY))
    missing, folder = tmp_path / "none" / "model.arpa", tmp_path / "folder"
    folder.mkdir()
    for use in (NGram.load_arpa, model.save_arpa):
        with pytest.raises(FileNotFoundError, match=r"none.*model\.arpa") as caught:
            use(missing)
        assert caught.value.errno == errno.ENOENT
        assert caught.value.filename == str(missing)
        assert caught.value.strerror == os.strerror(errno.ENOENT)
    if os.name == "posix":
        for use in (NGram.load_arpa, model.save_arpa):
            with pytest.raises(IsADirectoryError, match="folder"):
                use(folder)
        with pytest.raises(NotADirectoryError):
            NGram.load_arpa(tmp_path / "model.arpa" / "below")
    with pytest.raises(IsADirectoryError, match="expected the name of a file"):
        model.save_arpa("..")
    with pytest.raises(FileNotFoundError, match="expected the name of a file"):
        model.save_arpa("")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "model.arpa"]


def test_damaged_bytes_never_crash(tmp_path, rng):
    plain = TINY.encode()
    for whole in (plain, gzip.compress(plain)):
        for cut in range(0, len(whole), 3):
            with pytest.raises((ValueError, OSError)):
                NGram.load_arpa(write(tmp_path, whole[: len(whole) - 8 - cut]))
        for _ in range(300):
            damaged = bytearray(whole)
            for at in rng.integers(0, len(whole), rng.integers(1, 4)):
                damaged[at] = rng.integers(0, 256)
            try:
                model = NGram.load_arpa(write(tmp_path, bytes(damaged)))
            except (ValueError, OSError):
                continue
            assert np.isfinite(model.score("a a b"))


@pytest.mark.filterwarnings("ignore:NGram")
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("ids", [[0, 1, 2, 1, 0, 2, 2], [0, 1, 3, 1, 0, 3, 3]])
def test_files_of_ids_have_the_words_that_others_ask_for(tmp_path, order, ids):
    model = NGram(order, vocab_size=4 if 3 in ids else 3).fit(ids)
    path = tmp_path / "model.arpa"
    model.save_arpa(path)
    lines = path.read_text().split("\\2-grams:")[0].splitlines()
    words = {fields[1]: fields[0] for fields in (line.split("\t") for line in lines) if fields[1:]}
    assert {"<unk>", "<s>", "</s>"} < words.keys()
    assert words["</s>"] == "-99"
    assert lines[1] == f"ngram 1={len(words)}"
    # Read back, they are again no part of the model.
    again = NGram.load_arpa(path, vocab_size=model.vocab_size)
    assert again.counts == model.counts
    assert [id in again for id in range(4)] == [id in model for id in range(4)]
    for context in ([], [0], [1, 2 if 2 in ids else 3]):
        logs = again.next_log_probs(context)
        np.testing.assert_allclose(logs, model.next_log_probs(context), atol=1e-5)
        assert abs(np.exp(logs).sum() - 1) < 1e-5
    again.save_arpa(tmp_path / "again.arpa")
    assert (tmp_path / "again.arpa").read_text() == path.read_text()


@pytest.mark.filterwarnings("ignore:NGram")
def test_folders_keep_how_the_model_was_asked_for(tmp_path):
    inferred = NGram(2, discount_fallback=(0.4, 0.8, 1.2)).fit([0, 1, 2, 1])
    inferred.save(tmp_path / "inferred")
    again = NGram.load(tmp_path / "inferred")
    assert again.vocab_size == 3
    again.fit([0, 1, 7])
    assert again.vocab_size == 8
    assert again.discounts == [(0.4, 0.8, 1.2)] * 2
    text = (GOLDEN / "train.txt").read_text(encoding="utf-8")
    NGram(2, discount_fallback=False).fit(text).save(tmp_path / "strict")
    with pytest.raises(ValueError, match="the discounts of order 1 are undefined"):
        NGram.load(tmp_path / "strict").fit("a b\n")
    fixed = NGram(2, vocab_size=3).fit([0, 1, 2, 1])
    fixed.save(tmp_path / "fixed")
    with pytest.raises(ValueError, match="expected ids below 3, got 7"):
        NGram.load(tmp_path / "fixed").fit([0, 1, 7])
    # Folders of earlier versions do not say.
    config = json.loads((tmp_path / "inferred" / "config.json").read_text())
    del config["inferred"], config["discount_fallback"]
    (tmp_path / "inferred" / "config.json").write_text(json.dumps(config))
    (tmp_path / "inferred" / "MANIFEST.json").unlink()
    assert NGram.load(tmp_path / "inferred").fit([0, 1, 2]).discounts == [(0.5, 1.0, 1.5)] * 2


@pytest.mark.filterwarnings("ignore:NGram")
def test_a_folder_in_no_folder(tmp_path):
    model = NGram(1).fit("a b\n")
    model.save(tmp_path / "none" / "model")
    assert NGram.load(tmp_path / "none" / "model").order == 1
