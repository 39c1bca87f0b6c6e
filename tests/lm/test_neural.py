import numpy as np
import pytest

from lamina import generation, models
from lamina.lm import NeuralLM, evaluate


class Characters:
    """Ids of single characters; others count for nothing."""

    def __init__(self, alphabet):
        self.alphabet = alphabet
        self.vocab_size = len(alphabet)

    def encode(self, text):
        return np.array([self.alphabet.index(c) for c in text if c in self.alphabet], np.int64)

    def decode(self, ids):
        return "".join(self.alphabet[i] for i in ids)


def widen(model, rng):
    for parameter in model.parameters():
        parameter.data[...] += rng.normal(0, 0.3, parameter.shape)
    return model


def gpt(rng, context=8, vocab_size=7):
    sizes = {"vocab_size": vocab_size, "context": context, "dim": 12, "num_heads": 3}
    return widen(models.GPT(models.GPTConfig(**sizes, num_layers=1, dropout=0.5), rng=rng), rng)


def recurrent(rng, cell="lstm"):
    sizes = {"vocab_size": 7, "dim": 6, "hidden": 5, "num_layers": 1, "dropout": 0.5}
    return widen(models.RecurrentLM(models.RecurrentConfig(cell=cell, **sizes), rng=rng), rng)


MODELS = [gpt, recurrent, lambda rng: gpt(rng, context=1), lambda rng: gpt(rng, vocab_size=9)]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("alphabet", ["\nabcdef", "gabcdef"])
def test_chain_rule(rng, make, alphabet):
    model = NeuralLM(make(rng), Characters(alphabet))
    ids = rng.integers(0, 7, 37)
    expected = []
    for end in range(37):
        table = model.next_log_probs(ids[:end])
        assert table.shape == (7,)
        np.testing.assert_allclose(np.exp(table).sum(), 1, rtol=1e-12)
        expected.append(table[ids[end]])
    log_probs = model.log_probs(ids)
    assert log_probs.dtype == np.float64
    np.testing.assert_allclose(log_probs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(log_probs, model.log_probs(model.tokenizer.decode(ids)))


@pytest.mark.parametrize("context", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("length", [1, 2, 8, 9, 12, 13, 40])
def test_windows_equal_steps(rng, context, length, monkeypatch):
    network = gpt(rng, context=context).eval()
    ids = rng.integers(0, 7, length)
    logits, _ = network.step(np.concatenate([[0], ids])[None, :-1])
    scores = logits.data[0].astype(np.float64)
    expected = (scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))[
        np.arange(length), ids
    ]
    model = NeuralLM(network, Characters("\nabcdef"))
    for at_once in (1, 150, 10**6):
        monkeypatch.setattr("lamina.lm.neural._SCORED_AT_ONCE", at_once)
        np.testing.assert_allclose(model.log_probs(ids), expected, rtol=1e-4, atol=1e-5)


def test_long_texts_carry_the_state(rng, monkeypatch):
    model = NeuralLM(recurrent(rng), Characters("\nabcdef"))
    ids = rng.integers(0, 7, 50)
    expected = model.log_probs(ids)
    monkeypatch.setattr("lamina.lm.neural._SCORED_AT_ONCE", 7 * 13)
    np.testing.assert_allclose(model.log_probs(ids), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", MODELS)
def test_generation_uses_the_state(rng, make):
    model = NeuralLM(make(rng), Characters("\nabcdef"))
    text = model.generate("ab", max_new_tokens=20, seed=1)
    ids = generation.generate(
        lambda ids: model.next_log_probs(ids[0])[None],
        model.tokenizer.encode("ab"),
        max_new_tokens=20,
        rng=np.random.default_rng(1),
    )
    assert model.tokenizer.decode(ids) == text
    assert len(model.generate("", max_new_tokens=20, seed=1)) == 20


def test_without_a_start_token_the_first_is_uniform(rng):
    model = NeuralLM(gpt(rng), Characters("gabcdef"))
    assert model.start is None
    np.testing.assert_allclose(model.next_log_probs(""), np.full(7, -np.log(7)))
    np.testing.assert_allclose(model.log_probs("f"), -np.log(7))
    with pytest.raises(ValueError, match="NeuralLM: prompt: expected at least one token"):
        model.generate("")
    assert NeuralLM(gpt(rng), Characters("gabcdef"), start=3).start == 3


def test_no_text_has_no_tokens(rng):
    assert NeuralLM(gpt(rng), Characters("\nabcdef")).log_probs("").shape == (0,)


def test_evaluation(rng):
    model = NeuralLM(gpt(rng), Characters("\nabcdef"))
    text = "abcdef\nfedcba\n" * 3
    result = evaluate(model, text)
    assert result.tokens == result.bytes == 42
    np.testing.assert_allclose(result.bits_per_byte, -model.log_probs(text).mean() / np.log(2))
    assert model.num_parameters == model.model.num_parameters()


def test_vocabularies_must_agree(rng):
    with pytest.raises(ValueError, match=r"tokenizer: expected at most the 7 tokens .* got 8"):
        NeuralLM(gpt(rng), Characters("abcdefgh"))


@pytest.mark.parametrize("start", [-1, 7, "a", True])
def test_the_start_must_be_an_id(rng, start):
    with pytest.raises(ValueError, match="NeuralLM: start: expected an id from 0 to 6, got"):
        NeuralLM(gpt(rng), Characters("\nabcdef"), start=start)


@pytest.mark.parametrize("make", [gpt, recurrent])
def test_generation_leaves_training_once(rng, make, monkeypatch):
    model = NeuralLM(make(rng), Characters("\nabcdef"))
    model.model.train()
    switches, train = [], type(model.model).train

    def count(module, mode=True):
        if module is model.model:
            switches.append(mode)
        return train(module, mode)

    monkeypatch.setattr(type(model.model), "train", count)
    model.generate("ab", max_new_tokens=9, seed=1)
    assert switches.count(True) == 1
    assert len(switches) <= 2
    assert model.model.training


@pytest.mark.parametrize("make", [gpt, recurrent])
def test_networks_take_a_seed(rng, make):
    network = make(rng)
    expected = network.generate([1, 2], max_new_tokens=9, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(network.generate([1, 2], max_new_tokens=9, seed=4), expected)
    with pytest.raises(TypeError, match=r"generate\(\) missing 1 required .* 'ids'"):
        network.generate(seed=1)
    with pytest.raises(TypeError, match=r"generate\(\) got an unexpected keyword argument 'sead'"):
        network.generate([1, 2], sead=1)
