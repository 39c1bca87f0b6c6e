import time

import numpy as np
import pytest

from lamina import lm, models, text, train
from lamina.lm import NeuralLM, training
from lamina.lm.training import Streams, cosine, decayed_matrices
from lamina.models.recurrent import Carry

VERSE = "the cat sat on the mat and the rat sat on the cat\n" * 12


def gpt(tokenizer, rng, **options):
    sizes = {"context": 16, "dim": 16, "num_heads": 2, "num_layers": 1, **options}
    config = models.GPTConfig(vocab_size=tokenizer.vocab_size, **sizes)
    return models.GPT(config, rng=rng)


def lstm(tokenizer, rng, **options):
    sizes = {"dim": 16, "hidden": 16, "num_layers": 1, **options}
    config = models.RecurrentConfig(vocab_size=tokenizer.vocab_size, **sizes)
    return models.RecurrentLM(config, rng=rng)


@pytest.fixture
def tokenizer():
    return text.CharTokenizer.train(VERSE)


@pytest.mark.parametrize("make", [gpt, lstm])
def test_learns_a_verse(rng, tokenizer, make):
    model = NeuralLM(make(tokenizer, rng), tokenizer)
    before = lm.evaluate(model, VERSE)
    options = {"lr": 1e-2, "batch_size": 8, "seed": 1, "eval_every": 40}
    assert model.fit(VERSE, steps=120, validation=VERSE[:200], **options) is model
    after = lm.evaluate(model, VERSE)
    assert after.perplexity < 3 < before.perplexity
    assert after.oov_mass == 0
    assert model.history["steps"] == [40, 80, 120]
    assert model.history["val_loss"][-1] < model.history["val_loss"][0]
    line = model.generate("the ", max_new_tokens=30, do_sample=False)
    assert set(line.split()[:-1]) <= set(VERSE.split())


@pytest.mark.parametrize("make", [gpt, lstm])
def test_the_seed_decides(tokenizer, make):
    def trained(seed):
        model = make(tokenizer, np.random.default_rng(0), dropout=0.1)
        lm = NeuralLM(model, tokenizer).fit(VERSE, steps=3, seed=seed, batch_size=4)
        return lm.log_probs("the cat")

    np.testing.assert_array_equal(trained(1), trained(1))
    assert (trained(1) != trained(2)).any()


@pytest.mark.parametrize("make", [gpt, lstm])
def test_save_and_load(rng, tokenizer, make, tmp_path):
    model = NeuralLM(make(tokenizer, rng), tokenizer, start=3)
    model.save(tmp_path / "model")
    for read in (NeuralLM.load, lm.load):
        again = read(tmp_path / "model")
        assert isinstance(again, NeuralLM)
        assert again.start == 3
        assert again.model.config == model.model.config
        np.testing.assert_array_equal(again.log_probs(VERSE), model.log_probs(VERSE))
        assert again.generate("the", seed=1) == model.generate("the", seed=1)


def test_a_flipped_bit_is_reported(rng, tokenizer, tmp_path):
    NeuralLM(gpt(tokenizer, rng), tokenizer).save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        lm.load(tmp_path / "model")


def test_limits(rng, tokenizer):
    model = NeuralLM(gpt(tokenizer, rng), tokenizer)
    in_epoch = -(-len(VERSE) // (4 * 16))
    assert model.fit(VERSE, batch_size=4).history["steps"][-1] == in_epoch
    assert model.fit(VERSE, batch_size=4, epochs=2).history["steps"][-1] == 2 * in_epoch
    assert model.fit(VERSE, batch_size=4, epochs=2, steps=5).history["steps"][-1] == 5
    # The last row may be from just before the end: the duration is that of the call.
    start = time.monotonic()
    model.fit(VERSE, seconds=0.05)
    assert time.monotonic() - start >= 0.05
    with pytest.raises(ValueError, match="steps: expected a positive number, got 0"):
        model.fit(VERSE, steps=0)


def test_a_clock_that_stands_still_leaves_out_what_callbacks_take(rng, tokenizer):
    now = 0.0

    def tick(_step, _logs):
        nonlocal now
        now += 1.0

    model = NeuralLM(lstm(tokenizer, rng), tokenizer)
    ticks = [train.LambdaCallback(on_train_batch_end=tick)]
    model.fit(VERSE, seconds=7.0, warmup=0, callbacks=ticks, clock=lambda: now)
    assert model.history["steps"][-1] == 7
    least = 1e-4
    assert model.history["lr"][-1] == pytest.approx(
        least + (1e-3 - least) * (1 + np.cos(np.pi * 6 / 7)) / 2
    )
    model.fit(VERSE, steps=3, seconds=7.0, callbacks=ticks, clock=lambda: now)
    assert model.history["steps"][-1] == 3


@pytest.mark.parametrize("make", [gpt, lstm])
def test_targets_are_counted(rng, tokenizer, make):
    model = NeuralLM(make(tokenizer, rng), tokenizer)
    # 13 tokens and the one before them: two streams of six, read in pieces of four and two.
    model.fit(VERSE[:13], steps=4, batch_size=2, context=4, validation=VERSE)
    assert model.tokens_read == (2 * (8 + 4) if make is lstm else 4 * 8)


def test_short_texts_make_short_windows(rng, tokenizer):
    model = NeuralLM(gpt(tokenizer, rng), tokenizer)
    model.fit("the cat", steps=2, validation="cat")
    assert np.isfinite(model.history["val_loss"][-1])
    with pytest.raises(ValueError, match="NeuralLM: data: expected at least 2 tokens, got 1"):
        model.fit("")
    with pytest.raises(ValueError, match="NeuralLM: validation: expected at least 2 tokens"):
        model.fit("the cat", validation="")


def test_windows_are_no_longer_than_the_context(rng, tokenizer):
    model = NeuralLM(gpt(tokenizer, rng), tokenizer)
    with pytest.raises(ValueError, match="context: expected at most 16, that of the model, got 17"):
        model.fit(VERSE, context=17)


def test_streams_cover_the_text_and_carry_the_state():
    ids = np.arange(24)
    streams = Streams(ids, 3, 4)
    pieces = list(streams)
    assert len(pieces) == len(streams) == 2
    inputs = np.concatenate([piece[0] for piece in pieces], axis=1)
    targets = np.concatenate([piece[2] for piece in pieces], axis=1)
    np.testing.assert_array_equal(inputs, np.arange(21).reshape(3, 7))
    np.testing.assert_array_equal(targets, inputs + 1)
    assert isinstance(pieces[0][1], Carry)
    assert pieces[0][1] is pieces[1][1]
    assert next(iter(streams))[1] is not pieces[0][1]


def test_pieces_with_a_carry_equal_one_pass(rng, tokenizer):
    model = lstm(tokenizer, rng)
    ids = rng.integers(0, tokenizer.vocab_size, (3, 7))
    carry = Carry()
    pieces = [model(ids[:, :4], carry).data, model(ids[:, 4:], carry).data]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), model(ids).data, atol=1e-6)
    loss = model(ids, carry).sum()
    loss.backward()


