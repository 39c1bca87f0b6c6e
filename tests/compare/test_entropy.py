import pytest

from lamina import information
from lamina.compare import text_entropy


def test_units_and_bytes():
    # Characters of two bytes each, so that a bit a character is half a bit a byte.
    rows = text_entropy("éà" * 500)
    assert [(row.unit, row.known) for row in rows] == [
        *(("char", k) for k in range(7)),
        ("word", 0),
    ]
    first = rows[0]
    assert (first.symbols, first.blocks) == (1_000, 2)
    assert first.bits == pytest.approx(1.0)
    assert first.bits_per_byte == pytest.approx(first.corrected / 2)
    assert rows[-1].bits == rows[-1].bits_per_byte == 0.0


def test_both_estimates():
    content = "to be or not to be that is the question\n" * 3
    row = text_entropy(content)[8]
    assert (row.unit, row.known) == ("word", 1)
    for bits, method in ((row.bits, "ml"), (row.corrected, "grassberger")):
        made = information.text_entropy(content, unit="word", order=1, method=method)
        assert bits == made.conditional
