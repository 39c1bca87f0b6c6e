import itertools

import numpy as np
import pytest

from lamina import lm, text
from lamina.compare import compare, prepare
from lamina.compare.run import CURVE_TEXT

NOVEL = text.shakespeare()[:12_000]


def test_training_counts_targets_and_the_curve_keeps_one_measure():
    told = []
    made = compare(
        "novel",
        NOVEL,
        models=["ngram2", "lstm"],
        tokenizer="char",
        steps=5,
        benchmark=False,
        listener=told.append,
    )
    counts, lstm = made.models
    # 16 streams of 10,801 tokens, the first of which is the start: 675 columns, 64 at a time.
    assert lstm.training_tokens_per_second * lstm.training_seconds == pytest.approx(5 * 16 * 64)
    assert counts.training_tokens_per_second * counts.training_seconds == pytest.approx(10_800)
    seconds, bits = zip(*lstm.curve, strict=True)
    assert len(lstm.curve) == 6
    assert all(a <= b for a, b in itertools.pairwise(seconds))
    assert seconds[-1] <= lstm.training_seconds
    # An untrained model is as good as drawing among all characters.
    assert bits[0] == pytest.approx(np.log2(made_size(made)), abs=0.3)
    # The held-out text is shorter than what curves are measured on, so the end is the score.
    assert len(NOVEL) / 10 < CURVE_TEXT
    assert bits[-1] == pytest.approx(lstm.bits_per_byte)
    assert counts.curve == [(counts.training_seconds, pytest.approx(counts.bits_per_byte))]
    assert made.complete
    stages = [progress.stage for progress in told if progress.family is None]
    assert stages == [
        "training the tokenizer",
        "counting the text's entropy",
        "measuring the machine",
        "training the models",
    ]
    assert [row.known for row in made.entropy if row.unit == "char"] == list(range(7))
    assert [row.known for row in made.entropy if row.unit == "word"] == [0, 1, 2]


def made_size(made):
    return int(made.tokenizer.split()[-2])


def test_short_texts_are_read_by_streams_of_their_own_length():
    made = compare(
        "short", NOVEL[:1_000], models=["rnn"], tokenizer="char", steps=4, benchmark=False
    )
    (rnn,) = made.models
    # 16 streams of 56 tokens each: a step never sees more.
    assert rnn.training_tokens_per_second * rnn.training_seconds == pytest.approx(4 * 16 * 56)


def test_a_text_is_encoded_once_for_all_models(monkeypatch):
    lengths = []
    real = text.CharTokenizer.encode

    def encode(self, t, **options):
        lengths.append(len(t))
        return real(self, t, **options)

    monkeypatch.setattr(text.CharTokenizer, "encode", encode)
    models = ["ngram2", "ngram3", "rnn"]
    compare("novel", NOVEL, models=models, tokenizer="char", steps=1, benchmark=False)
    assert lengths.count(10_800) == 1


def test_the_budget_is_training_alone(monkeypatch):
    now = 0.0

    class Clock:
        @staticmethod
        def perf_counter():
            return now

    def slow(self, ids):
        nonlocal now
        now += 100.0
        return real(self, ids)

    real = lm.NeuralLM.log_probs
    forward = lm.neural.next_token_loss

    def step(logits, targets):
        nonlocal now
        now += 0.25
        return forward(logits, targets)

    monkeypatch.setattr("lamina.compare.run.time", Clock)
    monkeypatch.setattr(lm.NeuralLM, "log_probs", slow)
    monkeypatch.setattr(lm.neural, "next_token_loss", step)
    monkeypatch.setattr("lamina.compare.run._Job._write", lambda *_: ("", 1.0))
    made = compare("novel", NOVEL, models=["gru"], tokenizer="char", seconds=2.0, benchmark=False)
    assert made.models[0].training_seconds == 2.0
    assert [seconds for seconds, _ in made.models[0].curve] == [0.25 * k for k in range(9)]


def test_prepare_refuses_short_texts():
    with pytest.raises(ValueError, match="novel: 100 characters are too few"):
        prepare("novel", NOVEL[:100], "char")
    with pytest.raises(ValueError, match="expected 256 tokens, got"):
        prepare("novel", NOVEL[:900], "word")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"seconds": np.inf}, "seconds: expected a positive number, got inf"),
        ({"models": []}, "models: expected at least one"),
        ({"models": ["gpt", "Gpt "]}, "models: 'gpt' is named twice"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        compare("novel", NOVEL, **options)
