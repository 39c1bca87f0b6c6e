"""The families of language model that are compared: what each is, and how it is built."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lamina import lm, models, text
from lamina.lm.ngram.smoothing import parse_smoothing
from lamina.tensor import Array

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
        held_out: whether ``fit`` needs a part of the training text to itself.
        most: tokens that it learns from at most, where passes over more would take too long.
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
    held_out: bool = False
    most: int | None = None


COUNTS = "1st: counts, from 1951"
RECURRENT = "2nd: recurrent networks, from 1990"
ATTENTION = "3rd: transformers, from 2017"

CHARACTER_ORDER = 7
CONTEXT = 64
_LEAST_BPE = 256

STATES = 32
_UPDATES = 30
_HMM_TOKENS = 500_000

DEFAULT = ("ngram1", "ngram3", "ngram5", "char-ngram", "hmm", "rnn", "lstm", "gpt")


@dataclass(frozen=True)
class _Smoothing:
    """What the report says of a method of smoothing: its name, and what follows the counting."""

    title: str
    learning: str


_SMOOTHING = {
    "mle": _Smoothing("unsmoothed", ": relative frequencies, none for what was not seen"),
    "laplace": _Smoothing("Laplace", ", one added to each count"),
    "lidstone": _Smoothing("Lidstone", ", the same small number added to each count"),
    "good_turing": _Smoothing(
        "Good-Turing", ", then Good and Turing's discounts of all counts, back-off to what is left"
    ),
    "katz": _Smoothing(
        "Katz", ", then Good and Turing's discounts of small counts, back-off to what is left"
    ),
    "witten_bell": _Smoothing(
        "Witten-Bell", ", then a context leaves others as much as it has different successors"
    ),
    "absolute": _Smoothing(
        "absolute discounting", ", then the same discount from every count, in closed form"
    ),
    "jelinek_mercer": _Smoothing(
        "Jelinek-Mercer", ", then weights of the orders by EM on a tenth of the training text"
    ),
    "kneser_ney": _Smoothing(
        "Kneser-Ney", ", then Kneser-Ney smoothing with one discount in closed form"
    ),
    "modified_kneser_ney": _Smoothing(
        "modified Kneser-Ney", ", then modified Kneser-Ney smoothing in closed form"
    ),
    "stupid_backoff": _Smoothing(
        "stupid back-off", "; what was not seen has the score of its end times a constant"
    ),
}


def _smoothed(text_: str | None) -> tuple[dict[str, Any], str, str, str]:
    """Options of a smoothing, and its parts of the name, the title and how it learns."""
    if text_ is None:
        return {}, "", "", f"one pass of counting{_SMOOTHING['modified_kneser_ney'].learning}"
    options = parse_smoothing(text_)
    method = _SMOOTHING[options["smoothing"]]
    title = method.title
    for option, value in options.items():
        if option == "interpolate":
            title += ", interpolated" if value else ", back-off"
        elif option == "bucketed":
            title += ", bucketed"
        elif option != "smoothing":
            title += f" {value:g}"
    return (
        options,
        f":{text_.strip().replace('-', '_')}",
        f", {title}",
        f"one pass of counting{method.learning}",
    )


def _ngram(order: int, smoothing: str | None) -> Family:
    before = "no token: every one is drawn alike" if order == 1 else f"{order - 1} tokens"
    before = "1 token" if order == 2 else before
    options, name, title, learning = _smoothed(smoothing)
    return Family(
        name=f"ngram{order}{name}",
        title=("unigram" if order == 1 else f"{order}-gram") + title,
        generation=COUNTS,
        architecture=(
            "table of the frequency of each token"
            if order == 1
            else f"table of n-grams up to length {order} with back-off weights"
        ),
        learning="one pass of counting" if order == 1 and smoothing is None else learning,
        application=(
            "baseline; keyword statistics"
            if order == 1
            else "first pass of speech and handwriting recognition, spelling, filtering of corpora"
        ),
        reach=before,
        build=lambda tokenizer, _text: lm.NGram(order, tokenizer=tokenizer, **options),
        held_out=options.get("smoothing") == "jelinek_mercer",
    )


def _char_ngram(smoothing: str | None) -> Family:
    options, name, title, learning = _smoothed(smoothing)
    return Family(
        name=f"char-ngram{name}",
        title=f"character {CHARACTER_ORDER}-gram{title}",
        generation=COUNTS,
        architecture=f"table of n-grams of characters up to length {CHARACTER_ORDER}",
        learning=learning,
        application="language identification, compression, input methods",
        reach=f"{CHARACTER_ORDER - 1} characters",
        build=lambda _tokenizer, text_: lm.NGram(
            CHARACTER_ORDER, tokenizer=text.CharTokenizer.train(text_), **options
        ),
        held_out=options.get("smoothing") == "jelinek_mercer",
    )


def _hmm() -> Family:
    return Family(
        name="hmm",
        title="HMM",
        generation=COUNTS,
        architecture=f"{STATES} hidden states, each with its table of the frequency of each token",
        learning=(
            f"{_UPDATES} passes of expected counting (Baum-Welch) over at most {_HMM_TOKENS:,} "
            "tokens, from random tables"
        ),
        application="parts of speech, names in texts, speech before networks, genes",
        reach=f"everything, through one of {STATES} states",
        build=lambda tokenizer, _text: lm.HMM(STATES, tokenizer=tokenizer, n_iter=_UPDATES),
        most=_HMM_TOKENS,
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
    match = re.fullmatch(r"(?:ngram([1-9][0-9]?)|char-ngram)(?::(.*))?", name)
    if match and match[1] is None:
        return _char_ngram(match[2])
    if match and int(match[1]) <= 20:
        return _ngram(int(match[1]), match[2])
    if name == "hmm":
        return _hmm()
    if name in ("rnn", "lstm", "gru"):
        return _recurrent(name)
    if name == "gpt":
        return _gpt()
    known = [
        *(f"ngram{order}" for order in range(1, 21)),
        "char-ngram",
        "hmm",
        "rnn",
        "lstm",
        "gru",
        "gpt",
    ]
    near = difflib.get_close_matches(name, known, 1)
    raise ValueError(
        f"unknown model {given!r}{f', did you mean {near[0]}?' if near else ':'} expected ngram1 "
        "to ngram20 or char-ngram, also with a smoothing as in ngram3:katz, hmm, rnn, lstm, gru "
        "or gpt"
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


def fit_counts(chosen: Family, model: Any, ids: Array) -> int:
    """Fit a model of a family that has no options: it reads the text and stops by itself.

    Args:
        chosen: its family; where that needs held-out text, it gets the last tenth of ``ids``.
        model: what the family has built.
        ids: of the training text.

    Returns:
        Tokens learnt from, in all passes.
    """
    ids = ids[: chosen.most]
    if chosen.held_out:
        cut = len(ids) - max(len(ids) // 10, 1)
        model.fit(ids[:cut], held_out=ids[cut:])
    else:
        model.fit(ids)
    return len(ids) * (model.monitor.iter if isinstance(model, lm.HMM) else 1)


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
