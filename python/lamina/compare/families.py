"""The families of language model that are compared: what each is, and how it is built."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lamina import lm, models, text

Tokenizers = Callable[[str], text.Tokenizer]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the comparison, before anything is trained.

    Attributes:
        name: what ``--models`` calls it.
        title: what the report calls it.
        generation: its place in the history of language models.
        architecture: what it is made of.
        learning: how it learns.
        application: what it is good for.
        reach: how far back it looks, in tokens.
        build: makes the untrained model for the shared tokenizer and the training text.
        options: what ``fit`` of a network is given.
    """

    name: str
    title: str
    generation: str
    architecture: str
    learning: str
    application: str
    reach: str
    build: Callable[[text.Tokenizer, str], lm.LanguageModel]
    options: dict[str, float] | None = None


COUNTS = "1st: counts, from 1951"
RECURRENT = "2nd: recurrent networks, from 1990"
ATTENTION = "3rd: transformers, from 2017"

CHARACTER_ORDER = 7
CONTEXT = 64
_LEAST_BPE = 256

DEFAULT = ("ngram1", "ngram3", "ngram5", "char-ngram", "rnn", "lstm", "gpt")


def _ngram(order: int) -> Family:
    before = "no token: every one is drawn alike" if order == 1 else f"{order - 1} tokens"
    before = "1 token" if order == 2 else before
    return Family(
        name=f"ngram{order}",
        title="unigram" if order == 1 else f"{order}-gram",
        generation=COUNTS,
        architecture=(
            "table of the frequency of each token"
            if order == 1
            else f"table of n-grams up to length {order} with back-off weights"
        ),
        learning=(
            "one pass of counting"
            if order == 1
            else "one pass of counting, then modified Kneser-Ney smoothing in closed form"
        ),
        application=(
            "baseline; keyword statistics"
            if order == 1
            else "first pass of speech and handwriting recognition, spelling, filtering of corpora"
        ),
        reach=before,
        build=lambda tokenizer, _text: lm.NGram(order, tokenizer=tokenizer),
    )


def _char_ngram() -> Family:
    return Family(
        name="char-ngram",
        title=f"character {CHARACTER_ORDER}-gram",
        generation=COUNTS,
        architecture=f"table of n-grams of characters up to length {CHARACTER_ORDER}",
        learning="one pass of counting, then modified Kneser-Ney smoothing in closed form",
        application="language identification, compression, input methods",
        reach=f"{CHARACTER_ORDER - 1} characters",
        build=lambda _tokenizer, text_: lm.NGram(
            CHARACTER_ORDER, tokenizer=text.CharTokenizer.train(text_)
        ),
    )


def _recurrent(cell: str) -> Family:
    titles = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
    gates = {
        "rnn": "one recurrent layer of 256 tanh units",
        "lstm": "one layer of 256 long short-term memory cells: input, forget and output gates",
        "gru": "one layer of 256 gated recurrent units: reset and update gates",
    }
    uses = {
        "rnn": "signals and short sequences; where memory is a few kilobytes",
        "lstm": "speech, handwriting, time series; text as it streams in",
        "gru": "as an LSTM, with a quarter fewer weights",
    }

    def build(tokenizer: text.Tokenizer, _text: str) -> lm.LanguageModel:
        config = models.RecurrentConfig(
            vocab_size=tokenizer.vocab_size, cell=cell, dim=128, hidden=256, num_layers=1
        )
        return lm.NeuralLM(models.RecurrentLM(config), tokenizer)

    return Family(
        name=cell,
        title=titles[cell],
        generation=RECURRENT,
        architecture=gates[cell],
        learning=f"AdamW on the gradient through {CONTEXT} steps of time, state carried on",
        application=uses[cell],
        reach=f"everything, through a state of fixed size; gradients reach {CONTEXT} tokens",
        build=build,
        options={"lr": 4e-3, "batch_size": 16, "context": CONTEXT},
    )


def _gpt() -> Family:
    def build(tokenizer: text.Tokenizer, _text: str) -> lm.LanguageModel:
        config = models.GPTConfig(
            vocab_size=tokenizer.vocab_size,
            context=CONTEXT,
            dim=128,
            num_heads=4,
            num_layers=4,
            bias=False,
        )
        return lm.NeuralLM(models.GPT(config), tokenizer)

    return Family(
        name="gpt",
        title="GPT",
        generation=ATTENTION,
        architecture="4 blocks of 4-head causal self-attention and a feed-forward layer, width 128",
        learning="AdamW on the gradient of all positions at once",
        application="writing, dialogue, code, translation by example; grows best with data",
        reach=f"{CONTEXT} tokens, each directly",
        build=build,
        options={"lr": 2e-3, "batch_size": 12, "context": CONTEXT},
    )


def family(name: str) -> Family:
    """The family that ``--models`` calls ``name``.

    Raises:
        ValueError: there is none.
    """
    given, name = name, name.strip().lower()
    match = re.fullmatch(r"ngram([1-9][0-9]?)", name)
    if match and int(match[1]) <= 20:
        return _ngram(int(match[1]))
    if name == "char-ngram":
        return _char_ngram()
    if name in ("rnn", "lstm", "gru"):
        return _recurrent(name)
    if name == "gpt":
        return _gpt()
    known = [
        *(f"ngram{order}" for order in range(1, 21)),
        "char-ngram",
        "rnn",
        "lstm",
        "gru",
        "gpt",
    ]
    near = difflib.get_close_matches(name, known, 1)
    raise ValueError(
        f"unknown model {given!r}{f', did you mean {near[0]}?' if near else ':'} expected ngram1 "
        "to ngram20, char-ngram, rnn, lstm, gru or gpt"
    )


def select(names: Sequence[str]) -> list[Family]:
    """The families of these names.

    Raises:
        ValueError: there are none, one is unknown, or one is named twice.
    """
    if not names:
        raise ValueError("models: expected at least one")
    families = [family(name) for name in names]
    for i, chosen in enumerate(families):
        if chosen.name in [other.name for other in families[:i]]:
            raise ValueError(f"models: {chosen.name!r} is named twice, expected each once")
    return families


def fit_options(chosen: Family) -> dict[str, Any]:
    """What the ``fit`` of a network of the family is given."""
    options = chosen.options or {}
    return {name: value if name == "lr" else int(value) for name, value in options.items()}


def check_tokenizer(name: str) -> None:
    """Refuse, before any work, a name that :func:`make_tokenizer` does not know.

    Raises:
        ValueError: it does not, or the size is below that of the smallest tokenizer.
    """
    if name in ("char", "word", "bpe"):
        return
    match = re.fullmatch(r"bpe:([0-9]{1,9})", name)
    if match is None:
        raise ValueError(
            f"unknown tokenizer {name!r}: expected char, word, bpe or bpe:SIZE such as bpe:1024"
        )
    if int(match[1]) < _LEAST_BPE:
        raise ValueError(
            f"tokenizer: {name}: expected a size of at least {_LEAST_BPE}, one for each byte"
        )


def make_tokenizer(name: str, training: str) -> text.Tokenizer:
    """The tokenizer that ``--tokenizer`` calls ``name``, trained where it needs it.

    Raises:
        ValueError: there is none.
    """
    check_tokenizer(name)
    if name == "char":
        return text.CharTokenizer.train(training)
    if name == "word":
        return text.WordTokenizer.train(training)
    size = name.partition(":")[2]
    return text.BPETokenizer.train(training, vocab_size=int(size or 1024))
