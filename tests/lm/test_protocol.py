"""The same demands on every family of language models."""

import json

import numpy as np
import pytest

from lamina import lm, models, text

TRAIN = "the cat sat on the mat\nthe dog sat on the cat\na dog and a rat\n" * 20
TEST = "the rat sat on a dog\na cat and the dog\n"


def neural(build):
    def make(rng):
        tokenizer = text.CharTokenizer.train(TRAIN)
        model = build(tokenizer.vocab_size, rng)
        return lm.NeuralLM(model, tokenizer).fit(TRAIN, steps=20, batch_size=4, seed=1, lr=1e-2)

    return make


def gpt(size, rng):
    sizes = {"context": 16, "dim": 16, "num_heads": 2, "num_layers": 1}
    return models.GPT(models.GPTConfig(vocab_size=size, **sizes), rng=rng)


def gru(size, rng):
    sizes = {"cell": "gru", "dim": 16, "hidden": 16, "num_layers": 1}
    return models.RecurrentLM(models.RecurrentConfig(vocab_size=size, **sizes), rng=rng)


def surrounded():
    """A tokenizer that puts ``[CLS]`` before a text and ``[SEP]`` after it, as BERT's does."""
    words = ["[UNK]", "[CLS]", "[SEP]", *sorted(set(TRAIN.split()))]
    pieces = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    around = [pieces[0], {"Sequence": {"id": "A", "type_id": 0}}, pieces[1]]
    special = {n: {"id": n, "ids": [words.index(n)], "tokens": [n]} for n in ("[CLS]", "[SEP]")}
    rules = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": around,
            "pair": around,
            "special_tokens": special,
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: id for id, word in enumerate(words)},
            "unk_token": "[UNK]",
        },
    }
    return text.Tokenizer.from_json(json.dumps(rules))


FAMILIES = {
    "words": lambda _: lm.NGram(3, discount_fallback=True).fit(TRAIN),
    "characters": lambda _: lm.NGram(4, tokenizer=text.CharTokenizer.train(TRAIN)).fit(TRAIN),
    "hidden words": lambda rng: lm.HMM(4, n_iter=10, rng=rng).fit(TRAIN),
    "hidden characters": lambda rng: lm.HMM(
        4, tokenizer=text.CharTokenizer.train(TRAIN), n_iter=10, rng=rng
    ).fit(TRAIN),
    "gpt": neural(gpt),
    "gru": neural(gru),
}


@pytest.fixture(params=FAMILIES)
def model(request, rng):
    return FAMILIES[request.param](rng)


pytestmark = pytest.mark.filterwarnings("ignore:NGram")


def test_it_is_a_language_model(model):
    assert isinstance(model, lm.LanguageModel)
    assert model.num_parameters > 0


def test_probabilities_sum_to_one(model):
    for context in ("", "the", "the cat sat on the mat\nthe "):
        logs = model.next_log_probs(context)
        assert logs.dtype == np.float64
        np.testing.assert_allclose(np.exp(logs).sum(), 1, rtol=1e-5)


def test_chain_rule(model):
    ids = model.tokenizer.encode(TEST.splitlines()[0])
    expected = [model.next_log_probs(ids[:i])[token] for i, token in enumerate(ids)]
    np.testing.assert_allclose(model.log_probs(ids), expected, rtol=1e-4, atol=1e-5)


def test_evaluation(model):
    result = lm.evaluate(model, TEST)
    total = model.log_probs(TEST).sum()
    assert result.bytes == len(TEST)
    assert result.tokens == (13 if result.tokens < 20 else len(TEST))
    np.testing.assert_allclose(result.bits_per_byte, -total / np.log(2) / len(TEST))
    np.testing.assert_allclose(result.perplexity, np.exp(-total / result.tokens))
    assert 0 < result.bits_per_byte < 5
    assert result.oov_mass == 0
    assert lm.evaluate(model, "the bird\n").oov_mass > 0


def test_generation(model):
    assert model.generate("the", seed=2) == model.generate("the", seed=2)
    heard = []
    line = model.generate("the", max_new_tokens=8, seed=3, stream=heard.append)
    assert line == "the" + "".join(heard)
    assert model.generate("the", max_new_tokens=3, do_sample=False).startswith("the")
    assert isinstance(model.generate(max_new_tokens=3, seed=1), str)
    with pytest.raises(ValueError, match="top_k: expected at least 1, got 0"):
        model.generate("the", top_k=0)


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "model")
    again = lm.load(tmp_path / "model")
    assert type(again) is type(model)
    assert again.num_parameters == model.num_parameters
    np.testing.assert_allclose(again.log_probs(TEST), model.log_probs(TEST), rtol=1e-5)


@pytest.mark.parametrize("family", ["ngram", "gru"])
def test_what_surrounds_a_text_is_left_out(family, rng):
    tokenizer = surrounded()
    assert tokenizer.encode("the cat")[[0, -1]].tolist() == [1, 2]
    if family == "ngram":
        model = lm.NGram(3, tokenizer=tokenizer).fit(TRAIN)
    else:
        model = lm.NeuralLM(gru(tokenizer.vocab_size, rng), tokenizer)
        assert model.start == 1
    model_ids = tokenizer.encode("the cat sat", add_special_tokens=False)
    whole = model.log_probs("the cat sat")
    np.testing.assert_array_equal(whole, model.log_probs(model_ids))
    assert whole.shape == (3,)
    after = model.next_log_probs("the cat")[model_ids[-1]]
    np.testing.assert_allclose(after, whole[-1], rtol=1e-5)
    assert model.oov_mass("the bird") == 0.5
