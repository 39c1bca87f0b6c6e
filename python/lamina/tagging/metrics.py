"""Precision, recall and F1 of entities, as the script conlleval and seqeval count them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.tagging.schemes import Entity, entities, strict_entities

Labels = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scores:
    """How well entities were found.

    Attributes:
        precision: share of those found that are right; 0 where none were found.
        recall: share of those there are that were found; 0 where there are none.
        f1: harmonic mean of the two; 0 where both are.
        support: how many there are.
    """

    precision: float
    recall: float
    f1: float
    support: int


def _scores(right: int, found: int, there: int) -> Scores:
    precision = right / found if found else 0.0
    recall = right / there if there else 0.0
    total = precision + recall
    return Scores(precision, recall, 2 * precision * recall / total if total else 0.0, there)


def _check(y_true: Labels, y_pred: Labels) -> None:
    if len(y_true) != len(y_pred):
        raise ValueError(f"y_pred: expected {len(y_true)} sequences, got {len(y_pred)}")
    for i, (a, b) in enumerate(zip(y_true, y_pred, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"y_pred[{i}]: expected {len(a)} labels, got {len(b)}")


def _entities(labels: Sequence[str], scheme: str | None) -> list[Entity]:
    return entities(labels) if scheme is None else strict_entities(labels, scheme)


def _counts(y_true: Labels, y_pred: Labels, scheme: str | None) -> dict[str, tuple[int, int, int]]:
    """Of each type: how many entities are right, were found, and are there."""
    _check(y_true, y_pred)
    counts: dict[str, list[int]] = {}
    for true, predicted in zip(y_true, y_pred, strict=True):
        there, found = set(_entities(true, scheme)), set(_entities(predicted, scheme))
        for place, group in enumerate((there & found, found, there)):
            for entity in group:
                counts.setdefault(entity.type, [0, 0, 0])[place] += 1
    return {kind: (c[0], c[1], c[2]) for kind, c in sorted(counts.items())}


def entity_scores(y_true: Labels, y_pred: Labels, scheme: str | None = None) -> Scores:
    """Scores over the entities of all types.

    An entity is right where its type and both its ends are.

    Args:
        y_true: labels of each sequence.
        y_pred: the same as a model found them.
        scheme: read labels strictly by this scheme, and leave out what is not written as it says;
            by default as conlleval does, which reads anything.
    """
    counts = _counts(y_true, y_pred, scheme).values()
    right, found, there = (sum(count[i] for count in counts) for i in range(3))
    return _scores(right, found, there)


@dataclass(frozen=True)
class Report:
    """Scores of each type of entity and their means.

    Attributes:
        types: by name of the type.
        micro: over all entities.
        macro: plain mean over the types.
        weighted: mean weighted by how many there are of each.
    """

    types: dict[str, Scores]
    micro: Scores
    macro: Scores
    weighted: Scores

    def __str__(self) -> str:
        rows = [*self.types.items(), ("micro avg", self.micro), ("macro avg", self.macro)]
        rows.append(("weighted avg", self.weighted))
        width = max(len(name) for name, _ in rows)
        lines = [f"{'':{width}}  precision  recall     f1  support"]
        for name, scores in rows:
            figures = f"{scores.precision:9.4f} {scores.recall:7.4f} {scores.f1:6.4f}"
            lines.append(f"{name:{width}}  {figures} {scores.support:8d}")
        return "\n".join(lines)


def classification_report(y_true: Labels, y_pred: Labels, scheme: str | None = None) -> Report:
    """Scores of each type of entity; arguments as of :func:`entity_scores`."""
    counts = _counts(y_true, y_pred, scheme)
    types = {kind: _scores(*count) for kind, count in counts.items()}
    total = sum(scores.support for scores in types.values())

    def mean(weights: list[float]) -> Scores:
        whole = sum(weights)
        values = []
        for name in ("precision", "recall", "f1"):
            pairs = zip(weights, types.values(), strict=True)
            value = sum(weight * getattr(scores, name) for weight, scores in pairs)
            values.append(value / whole if whole else 0.0)
        return Scores(values[0], values[1], values[2], total)

    sums = [sum(count[i] for count in counts.values()) for i in range(3)]
    return Report(
        types,
        _scores(*sums),
        mean([1.0] * len(types)),
        mean([float(scores.support) for scores in types.values()]),
    )
