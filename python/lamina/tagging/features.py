"""Attributes of words for taggers: the word, its parts, its shape and its neighbours."""

from collections.abc import Callable, Sequence
from functools import lru_cache

Item = list[str]

_LONGEST_AFFIX = 4


@lru_cache(maxsize=1 << 16)
def shape(word: str) -> str:
    """The kinds of characters of a word, runs of more than two cut to two.

    ``X`` stands for a capital, ``x`` for another letter, ``d`` for a digit; others stand for
    themselves: ``shape("McDonald's-2016")`` is ``"XxXxx'x-dd"``.
    """
    kinds: list[str] = []
    for character in word:
        if character.isupper():
            kind = "X"
        elif character.isalpha():
            kind = "x"
        elif character.isdigit():
            kind = "d"
        else:
            kind = character
        if kinds[-2:] != [kind, kind]:
            kinds.append(kind)
    return "".join(kinds)


@lru_cache(maxsize=1 << 16)
def _of_word(word: str) -> tuple[str, ...]:
    """Attributes that depend on a word alone."""
    lower = word.lower()
    found = ["w=" + word, "l=" + lower, "shape=" + shape(word)]
    for length in range(1, min(_LONGEST_AFFIX, len(lower)) + 1):
        found += ["pre=" + lower[:length], "suf=" + lower[-length:]]
    if any(c.isdigit() for c in word):
        found.append("digit")
    if "-" in word:
        found.append("hyphen")
    if word[:1].isupper():
        found.append("upper" if word.isupper() else "capital")
    return tuple(found)


def pos_features(words: Sequence[str]) -> list[Item]:
    """Attributes of each word for part-of-speech tagging, about 22 a word.

    The word as it is and in lower case, prefixes and suffixes of one to four letters, shape,
    digits, hyphens, capitals, two neighbours on either side and their suffixes, pairs with the
    next ones, and the ends of the sentence.

    Args:
        words: those of one sentence, L.

    Returns:
        L lists of strings, as :class:`~lamina.tagging.CRF` takes them.
    """
    lower = [word.lower() for word in words]
    count = len(words)
    items = []
    for t, word in enumerate(words):
        item = ["bias", *_of_word(word)]
        if t > 0:
            before = lower[t - 1]
            item += ["l-1=" + before, "suf-1=" + before[-3:], f"l-1|l={before}|{lower[t]}"]
        else:
            item.append("first")
        if t > 1:
            item.append("l-2=" + lower[t - 2])
        if t + 1 < count:
            after = lower[t + 1]
            item += ["l+1=" + after, "suf+1=" + after[-3:], f"l|l+1={lower[t]}|{after}"]
        else:
            item.append("last")
        if t + 2 < count:
            item.append("l+2=" + lower[t + 2])
        items.append(item)
    return items


def ner_features(words: Sequence[str], tags: Sequence[str] | None = None) -> list[Item]:
    """Attributes of each word for the recognition of names.

    Those of :func:`pos_features`, with shapes of the neighbours.

    Args:
        words: those of one sentence, L.
        tags: parts of speech of the words, where they are known, L.
    """
    items = pos_features(words)
    if tags is not None and len(tags) != len(words):
        raise ValueError(f"ner_features: tags: expected {len(words)}, got {len(tags)}")
    shapes = [shape(word) for word in words]
    count = len(words)
    for t, item in enumerate(items):
        for offset in (-1, 1):
            at = t + offset
            if 0 <= at < count:
                item.append(f"shape{offset:+d}={shapes[at]}")
                if tags is not None:
                    item.append(f"tag{offset:+d}={tags[at]}")
        if 0 < t < count - 1:
            item.append(f"shapes={shapes[t - 1]}|{shapes[t]}|{shapes[t + 1]}")
        if tags is not None:
            item.append("tag=" + tags[t])
    return items


Extractor = Callable[[Sequence[str]], list[Item]]
"""Makes the items of a sentence from its words."""