def test_rate_rises_and_falls():
    rates = [cosine(100, None, 10, 0.1)(step) for step in (0, 9, 10, 55, 100, 120)]
    np.testing.assert_allclose(rates, [1 / 11, 10 / 11, 1, 0.55, 0.1, 0.1])
    assert cosine(50, None, 100, 0.1)(5) == 1


def test_rate_follows_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    factor = cosine(None, 10.0, 2, 0.0)
    rates = []
    for step, second in enumerate([0.0, 1.0, 5.0, 10.0]):
        now[0] = second
        rates.append(factor(step))
    np.testing.assert_allclose(rates, [1 / 3, 2 / 3, 0.5, 0], atol=1e-15)


def test_only_matrices_decay(rng, tokenizer):
    matrices, vectors = decayed_matrices(gpt(tokenizer, rng), 0.1)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in matrices["params"]} == {2}
    assert {p.ndim for p in vectors["params"]} == {1}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: expected a positive number, got 0"),
        ({"batch_size": 2.0}, TypeError, r"batch_size: expected an integer, got 2\.0"),
        ({"steps": -3}, ValueError, "steps: expected a positive number, got -3"),
        ({"steps": 1.5}, TypeError, r"steps: expected an integer, got 1\.5"),
        ({"steps": True}, TypeError, "steps: expected an integer, got True"),
        ({"epochs": 0}, ValueError, "epochs: expected a positive number, got 0"),
        ({"seconds": 0}, ValueError, "seconds: expected a positive number, got 0"),
        ({"seconds": float("nan")}, ValueError, "seconds: expected a positive number, got nan"),
        ({"context": 0}, ValueError, "context: expected a positive number, got 0"),
        ({"context": -1}, ValueError, "context: expected a positive number, got -1"),
        ({"eval_every": 0}, ValueError, "eval_every: expected a positive number, got 0"),
        ({"warmup": -1}, ValueError, "warmup: expected at least 0, got -1"),
        ({"lr": 0.0}, ValueError, r"lr: expected a positive number, got 0\.0"),
        ({"lr": -1e-3}, ValueError, r"lr: expected a positive number, got -0\.001"),
        ({"min_lr": -1e-3}, ValueError, r"min_lr: expected 0 to lr \(0\.001\), got -0\.001"),
        ({"min_lr": 1e-2}, ValueError, r"min_lr: expected 0 to lr \(0\.001\), got 0\.01"),
    ],
)
def test_bad_numbers_are_named(rng, tokenizer, options, error, message):
    with pytest.raises(error, match=f"NeuralLM: {message}"):
        NeuralLM(lstm(tokenizer, rng), tokenizer).fit(VERSE, **options)


def test_numbers_of_numpy_are_numbers(rng, tokenizer):
    model = NeuralLM(gpt(tokenizer, rng), tokenizer)
    model.fit(VERSE, steps=np.int64(2), batch_size=np.int32(2), min_lr=0, warmup=0)
    assert model.history["steps"][-1] == 2


def test_a_tokenizer_of_the_caller_is_for_the_caller_to_keep(rng, tokenizer, tmp_path):
    class Own:
        vocab_size = tokenizer.vocab_size

        def encode(self, text):
            return tokenizer.encode(text)

        def decode(self, ids):
            return tokenizer.decode(ids)

    model = NeuralLM(gpt(tokenizer, rng), Own())
    model.save(tmp_path / "model")
    assert not (tmp_path / "model" / "tokenizer.json").exists()
    for read in (NeuralLM.load, lm.load):
        again = read(tmp_path / "model", tokenizer=Own())
        np.testing.assert_array_equal(again.log_probs("the cat"), model.log_probs("the cat"))
        with pytest.raises(FileNotFoundError, match=r"holds no tokenizer\.json"):
            read(tmp_path / "model")


@pytest.mark.filterwarnings("ignore:NGram")
def test_folders_of_something_else_are_named(tmp_path):
    lm.NGram(1).fit("a b\n").save(tmp_path / "words")
    with pytest.raises(ValueError, match=r"config\.json: is that of an NGram"):
        NeuralLM.load(tmp_path / "words")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: holds no config\.json"):
        lm.load(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        NeuralLM.load(tmp_path / "none")
