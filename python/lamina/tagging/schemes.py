"""Schemes that write entities as labels of words: IOB1, IOB2, IOE1, IOE2, IOBES, BILOU."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

SCHEMES = ("IOB1", "IOB2", "IOE1", "IOE2", "IOBES", "BILOU")


class Entity(NamedTuple):
    """An entity in a sequence.

    Attributes:
        type: what it is.
        start: its first item.
        end: the item behind its last one.
    """

    type: str
    start: int
    end: int


def _split(label: str, where: str) -> tuple[str, str]:
    """Prefix and type; a bare prefix has the type ``"_"``."""
    if not isinstance(label, str):
        raise TypeError(f"{where}: expected str, got {type(label).__name__}")
    prefix, _, kind = label.partition("-")
    return prefix, kind or "_"


def entities(labels: Sequence[str]) -> list[Entity]:
    """The entities of a sequence, read as the script conlleval reads any scheme.

    An entity begins at ``B``, ``S`` or ``U``, or at any other label of another type than the one
    before, or after ``O``, ``E``, ``L`` or ``S``; nothing that can be read is refused.

    Args:
        labels: such as ``B-PER``, L.
    """
    found: list[Entity] = []
    before, kind_before, start = "O", "_", 0
    for t, label in enumerate([*labels, "O"]):
        prefix, kind = _split(label, f"label {t}")
        if prefix not in ("O", "B", "I", "E", "S", "L", "U"):
            raise ValueError(f"label {t}: expected O, B-, I-, E-, S-, L- or U-, got {label!r}")
        if _ends(before, prefix, kind_before, kind):
            found.append(Entity(kind_before, start, t))
        if _begins(before, prefix, kind_before, kind):
            start = t
        before, kind_before = prefix, kind
    return found


_SINGLE = ("S", "U")
_LAST = ("E", "L", *_SINGLE)


def _ends(before: str, prefix: str, kind_before: str, kind: str) -> bool:
    """Whether an entity ends between two labels."""
    if before == "O":
        return False
    return before in _LAST or prefix in ("B", "O", *_SINGLE) or kind_before != kind


def _begins(before: str, prefix: str, kind_before: str, kind: str) -> bool:
    """Whether an entity begins with the second of two labels."""
    if prefix == "O":
        return False
    return prefix in ("B", *_SINGLE) or before == "O" or before in _LAST or kind_before != kind


def strict_entities(labels: Sequence[str], scheme: str) -> list[Entity]:
    """The entities that are written exactly as ``scheme`` says; others are left out.

    Args:
        labels: such as ``B-PER``, L.
        scheme: one of ``SCHEMES``.
    """
    rules = _rules(scheme)
    found: list[Entity] = []
    parts = [_split(label, f"label {t}") for t, label in enumerate(labels)]
    for t, (prefix, _) in enumerate(parts):
        if prefix not in rules.prefixes:
            raise ValueError(f"label {t}: expected {rules.prefixes} of {scheme}, got {labels[t]!r}")
    t = 0
    outside = ("O", "_")
    while t < len(parts):
        here, before = parts[t], parts[t - 1] if t else outside
        if not _any(rules.start, before, here):
            t += 1
            continue
        end = t + 1
        while end < len(parts) and _any(rules.inside, parts[end - 1], parts[end]):
            end += 1
        after = parts[end] if end < len(parts) else outside
        if _any(rules.end, parts[end - 1], after):
            found.append(Entity(here[1], t, end))
        t = end
    return found


class _Rules(NamedTuple):
    """Pairs of prefixes, with ``=`` for one type, ``!`` for two, ``?`` for any, at which an entity
    begins, goes on and ends.
    """

    prefixes: str
    start: tuple[str, ...]
    inside: tuple[str, ...]
    end: tuple[str, ...]


_RULES = {
    "IOB1": _Rules("IOB", ("OI?", "II!", "BI?", "IB=", "BB="), ("BI=", "II="),
                   ("IO?", "II!", "IB?", "BO?", "BI!", "BB=")),
    "IOB2": _Rules("IOB", ("?B?",), ("BI=", "II="),
                   ("IO?", "II!", "IB?", "BO?", "BI!", "BB?")),
    "IOE1": _Rules("IOE", ("OI?", "II!", "OE?", "IE!", "EI?", "EE?"), ("II=", "IE="),
                   ("IO?", "II!", "IE!", "E??")),
    "IOE2": _Rules("IOE", ("OI?", "II!", "OE?", "IE!", "EI?", "EE?"), ("II=", "IE="), ("E??",)),
    "IOBES": _Rules("IOBES", ("?B?", "?S?"), ("BI=", "BE=", "II=", "IE="), ("S??", "E??")),
    "BILOU": _Rules("BILOU", ("?B?", "?U?"), ("BI=", "BL=", "II=", "IL="), ("U??", "L??")),
}  # fmt: skip


def _rules(scheme: str) -> _Rules:
    if scheme not in _RULES:
        raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {scheme!r}")
    return _RULES[scheme]


def _any(rules: Iterable[str], before: tuple[str, str], here: tuple[str, str]) -> bool:
    relation = "=" if before[1] == here[1] else "!"
    for rule in rules:
        first, second, types = tuple(rule)
        if first in ("?", before[0]) and second in ("?", here[0]) and types in ("?", relation):
            return True
    return False


def write_labels(found: Iterable[Entity], length: int, scheme: str) -> list[str]:
    """The labels of ``length`` items with these entities.

    Raises:
        ValueError: an entity lies outside or overlaps another.
    """
    _rules(scheme)
    labels = ["O"] * length
    last_end, last_kind = 0, None
    for kind, start, end in sorted(found, key=lambda entity: entity.start):
        if not last_end <= start < end <= length:
            raise ValueError(
                f"entities: expected spans apart within {length} items, got {start} to {end}"
            )
        body = ["I"] * (end - start)
        touches = start == last_end and last_kind == kind
        if scheme == "IOB2" or (scheme == "IOB1" and touches):
            body[0] = "B"
        elif scheme == "IOE2":
            body[-1] = "E"
        elif scheme == "IOE1" and touches:
            labels[start - 1] = f"E-{kind}"
        elif scheme in ("IOBES", "BILOU"):
            single, last = ("S", "E") if scheme == "IOBES" else ("U", "L")
            body[0], body[-1] = "B", last
            if len(body) == 1:
                body[0] = single
        labels[start:end] = [prefix if kind == "_" else f"{prefix}-{kind}" for prefix in body]
        last_end, last_kind = end, kind
    return labels


def convert(labels: Sequence[str], source: str, target: str) -> list[str]:
    """Labels of one scheme written in another.

    Raises:
        ValueError: a label is none of the ``source`` scheme, or its entities are not written as
            that says.
    """
    found = strict_entities(labels, source)
    covered = sum(end - start for _, start, end in found)
    inside = sum(label != "O" for label in labels)
    if covered != inside:
        raise ValueError(f"labels: {inside - covered} of {inside} are no part of a {source} entity")
    return write_labels(found, len(labels), target)
