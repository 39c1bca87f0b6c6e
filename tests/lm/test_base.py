import numpy as np
import pytest

from lamina import text
from lamina.lm import LanguageModel, evaluate


class Characters:
    """Ids of single characters; others are unknown."""

    def __init__(self, alphabet, **special):
        self.alphabet = alphabet
        self.special = special
        self.vocab_size = len(alphabet)

    def encode(self, text):
        known = {c: i for i, c in enumerate(self.alphabet)}
        return np.array([known.get(c, self.token_to_id("<unk>")) for c in text], np.int64)

    def token_to_id(self, token):
        return self.special.get(token)

    def decode(self, ids):
        return "".join(self.alphabet[i] for i in ids)


class Bytes:
    """Ids of bytes, so that one character may take several tokens."""

    vocab_size = 256

    def encode(self, text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def decode(self, ids):
        return bytes(ids).decode("utf-8", "replace")


class Unigram(LanguageModel):
    """Fixed probabilities, whatever came before."""

    num_parameters = 0
    tokenizer = None

    def __init__(self, tokenizer, probs=None):
        self.tokenizer = tokenizer
        size = tokenizer.vocab_size
        with np.errstate(divide="ignore"):
            self.table = np.log(np.full(size, 1 / size) if probs is None else np.asarray(probs))

    def fit(self, *_, **__):
        return self

    def log_probs(self, text):
        return self.table[self._ids(text)]

    def next_log_probs(self, _=""):
        return self.table

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder):
        raise NotImplementedError


class Scripted(Unigram):
    """Says the same thing after any prompt."""

    def __init__(self, tokenizer, prompt, answer):
        super().__init__(tokenizer)
        self.prompt, self.answer = tokenizer.encode(prompt), tokenizer.encode(answer)

    def next_log_probs(self, context=""):
        table = np.full(self.tokenizer.vocab_size, -50.0)
        table[self.answer[len(context) - len(self.prompt)]] = 0.0
        return table


def test_uniform_model_costs_log2_of_the_vocabulary():
    model = Unigram(Characters("abcdefgh"))
    result = evaluate(model, "abba" * 5)
    assert (result.tokens, result.bytes, result.oov_mass) == (20, 20, 0.0)
    np.testing.assert_allclose(result.cross_entropy, np.log(8))
    np.testing.assert_allclose(result.perplexity, 8)
    np.testing.assert_allclose(result.bits_per_byte, 3)
    assert result.seconds >= 0


def test_measures_by_hand():
    # Two characters of two bytes each, probabilities 1/2 and 1/4: three bits over four bytes.
    model = Unigram(Characters("éà?", **{"<unk>": 2}), [0.5, 0.25, 0.25])
    result = evaluate(model, "éà")
    np.testing.assert_allclose(result.bits_per_byte, 3 / 4)
    np.testing.assert_allclose(result.perplexity, np.sqrt(8))
    assert evaluate(model, "éàxé").oov_mass == 0.25


def test_an_impossible_token_costs_infinity():
    result = evaluate(Unigram(Characters("ab"), [1, 0]), "ab")
    assert (result.cross_entropy, result.perplexity) == (np.inf, np.inf)


def test_no_text_is_no_measure():
    with pytest.raises(ValueError, match="evaluate: text: expected at least one token, got none"):
        evaluate(Unigram(Characters("ab")), "")


def test_generation_returns_prompt_and_continuation():
    model = Scripted(Bytes(), "Say: ", "naïve 語.")
    heard = []
    text = model.generate("Say: ", max_new_tokens=11, do_sample=False, stream=heard.append)
    assert text == "Say: naïve 語."
    assert heard == ["n", "a", "ï", "v", "e", " ", "語", "."]


def test_incomplete_character_comes_last():
    model = Scripted(Bytes(), "a", "語")
    heard = []
    assert model.generate("a", max_new_tokens=2, top_k=1, stream=heard.append) == "a\ufffd"
    assert heard == ["\ufffd"]


def test_the_end_token_is_not_text():
    model = Scripted(Characters("ab.", **{"</s>": 2}), "a", "ba.b")
    assert model.generate("a", temperature=0) == "aba"


def test_the_seed_decides():
    model = Unigram(Characters("abcdefgh"))
    assert model.generate(seed=3) == model.generate(seed=3)
    assert model.generate(seed=3) != model.generate(seed=4)
    assert len(model.generate("abc", max_new_tokens=7)) == 10
    assert set(model.generate(seed=5, top_k=2)) == {"a", "b"}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0.5], r"Unigram: ids: expected integers \[L\], got float64 of shape \(1,\)"),
        ([[1]], r"Unigram: ids: expected integers \[L\], got int64 of shape \(1, 1\)"),
        ([0, 9], "Unigram: ids: expected 0 to 1, got 0 to 9"),
        ([-1], "Unigram: ids: expected 0 to 1, got -1 to -1"),
    ],
)
def test_bad_ids_are_named(ids, message):
    with pytest.raises(ValueError, match=message):
        Unigram(Characters("ab")).log_probs(ids)


