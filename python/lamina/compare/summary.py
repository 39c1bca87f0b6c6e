"""What a comparison says, in short numbers and sentences, for the page and the terminal alike."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.compare.entropy import TextEntropy
from lamina.compare.run import Comparison, ModelResult

Shares = list[tuple[str, float]]

# A model within this share of the way from the worst to the best is nearly as good as the best.
_NEARLY = 0.8
# Rounds from which a median is taken at its word.
_MANY = 15
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


# Short numbers, in ASCII.


def decimals(value: float, places: int) -> str:
    """``value`` with thousands in commas; ``inf`` and, where there is none, ``-``."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:,.{places}f}"


def short(value: float) -> str:
    """Three figures and a unit: ``950``, ``12.3 k``, ``1.23 M``; ``4.5e39`` beyond the units."""
    if not math.isfinite(value):
        return decimals(value, 0)
    if abs(value) >= 999.5e12:
        return f"{value:.1e}".replace("e+", "e")
    unit = ""
    for bigger in (" k", " M", " G", " T"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, bigger
    size = abs(value)
    whole = unit == "" and value == round(value)
    places = 0 if whole or size >= 99.95 else 1 if size >= 9.995 else 2
    return decimals(value, places) + unit


def size(value: float) -> str:
    """Bytes: ``812 kB``, ``3.40 MB``."""
    text = short(value)
    return text if text in ("inf", "-") else f"{text}{'' if text[-1].isalpha() else ' '}B"


def duration(value: float) -> str:
    """Seconds, to the hundredth where they are few."""
    places = 3 if value < 0.0995 else 2 if value < 9.995 else 1 if value < 999.5 else 0
    return decimals(value, places)


def perplexity(value: float) -> str:
    """A perplexity to three figures or so."""
    if value >= 99_999.5:
        return short(value)
    return decimals(value, 2 if value < 9.995 else 1 if value < 99.95 else 0)


def bits(value: float) -> str:
    """Bits per byte."""
    return decimals(value, 2)


def percent(value: float) -> str:
    """A share; small ones are not rounded to nothing."""
    if not math.isfinite(value):
        return decimals(value, 0)
    if 0 < value < 0.0005:
        return "<0.1%"
    return f"{value:.1%}" if value < 0.0995 else f"{value:.0%}"


def milliseconds(value: float) -> str:
    """Seconds, shown as milliseconds to three figures or so."""
    value *= 1e3
    return decimals(
        value, 3 if value < 0.9995 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    )


def ratio(value: float) -> str:
    """How many times as fast."""
    return decimals(value, 2 if value < 9.995 else 1 if value < 99.95 else 0)


def quartiles(kernel: Mapping[str, Any]) -> str:
    """Where half of the rounds of a kernel lie."""
    low, high = map(ratio, kernel["quartiles"])
    return f"{low}-{high}"


def rounds(kernels: Sequence[Mapping[str, Any]]) -> str:
    """What the figures of the kernels are."""
    done = [kernel["rounds"] for kernel in kernels]
    least, most = min(done), max(done)
    many = f"{least}" if least == most else f"{least} to {most}"
    few = " Long works get few rounds, so theirs are rough figures." if least < _MANY else ""
    return (
        f"Times are medians of {many} rounds in turn, and the ratio is their quotient; quartiles "
        f"are those of the ratios of single rounds.{few}"
    )


def tokenizing(comparison: Comparison) -> str:
    """What is not part of any training time."""
    return f"Tokenizing took {duration(comparison.tokenizing_seconds)} s, shared by all."


def count(number: int, noun: str) -> str:
    """``1 character``, ``1,234 characters``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """``text`` less what would steer a terminal or break a page; it becomes U+FFFD."""
    return "".join(
        "\ufffd"
        if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in _BIDI
        else c
        for c in text
    )


def number_word(n: int) -> str:
    """``seven`` for 7; digits beyond ten."""
    return _NUMBERS[n] if 0 <= n < len(_NUMBERS) else f"{n:,}"


# The columns of the summary.


@dataclass(frozen=True)
class Column:
    """One column of the summary.

    Attributes:
        key: field of :class:`ModelResult`.
        title: what the page calls it.
        heading: what the terminal calls it, in two lines.
        text: makes a short number of a value.
        best: ``min`` or ``max``, or ``None`` where neither is better.
    """

    key: str
    title: str
    heading: str
    text: Callable[[float], str]
    best: Callable[[Sequence[float]], float] | None = None

    def value(self, model: ModelResult) -> float:
        """The number of ``model``."""
        return float(getattr(model, self.key))


PARAMETERS = Column("parameters", "Parameters", "para-\nmeters", short)
SECONDS = Column("training_seconds", "Training, s", "train\ns", duration, min)
PERPLEXITY = Column("perplexity", "Perplexity", "per-\nplexity", perplexity, min)
BITS = Column("bits_per_byte", "Bits per byte", "bits/\nbyte", bits, min)
QUALITY = (PERPLEXITY, BITS)
"""What compares only between models that give probabilities."""
COLUMNS = (
    PARAMETERS,
    SECONDS,
    Column("training_tokens_per_second", "Training, tokens/s", "train\ntok/s", short, max),
    Column("generation_tokens_per_second", "Writing, tokens/s", "write\ntok/s", short, max),
    Column("bytes_on_disk", "On disk", "on\ndisk", size, min),
    PERPLEXITY,
    BITS,
    Column("oov_mass", "Unknown tokens", "OOV\nmass", percent),
)


def common_tokenizer(models: Sequence[ModelResult]) -> list[bool]:
    """Which models cut the text as most do: their perplexities compare with each other."""
    count = Counter(model.tokens for model in models)
    most = max(count.values(), default=0)
    tokens = [n for n, times in count.items() if times == most]
    return [len(tokens) == 1 and model.tokens == tokens[0] for model in models]


def marked(models: Sequence[ModelResult], column: Column) -> list[bool]:
    """Which models are the best in ``column``: none where all are alike or only one is."""
    values = [column.value(model) for model in models]
    fit = [math.isfinite(value) for value in values]
    if column in QUALITY:
        fit = [ok and model.normalized for ok, model in zip(fit, models, strict=True)]
    if column is PERPLEXITY:
        fit = [a and b for a, b in zip(fit, common_tokenizer(models), strict=True)]
    candidates = [value for value, ok in zip(values, fit, strict=True) if ok]
    texts = {column.text(value) for value in candidates}
    alike = column is SECONDS and _same_budget(candidates)
    if column.best is None or len(texts) < 2 or alike:
        return [False] * len(models)
    best = column.text(column.best(candidates))
    return [ok and column.text(value) == best for value, ok in zip(values, fit, strict=True)]


def _same_budget(seconds: Sequence[float]) -> bool:
    """Whether all stopped by the clock, so that the shortest time is no merit."""
    return max(seconds) <= 1.2 * min(seconds)


def split_generation(generation: str) -> tuple[str, str]:
    """``1st: counts, from 1951`` as ``1st`` and ``counts, from 1951``."""
    number, _, rest = generation.partition(":")
    return number.strip(), rest.strip()


def generations(models: Sequence[ModelResult]) -> list[str]:
    """The generations that occur, the oldest first."""
    return sorted({model.generation for model in models})


def series(generation: str) -> int:
    """Colour of a generation, 0 to 5, the same in every report: ``1st`` has the first."""
    number = re.match(r"[1-9]", generation)
    return (int(number[0]) - 1) % 6 if number else 5


# The text's own entropy.


def entropy_unit(row: TextEntropy) -> str:
    """What it is the entropy of: ``character``, ``word``."""
    return {"char": "character"}.get(row.unit, row.unit)


def entropy_head(row: TextEntropy) -> str:
    """What it is the entropy of, in words: ``character after 2``."""
    return f"{entropy_unit(row)} after {row.known}" if row.known else f"{entropy_unit(row)} alone"


def best_bits(models: Sequence[ModelResult]) -> float | None:
    """The fewest bits per byte of those that compare, if there are any."""
    comparable = (m.bits_per_byte for m in models if m.normalized)
    return min(filter(math.isfinite, comparable), default=None)


def entropy_reading(comparison: Comparison) -> list[str]:
    """How to read the text's own entropy beside the models."""
    best = best_bits(comparison.models)
    seen = "" if best is None else f": the best needs {bits(best)} for text it has not seen"
    return [
        "Bits that the next character or word still holds where so many before it are known, by "
        "the text's own counts, and corrected for rare blocks (Grassberger 2003). Corrected bits "
        f"per byte stand beside those of the models{seen}.",
        "Counts have seen every answer, and fall too low as more is known: trust them while both "
        "columns agree.",
    ]


# Where the time went.


def kernel_shares(models: Sequence[ModelResult], limit: int = 8) -> tuple[list[str], list[Shares]]:
    """The ``limit`` longest kernels of all models, and each model's shares of them.

    ``python`` and ``other``, where they occur, come last.
    """
    cleaned = [
        {name: share for name, share in model.kernels.items() if 0 < share < math.inf}
        for model in models
    ]
    total: Counter[str] = Counter()
    for shares in cleaned:
        total.update({name: share for name, share in shares.items() if name != "python"})
    names = sorted(total, key=lambda name: (-total[name], name))
    shown = names[:limit]
    rows = []
    for shares in cleaned:
        row = [(name, shares[name]) for name in shown if name in shares]
        row.sort(key=lambda entry: -entry[1])
        other = sum(shares.get(name, 0.0) for name in names[limit:])
        rest = [("other", other), ("python", shares.get("python", 0.0))]
        rows.append(row + [entry for entry in rest if entry[1]])
    occurring = {name for row in rows for name, _ in row}
    return shown + [name for name in ("other", "python") if name in occurring], rows


# Sentences.


def findings(comparison: Comparison) -> list[str]:
    """What the numbers say: the best, the fastest to train, the most for its seconds."""
    models = [m for m in comparison.models if math.isfinite(m.bits_per_byte)]
    if not models:
        return ["No model gave the held-out text a finite number of bits."]
    models = [m for m in models if m.normalized]
    if not models:
        return ["No model gives probabilities that sum to one, so none is ranked."]
    best = min(models, key=lambda m: m.bits_per_byte)
    took = f"{duration(best.training_seconds)} s of training"
    if len(models) == 1:
        return [f"The {best.title} needs {bits(best.bits_per_byte)} bits per byte after {took}."]
    score = f"{bits(best.bits_per_byte)} bits per byte"
    sentences = [f"The {best.title} predicts best: {score} after {took}."]
    timed = [m for m in models if math.isfinite(m.training_seconds)]
    if not timed:
        return sentences
    if _same_budget([m.training_seconds for m in timed]):
        return [*sentences, "All were trained for about as long."]
    fastest = min(timed, key=lambda m: m.training_seconds)
    if fastest is not best:
        sentences.append(
            f"The {fastest.title} is the fastest to train, {duration(fastest.training_seconds)} s, "
            f"and needs {bits(fastest.bits_per_byte)}."
        )
    worst = max(m.bits_per_byte for m in models)
    gap = worst - best.bits_per_byte
    near = [m for m in timed if gap and (worst - m.bits_per_byte) / gap >= _NEARLY]
    value = min(near, key=lambda m: m.training_seconds, default=best)
    if value is best:
        sentences.append(
            "It is also the fastest to train."
            if fastest is best
            else f"Nothing quicker comes near the {best.title}."
        )
        return sentences
    way = (worst - value.bits_per_byte) / gap
    sentences.append(
        f"The {value.title} gives most for its seconds: {way:.0%} of the way from the worst to the "
        f"best in {duration(value.training_seconds)} s"
        + _fraction(value.training_seconds, best.training_seconds)
        + "."
    )
    return sentences


def _fraction(seconds: float, of: float) -> str:
    share = seconds / of if math.isfinite(of) and of > 0 else math.nan
    return f", {share:.0%} of the best one's time" if 0.005 < share < 0.995 else ""
