import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import _kernels
from lamina.files import FormatError
from lamina.text import (
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
    shakespeare,
)

TEXT = "To be, or not to be,\nthat is the question:\n" * 30


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train(TEXT, 280, special_tokens=["<|endoftext|>", "<a b>"])


@pytest.fixture(scope="module")
def whole():
    """As a BPE tokenizer, from a pre-tokenizer that forbids cutting texts into pieces."""
    tokenizer = BPETokenizer.train(shakespeare()[:100_000], 600)
    rules = json.loads(tokenizer.to_json())
    rules["normalizer"] = {"type": "Strip", "strip_left": False, "strip_right": False}
    return tokenizer, Tokenizer.from_json(json.dumps(rules))


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_bpe_gives_every_text_back(text):
    tokenizer = test_bpe_gives_every_text_back.tokenizer
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert tokenizer.decode(ids) == text


test_bpe_gives_every_text_back.tokenizer = BPETokenizer.train(
    TEXT, 280, special_tokens=["<|endoftext|>", "<a b>"]
)


@given(st.text(alphabet="ab \n\t\r\u00a0\u2028'sé", max_size=60))
@settings(deadline=None)
def test_char_gives_known_characters_back(text):
    tokenizer = CharTokenizer.train("ab \n\t\r\u00a0\u2028'sé")
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_bpe_has_dense_ids_and_learns_merges(bpe):
    assert sorted(bpe.vocab().values()) == list(range(bpe.vocab_size)) == list(range(280))
    assert bpe.token_to_id("<|endoftext|>") == 0
    assert bpe.id_to_token(1) == "<a b>"
    assert bpe.id_to_token(280) is None
    assert bpe.id_to_token(-1) is None
    assert bpe.token_to_id("nothing like it") is None
    assert len(bpe.encode(TEXT)) < len(TEXT) / 2
    assert bpe.encode("<|endoftext|>be<a b>").tolist()[0] == 0
    assert bpe.decode(bpe.encode("<|endoftext|>be<a b>")) == "<|endoftext|>be<a b>"
    assert bpe.decode(bpe.encode("<|endoftext|>be"), skip_special_tokens=True) == "be"


def test_bpe_of_a_text_and_of_its_lines_are_the_same():
    whole = BPETokenizer.train(TEXT, 320)
    lines = BPETokenizer.train((line for line in TEXT.splitlines(keepends=True)), 320)
    assert whole.to_json() == lines.to_json() == BPETokenizer.train(TEXT, 320).to_json()


def test_bpe_of_tiny_shakespeare_stays_the_same():
    vocab = BPETokenizer.train(shakespeare(), 1024).vocab()
    text = json.dumps(sorted(vocab, key=vocab.__getitem__))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "b91b2e875d821402"


@pytest.mark.parametrize("length", [1, 255, 256, 257, 100_000])
def test_bpe_of_one_long_run_counts_it_in_parts(length):
    vocab = BPETokenizer.train("a" * length, 1024).vocab()
    longest = max(map(len, vocab))
    assert longest <= 256
    assert len(vocab) == 256 + longest.bit_length() - 1


def test_parts_of_a_long_run_end_between_characters():
    # 85 characters are a part: no token has the end of one character and the start of another.
    text = "\u6f22" * 85 + "\u5b57" * 85
    tokens = BPETokenizer.train(text, 1024, min_frequency=1)
    pieces = [tokens.decode([id]) for id in range(256, tokens.vocab_size)]
    assert any("\u6f22\u6f22" in piece for piece in pieces)
    assert not any("\u6f22" in piece and "\u5b57" in piece for piece in pieces)


@pytest.mark.parametrize(
    "gap", ["\n", "\n\n", " \n", "\n ", "\t\n", "\u2028\n", "\r\n", "\n\u00a0"]
)
def test_pieces_do_not_change_ids(whole, gap):
    fast, slow = whole
    text = gap.join(shakespeare()[:60_000].splitlines())
    np.testing.assert_array_equal(fast.encode(text), slow.encode(text))


def test_batches_equal_single_texts(bpe):
    texts = ["", "to be", TEXT, "\u2603" * 5, "\n"]
    for ids, text in zip(bpe.encode_batch(texts), texts, strict=True):
        np.testing.assert_array_equal(ids, bpe.encode(text))
    assert bpe.encode_batch([]) == []
    assert bpe.encode("").shape == (0,)
    assert bpe.decode([]) == ""


def test_bpe_refuses_what_it_cannot_do(bpe):
    with pytest.raises(ValueError, match="vocab_size: expected at least 256, got 255"):
        BPETokenizer.train(TEXT, 255)
    with pytest.raises(ValueError, match="text: expected some text, got none"):
        BPETokenizer.train(["", ""], 300)
    with pytest.raises(ValueError, match="special_tokens: expected different ASCII texts, got ''"):
        BPETokenizer.train(TEXT, 300, special_tokens=[""])
    with pytest.raises(TypeError, match="text: expected str, got int"):
        BPETokenizer.train(["a", 3], 300)
    with pytest.raises(ValueError, match="half of a surrogate pair at character 1"):
        bpe.encode("a\ud800")
    with pytest.raises(TypeError, match="expected several texts, got one str"):
        bpe.encode_batch("abc")
    with pytest.raises(ValueError, match="below 280, got 280"):
        bpe.decode([1, 280])
    with pytest.raises(ValueError, match="got -1"):
        bpe.decode([-1])
    with pytest.raises(TypeError, match="1-d integer array, got 1-d float64"):
        bpe.decode([0.5])
    with pytest.raises(ValueError, match="vocab_size: expected 256 to 4294967295, got 9"):
        _kernels.Tokenizer.train_bpe(["a"], 9, [], 0)


