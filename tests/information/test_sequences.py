import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import information, text
from lamina.information import sequence_entropy, text_entropies, text_entropy


def test_by_hand():
    first = text_entropy("abab")
    assert (first.unit, first.order, first.symbols, first.blocks) == ("char", 0, 4, 2)
    assert first.block == first.conditional == 1.0
    # Blocks ab, ba, ab: after either letter the other one is certain.
    second = text_entropy("abab", order=1)
    assert (second.blocks, second.contexts) == (2, 2)
    assert second.block == pytest.approx(information.entropy([2, 1]))
    assert second.conditional == 0.0
    # Blocks aa, ab, ba, aa: after a there are a, b, a.
    third = text_entropy("aabaa", order=1)
    assert third.conditional == pytest.approx(0.75 * information.entropy([2, 1]))


def test_units():
    # "é" is one character of two bytes; words lie between white space of any kind.
    given_ = "é é\u2003b\nb"
    assert text_entropy(given_, unit="char").symbols == 7
    assert text_entropy(given_, unit="byte").symbols == len(given_.encode())
    words = text_entropy(given_, unit="word")
    assert (words.symbols, words.blocks, words.conditional) == (4, 2, 1.0)
    assert text_entropy("x\ud800y").blocks == 3


def test_sequences_of_anything():
    for symbols in ("abca", b"abca", ["a", "b", "c", "a"], [(1,), None, "c", (1,)]):
        made = sequence_entropy(symbols)
        assert (made.unit, made.blocks) == ("symbol", 3)
        assert made.conditional == pytest.approx(1.5)
    ids = np.array([7, -1, 10**12, 7, 0, 0])[:4][::-1]
    assert sequence_entropy(ids).conditional == pytest.approx(1.5)


@given(st.text("abc", min_size=1, max_size=60), st.integers(0, 5))
def test_agrees_with_a_map(symbols, order):
    if len(symbols) <= order:
        return
    windows = [symbols[i : i + order + 1] for i in range(len(symbols) - order)]
    blocks, contexts = Counter(windows), Counter(w[:-1] for w in windows)
    made = text_entropy(symbols, order=order)
    block = information.entropy(list(blocks.values()))
    assert made.block == pytest.approx(block, abs=1e-12)
    expected = block - information.entropy(list(contexts.values()))
    assert made.conditional == pytest.approx(expected, abs=1e-9)
    assert (made.blocks, made.contexts) == (len(blocks), len(contexts))


def test_a_markov_chain_has_its_rate(rng):
    # After a: a or b alike; after b: a for certain. A stationary share of a of 2/3.
    draws = rng.random(200_000) < 0.5
    symbols, last = [], 0
    for draw in draws.tolist():
        last = 0 if last == 1 else int(draw)
        symbols.append(last)
    made = [sequence_entropy(np.array(symbols), order=order) for order in range(4)]
    assert made[0].conditional == pytest.approx(math.log2(3) - 2 / 3, abs=0.01)
    for entropy in made[1:]:
        assert entropy.conditional == pytest.approx(2 / 3, abs=0.01)


def test_corrected_by_name():
    novel = text.shakespeare()[:3_000]
    plain = text_entropy(novel, unit="word").conditional
    for method in ("miller_madow", "grassberger", "chao_shen", "jackknife"):
        assert text_entropy(novel, unit="word", method=method).conditional > plain
    nats = text_entropy(novel, unit="word", base=math.e).conditional
    assert nats == pytest.approx(plain * math.log(2))


def test_several_orders():
    novel = text.shakespeare()[:20_000]
    made = text_entropies(novel, max_order=4)
    assert made == [text_entropy(novel, order=order) for order in range(5)]
    both = text_entropies(novel, max_order=4, methods=["ml", "jackknife"])
    assert both[::2] == made
    assert both[3] == text_entropy(novel, order=1, method="jackknife")
    # A text of three words says nothing of what comes after three.
    assert len(text_entropies("a b c", unit="word", max_order=5)) == 3
    falling = [entropy.conditional for entropy in made]
    assert falling == sorted(falling, reverse=True)


def test_one_symbol():
    for order in range(3):
        made = text_entropy("aaaa", order=order)
        assert (made.block, made.conditional, made.blocks) == (0.0, 0.0, 1)
    assert text_entropy("a", method="chao_shen").conditional == 0.0
    assert text_entropy("a", method="jackknife").conditional == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: text_entropy(""), "expected more symbols than the order, 0, got 0"),
        (lambda: text_entropy(" \n", unit="word"), "expected more symbols than the order, 0, got"),
        (lambda: text_entropy("abc", order=3), "expected more symbols than the order, 3, got 3"),
        (lambda: text_entropy("abc", order=-1), "order: expected 0 to 19, got -1"),
        (lambda: text_entropy("abc", order=20), "order: expected 0 to 19, got 20"),
        (lambda: text_entropy("abc", unit="line"), "unit: expected char, word, byte, got 'line'"),
        (lambda: text_entropy("abc", base=0), "base: expected a positive number other than 1"),
        (lambda: text_entropy("abc", method="x"), "text_entropy: method: expected ml"),
        (lambda: text_entropies("", max_order=2), "expected more symbols than the order, 0, got 0"),
        (lambda: text_entropies("a", max_order=20), "max_order: expected 0 to 19, got 20"),
        (lambda: sequence_entropy([]), "expected more symbols than the order, 0, got 0"),
        (lambda: sequence_entropy(np.ones((2, 2))), r"expected shape \[L\], got \(2, 2\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types():
    with pytest.raises(TypeError, match="text: expected str, got bytes"):
        text_entropy(b"abc")
