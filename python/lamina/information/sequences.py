"""Entropies of texts and other sequences of symbols, by the length of what is known before."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.information.estimators import Array, entropy_nats, log_of

Ids = npt.NDArray[np.uint32]
Symbols = str | bytes | npt.NDArray[Any] | Sequence[Hashable]

_MAX_ORDER = 19
# More than the last code point.
_CODE_POINTS = 0x110000


@dataclass(frozen=True, kw_only=True)
class SequenceEntropy:
    """How uncertain the next symbol of a sequence is where so many before it are known.

    Attributes:
        unit: what a symbol is: ``char``, ``word``, ``byte`` or ``symbol``.
        order: k, symbols that are known.
        method: by which the entropies are estimated.
        symbols: length of the sequence.
        blocks: how many of the blocks of k + 1 symbols in it are different.
        contexts: how many of the first k symbols of these are.
        block: entropy of the blocks, ``H(X_1 ... X_k+1)``.
        conditional: ``H(X_k+1 | X_1 ... X_k)``, the entropy of a symbol after those before it.
    """

    unit: str
    order: int
    method: str
    symbols: int
    blocks: int
    contexts: int
    block: float
    conditional: float


def text_entropy(
    text: str, *, unit: str = "char", order: int = 0, base: float = 2.0, method: str = "ml"
) -> SequenceEntropy:
    """Entropy of the characters, words or bytes of a text after ``order`` known ones.

    The plug-in estimate falls as the order rises whatever the text is, as most long blocks occur
    once: it is low where ``blocks`` is not far below ``symbols``. A corrected one falls less.

    Args:
        text: the text.
        unit: ``char`` for code points, ``word`` for what lies between white space, or ``byte`` for
            those of UTF-8.
        order: symbols that are known, 0 to 19.
        base: of the logarithm; 2 gives bits a symbol.
        method: as of :func:`lamina.information.entropy`. The conditional entropy is that of blocks
            less that of contexts, so that a corrected one may be below zero.

    Raises:
        ValueError: an option makes no sense, or the text has no more symbols than ``order``.

    Reference:
        Shannon, Prediction and entropy of printed English, 1951.
    """
    (made,) = _entropies("text_entropy", text_ids(text, unit), unit, order, base, [method])
    return made


def text_entropies(
    text: str,
    *,
    unit: str = "char",
    max_order: int = 3,
    base: float = 2.0,
    methods: Sequence[str] = ("ml",),
) -> list[SequenceEntropy]:
    """:func:`text_entropy` for all orders from 0 on, and each by several methods.

    The text is cut into symbols once, and its blocks are counted once an order. Orders for which
    it is too short are left out.

    Args:
        text: the text.
        unit: as of :func:`text_entropy`.
        max_order: symbols that are known at most, 0 to 19.
        base: of the logarithm.
        methods: as of :func:`lamina.information.entropy`.

    Returns:
        For each order, one for each method.
    """
    ids = text_ids(text, unit)
    _check("text_entropies", "max_order", max_order)
    orders = range(max(1, min(max_order + 1, len(ids))))
    made = (_entropies("text_entropies", ids, unit, order, base, methods) for order in orders)
    return list(chain.from_iterable(made))


def sequence_entropy(
    symbols: Symbols, *, order: int = 0, base: float = 2.0, method: str = "ml"
) -> SequenceEntropy:
    """:func:`text_entropy` of any sequence: ids, labels, the characters of a ``str``.

    Args:
        symbols: the sequence.
        order: symbols that are known, 0 to 19.
        base: of the logarithm.
        method: as of :func:`text_entropy`.
    """
    ids = symbol_ids(symbols)
    (made,) = _entropies("sequence_entropy", ids, "symbol", order, base, [method])
    return made


def _entropies(
    op: str, ids: Ids, unit: str, order: int, base: float, methods: Sequence[str]
) -> list[SequenceEntropy]:
    _check(op, "order", order)
    if len(ids) <= order:
        raise ValueError(f"{op}: expected more symbols than the order, {order}, got {len(ids)}")
    log = log_of(op, base)
    counts, contexts = _counts(ids, order)
    made = []
    for method in methods:
        block, context = (entropy_nats(op, part, method) for part in (counts, contexts))
        conditional = max(0.0, block - context) if method == "ml" else block - context
        made.append(
            SequenceEntropy(
                unit=unit,
                order=order,
                method=method,
                symbols=len(ids),
                blocks=len(counts),
                contexts=len(contexts),
                block=block / log,
                conditional=conditional / log,
            )
        )
    return made


def _check(op: str, name: str, order: int) -> None:
    if not 0 <= order <= _MAX_ORDER:
        raise ValueError(f"{op}: {name}: expected 0 to {_MAX_ORDER}, got {order}")


def _counts(ids: Ids, order: int) -> tuple[Array, Array]:
    """How often each block of ``order`` + 1 symbols occurs, and each context of one."""
    blocks, found = _kernels.ngram_count(ids, order + 1)
    counts = found.astype(np.float64)
    # Contexts are counted where a symbol follows, so that the chain rule holds exactly.
    new = np.ones(len(blocks), bool)
    new[1:] = (blocks[1:, :order] != blocks[:-1, :order]).any(axis=1)
    return counts, np.add.reduceat(counts, np.flatnonzero(new))


# Symbols as ids.


def text_ids(text: str, unit: str) -> Ids:
    """The symbols of a text as ids from 0."""
    if not isinstance(text, str):
        raise TypeError(f"text: expected str, got {type(text).__name__}")
    if unit not in UNITS:
        raise ValueError(f"unit: expected {', '.join(UNITS)}, got {unit!r}")
    return UNITS[unit](text)


def symbol_ids(symbols: Symbols) -> Ids:
    """Any symbols as ids from 0."""
    if isinstance(symbols, str):
        return _characters(symbols)
    if isinstance(symbols, bytes | bytearray):
        return np.frombuffer(symbols, np.uint8).astype(np.uint32)
    if isinstance(symbols, np.ndarray):
        if symbols.ndim != 1:
            raise ValueError(f"symbols: expected shape [L], got {symbols.shape}")
        return np.unique(symbols, return_inverse=True)[1].astype(np.uint32)
    return _numbered(symbols)


def _characters(text: str) -> Ids:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    there = np.zeros(_CODE_POINTS, bool)
    there[codes] = True
    # Small ids make short keys, which the kernel sorts faster.
    return (np.cumsum(there, dtype=np.uint32) - np.uint32(1))[codes]


def _words(text: str) -> Ids:
    # Line by line: the words of a whole text take ten times its memory.
    return _numbered(chain.from_iterable(map(str.split, text.splitlines())))


def _bytes(text: str) -> Ids:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.uint32)


def _numbered(symbols: Iterable[Hashable]) -> Ids:
    ids: defaultdict[Hashable, int] = defaultdict(count().__next__)
    return np.fromiter(map(ids.__getitem__, symbols), np.uint32)


UNITS: dict[str, Callable[[str], Ids]] = {"char": _characters, "word": _words, "byte": _bytes}
"""Units of a text by name, see :func:`text_entropy`."""