def test_char_ids_are_those_of_sorted_characters_and_unknown_is_last():
    tokenizer = CharTokenizer.train("hello")
    assert tokenizer.encode("hole").tolist() == [1, 3, 2, 0]
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode("hé<unk>").tolist() == [1, 4, 4, 4, 4, 4, 4]
    assert tokenizer.decode([1, 4]) == "h\ufffd"
    assert tokenizer.decode([1, 4], skip_special_tokens=True) == "h"
    assert tokenizer.encode("\ud800").tolist() == [4]
    with pytest.raises(ValueError, match="below 5, got 5"):
        tokenizer.decode([5])
    with pytest.raises(ValueError, match="expected some text"):
        CharTokenizer.train("")


def test_char_array_path_equals_the_rules_in_its_file():
    text = shakespeare()[:20_000] + "é\u2603\r\n\x0b"
    tokenizer = CharTokenizer.train(text[:-4])
    rules = Tokenizer(_kernels.Tokenizer.from_json(tokenizer.to_json()))
    np.testing.assert_array_equal(tokenizer.encode(text), rules.encode(text))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == rules.decode(ids)


def test_words():
    tokenizer = WordTokenizer.train("a b a\n b\ta c <unk>", vocab_size=4)
    assert [tokenizer.id_to_token(i) for i in range(4)] == ["<unk>", "a", "b", "\n"]
    assert tokenizer.encode("a  c b\n\na").tolist() == [1, 0, 2, 3, 3, 1]
    assert tokenizer.decode([1, 0, 2, 3, 3, 1]) == "a <unk> b\n\na"
    assert WordTokenizer.train("a b a", min_frequency=2).vocab_size == 2
    with pytest.raises(ValueError, match="vocab_size: expected at least 2"):
        WordTokenizer.train("a", 1)


@pytest.mark.parametrize("cls", [BPETokenizer, CharTokenizer, WordTokenizer])
@pytest.mark.parametrize("name", ["", "own.json"])
def test_files_give_the_same_tokenizer_back(tmp_path, cls, name):
    tokenizer = cls.train(TEXT)
    path = tmp_path / name if name else tmp_path / "folder"
    assert tokenizer.save(path).is_file()
    for reader in (Tokenizer, cls):
        again = reader.from_pretrained(path)
        assert type(again) is cls
        np.testing.assert_array_equal(again.encode(TEXT + "é"), tokenizer.encode(TEXT + "é"))
        assert again.to_json() == tokenizer.to_json()
    other = {BPETokenizer: CharTokenizer}.get(cls, BPETokenizer)
    with pytest.raises(FormatError, match=f"expected a {other.__name__}, got a {cls.__name__}"):
        other.from_pretrained(path)


def test_padding_and_truncation_are_kept_but_not_carried_out():
    rules = json.loads(CharTokenizer.train("abc").to_json())
    rules["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    rules["padding"] = {
        "strategy": {"Fixed": 1 << 60},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "a",
    }
    tokenizer = Tokenizer.from_json(json.dumps(rules))
    assert tokenizer.encode("abcabc").tolist() == [0, 1, 2, 0, 1, 2]
    again = json.loads(tokenizer.to_json())
    assert again["truncation"] == rules["truncation"]
    assert again["padding"]["strategy"] == rules["padding"]["strategy"]


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Tokenizer.from_pretrained(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer\.json"):
        Tokenizer.from_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    for content, reason in [
        (b"", "EOF while parsing"),
        (b"\xff", "is not UTF-8 text: bad byte at offset 0"),
        (b'{"model": ' + b"[" * 100_000, "recursion limit"),
        (b'{"version": "2.0"}', "Unknown tokenizer version"),
        (b'{"version": "1.0"}', "Model missing"),
    ]:
        file.write_bytes(content)
        with pytest.raises(FormatError, match=rf"tokenizer\.json: .*{reason}") as caught:
            Tokenizer.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [BPETokenizer, CharTokenizer, WordTokenizer])
def test_damaged_files_never_crash(rng, cls, capfd):
    text = cls.train(TEXT).to_json().encode()
    for trial in range(150):
        data = bytearray(text)
        if trial % 3 == 0:
            del data[rng.integers(len(data)) :]
        else:
            for at in rng.integers(0, min(len(data), 1500), rng.integers(1, 4)):
                data[at] = rng.integers(256)
        try:
            tokenizer = Tokenizer.from_json(bytes(data).decode())
            tokenizer.decode(tokenizer.encode("to be, or not\n"))
            tokenizer.to_json()
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert capfd.readouterr().err == ""


def test_a_panic_of_the_crate_is_an_error(capfd):
    rules = json.loads(WordTokenizer.train(TEXT).to_json())
    rules["pre_tokenizer"] = {"type": "FixedLength", "length": 0}
    tokenizer = Tokenizer.from_json(json.dumps(rules))
    with pytest.raises(ValueError, match=r"encode: .*chunk size must be non-zero"):
        tokenizer.encode("to be")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("wrong", [b"ab", None, 7])
def test_characters_are_those_of_a_str(wrong):
    tokenizer = CharTokenizer.train("ab")
    message = f"text: expected str, got {type(wrong).__name__}"
    with pytest.raises(TypeError, match=message):
        tokenizer.encode(wrong)
    with pytest.raises(TypeError, match=message):
        tokenizer.encode_batch(["a", wrong])