def test_bad_options_are_named():
    model = Unigram(Characters("ab"))
    with pytest.raises(ValueError, match="temperature"):
        model.generate(temperature=-1)
    with pytest.raises(ValueError, match="max_new_tokens"):
        model.generate(max_new_tokens=-1)


class Raw(Bytes):
    """Bytes; how many tokens were decoded is counted."""

    decoded = 0

    def decode(self, ids):
        self.decoded += len(ids)
        return super().decode(ids)


def answer(encoded):
    """Says these ids after an empty prompt."""
    model = Scripted(Raw(), "", "")
    model.answer = encoded
    return model


def test_what_is_held_back_is_bounded():
    encoded = np.array([0xFF] * 400)
    model, heard = answer(encoded), []
    written = model.generate(max_new_tokens=400, do_sample=False, stream=heard.append)
    assert written == "".join(heard) == "\ufffd" * 400
    assert len(heard) > 10
    assert model.tokenizer.decoded < 400 * 150


def test_tokens_without_text_are_not_decoded_again_and_again():
    class Silent(Raw):
        def decode(self, ids):
            return super().decode(ids).replace("\0", "")

    model = Scripted(Silent(), "", "\0" * 400 + "a")
    assert model.generate(max_new_tokens=401, do_sample=False) == "a"
    assert model.tokenizer.decoded < 400 * 150


@pytest.mark.parametrize("junk", range(12, 24))
def test_a_character_after_broken_bytes_is_whole(junk):
    encoded = np.array([0xFF] * junk + list("語𝄞é".encode()))
    heard = []
    written = answer(encoded).generate(
        max_new_tokens=len(encoded), do_sample=False, stream=heard.append
    )
    assert written == "".join(heard) == "\ufffd" * junk + "語𝄞é"


def test_a_space_at_the_end_of_a_prompt_is_not_doubled():
    tokenizer = text.WordTokenizer.train("a b\nc")
    for prompt, written in [("a ", "a b\nc"), ("a", "a b\nc"), ("a \n", "a \nb\nc")]:
        model = Scripted(tokenizer, prompt, "b\nc")
        heard = []
        options = {"max_new_tokens": 3, "do_sample": False, "stream": heard.append}
        assert model.generate(prompt, **options) == written
        assert prompt + "".join(heard) == written
    # Characters have a space among them, which is written if it is chosen.
    characters = text.CharTokenizer.train("a b")
    for prompt in ("a ", "a\t"):
        model = Scripted(characters, prompt, " b")
        assert model.generate(prompt, max_new_tokens=2, do_sample=False) == f"{prompt} b"


def test_options_are_those_of_ids():
    model = Unigram(Characters("abcdefgh"), [0.5, 0.2, 0.1, 0.1, 0.05, 0.05, 0, 0])
    seeded = model.generate("a", seed=3)
    assert model.generate("a", rng=np.random.default_rng(3)) == seeded
    with pytest.raises(ValueError, match="seed: expected either seed or rng, got both"):
        model.generate("a", seed=3, rng=np.random.default_rng(3))
    assert set(model.generate("a", seed=1, min_p=0.3)) == {"a", "b"}
    with pytest.raises(ValueError, match="min_p"):
        model.generate("a", min_p=2)
    # Log-probabilities are below zero, so that a penalty makes each token follow only once.
    assert sorted(model.generate(max_new_tokens=6, repetition_penalty=50.0, top_k=1)) == list(
        "abcdef"
    )
    ended = model.generate("a", seed=3, eos_token_id=1)
    assert ended == seeded[: seeded.index("b")]
    heard = []
    model.generate("a", seed=3, on_token=heard.append)
    assert "a" + model.tokenizer.decode(np.concatenate(heard)) == seeded


def test_the_wrong_kind_of_text_is_named():
    model = Unigram(Characters("ab"))
    for wrong in (np.array([0, 1]), [0], None):
        kind = type(wrong).__name__
        with pytest.raises(TypeError, match=f"generate: prompt: expected str, got {kind}"):
            model.generate(wrong)
        with pytest.raises(TypeError, match=f"evaluate: text: expected str, got {kind}"):
            evaluate(model, wrong)
