"""Writes nltk.json: probabilities of the models of NLTK 3.10, for tests/lm/test_nltk.py.

Run it with a Python that has nltk: ``python tests/golden/nltk/make_nltk.py``.

NLTK pads a sentence of order n with n - 1 ``<s>`` and counts them as words; lamina, as KenLM, has
one ``<s>``, which is never predicted. So the n-grams given to NLTK here are those of sentences with
one ``<s>``, without ``<s>`` itself as a single word, and its vocabulary lacks ``<s>``, which NLTK
then looks up as ``<UNK>``: no training text has that, so the two do not mix.
"""

import json
import random
from pathlib import Path

from nltk.lm import (
    MLE,
    AbsoluteDiscountingInterpolated,
    KneserNeyInterpolated,
    Laplace,
    Lidstone,
    StupidBackoff,
    Vocabulary,
    WittenBellInterpolated,
)

HERE = Path(__file__).parent
LINES = 120
QUERIES = 120
MODELS = {
    "mle": lambda order, **v: MLE(order, **v),
    "laplace": lambda order, **v: Laplace(order, **v),
    "lidstone=0.1": lambda order, **v: Lidstone(0.1, order, **v),
    "witten_bell": lambda order, **v: WittenBellInterpolated(order, **v),
    "absolute=0.75": lambda order, **v: AbsoluteDiscountingInterpolated(order, **v),
    "kneser_ney=0.1": lambda order, **v: KneserNeyInterpolated(order, **v),
    "kneser_ney=0.75": lambda order, **v: KneserNeyInterpolated(order, discount=0.75, **v),
    "stupid_backoff=0.4": lambda order, **v: StupidBackoff(order=order, **v),
}


def everygrams(tokens: list[str], order: int) -> list[tuple[str, ...]]:
    """All n-grams up to ``order`` but the single ``<s>``."""
    spans = ((at, at + n) for n in range(1, order + 1) for at in range(len(tokens) - n + 1))
    grams = [tuple(tokens[start:end]) for start, end in spans]
    return [gram for gram in grams if gram != ("<s>",)]


def queries(sentences: list[list[str]], order: int) -> list[tuple[list[str], str]]:
    """Contexts that were seen, in part or not, and words after them that were, or not."""
    draw = random.Random(order)  # noqa: S311
    words = sorted({word for sentence in sentences for word in sentence} - {"<s>"})
    found = []
    while len(found) < QUERIES:
        sentence = draw.choice(sentences)
        at = draw.randrange(1, len(sentence))
        context, word = sentence[max(at - order + 1, 0) : at], sentence[at]
        kind = len(found) % 4
        if kind == 1:
            word = draw.choice([*words, "<UNK>"])
        if kind == 2 and context and context[0] != "<s>":
            context[0] = draw.choice([w for w in words if w != "</s>"])
        if kind == 3:
            context = [draw.choice([w for w in words if w != "</s>"]) for _ in range(order - 1)]
        found.append((context, word))
    return found


def main() -> None:
    lines = (HERE.parent / "kenlm" / "train.txt").read_text(encoding="utf-8").splitlines()
    sentences = [["<s>", *line.split(), "</s>"] for line in lines[:LINES]]
    words = [word for sentence in sentences for word in sentence if word != "<s>"]
    out: dict[str, object] = {"lines": LINES}
    for order in (1, 2, 3):
        asked = queries(sentences, order)
        results: dict[str, list[float]] = {}
        for name, make in MODELS.items():
            model = make(order, vocabulary=Vocabulary(words))
            model.fit([everygrams(sentence, order) for sentence in sentences])
            scores: list[float | None] = []
            for context, word in asked:
                # The lower orders of its Kneser-Ney have no counts at the beginning of a sentence.
                lacks = name.startswith("kneser_ney") and len(context) + 1 < order
                skip = lacks or (order == 1 and name.startswith("kneser_ney"))
                scores.append(None if skip else model.score(word, context or None))
            results[name] = scores
        out[str(order)] = {"queries": asked, "probabilities": results}
    text = json.dumps(out, ensure_ascii=False, separators=(",", ":"))
    (HERE / "nltk.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
