"""The text's own entropy, which stands beside what the models make of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from lamina import information

# How many are known at most, by units.
_ORDERS = {"char": 6, "word": 2}
# The plug-in estimate, and the least wrong of the corrected ones where most blocks are rare.
_METHODS = ("ml", "grassberger")


@dataclass(frozen=True, kw_only=True)
class TextEntropy:
    """How uncertain the next character or word of the text is after so many before it.

    Attributes:
        unit: ``char`` or ``word``.
        known: how many before it are known.
        symbols: characters or words in the text.
        blocks: how many of the blocks of the known ones and the next are different.
        bits: entropy of the next, as the counts say.
        corrected: likewise, less the bias of counts of few; see
            :func:`lamina.information.entropy`, ``grassberger``.
        bits_per_byte: the corrected one, spread over the bytes of the text.
    """

    unit: str
    known: int
    symbols: int
    blocks: int
    bits: float
    corrected: float
    bits_per_byte: float


def text_entropy(content: str) -> list[TextEntropy]:
    """Entropies of the characters and the words of a text, as far as it is long enough."""
    return [row for unit, known in _ORDERS.items() for row in _rows(content, unit, known)]


def _rows(content: str, unit: str, known: int) -> Iterator[TextEntropy]:
    size = len(content.encode("utf-8", "surrogatepass"))
    made = information.text_entropies(content, unit=unit, max_order=known, methods=_METHODS)
    for plain, corrected in zip(made[::2], made[1::2], strict=True):
        yield TextEntropy(
            unit=unit,
            known=plain.order,
            symbols=plain.symbols,
            blocks=plain.blocks,
            bits=plain.conditional,
            corrected=corrected.conditional,
            bits_per_byte=corrected.conditional * plain.symbols / size,
        )
