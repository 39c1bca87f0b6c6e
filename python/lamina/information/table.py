"""Tables of counts and probabilities with labels: joint, marginal, conditional, Bayes' rule."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ROWS, _COLUMNS, _LABEL = 20, 8, 24


class Table:
    """Counts or probabilities of one variable, or of the pairs of two, under their labels.

    Tables do not change: each method returns another. One is an array wherever one is expected, as
    in ``information.mutual_information(table)``.

    Args:
        values: ``[X]`` or ``[X, Y]``, none below zero.
        labels: those of each axis, all different.
        names: of the variables.
    """

    def __init__(
        self,
        values: npt.ArrayLike,
        labels: Sequence[Iterable[Hashable]],
        names: Sequence[str] = ("x", "y"),
    ) -> None:
        self.values: Array = np.array(values)
        self.labels = tuple(tuple(axis) for axis in labels)
        self.names = tuple(names)[: self.values.ndim]
        shape = tuple(map(len, self.labels))
        if self.values.ndim not in (1, 2) or self.values.shape != shape:
            raise ValueError(f"Table: values: expected shape {shape}, got {self.values.shape}")
        if len(self.names) != len(shape) or len(set(self.names)) != len(shape):
            raise ValueError(f"Table: names: expected {len(shape)} different, got {self.names}")
        if self.values.dtype.kind not in "uif" or not np.isfinite(self.values).all():
            raise ValueError("Table: values: expected finite numbers")
        if (self.values < 0).any():
            raise ValueError(f"Table: values: expected at least 0, got {self.values.min()}")
        self._places = [{label: i for i, label in enumerate(axis)} for axis in self.labels]
        if list(map(len, self._places)) != list(shape):
            raise ValueError("Table: labels: expected each once")
        self.values.flags.writeable = False

    @classmethod
    def from_pairs(
        cls, pairs: Iterable[tuple[Hashable, Hashable]], names: Sequence[str] = ("x", "y")
    ) -> Self:
        """Count pairs of labels, which stand in sorted order, or as they came if they have none."""
        counted: dict[tuple[Hashable, Hashable], int] = {}
        for x, y in pairs:
            counted[x, y] = counted.get((x, y), 0) + 1
        labels = [_ordered(dict.fromkeys(pair[axis] for pair in counted)) for axis in (0, 1)]
        places = [{label: i for i, label in enumerate(axis)} for axis in labels]
        values = np.zeros([len(axis) for axis in labels], np.int64)
        for (x, y), times in counted.items():
            values[places[0][x], places[1][y]] = times
        return cls(values, labels, names)

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(self.values.sum())

    def joint(self, *, smoothing: float = 0.0) -> Self:
        """Probabilities ``p(x, y)``: values over their sum.

        Args:
            smoothing: added to each count first; 1 is Laplace's rule.
        """
        values = self._smoothed(smoothing)
        total = values.sum()
        if not total > 0:
            raise ValueError("Table: expected a sum above 0, got 0")
        return self._like(values / total)

    def marginal(self, axis: int | str = 0, *, smoothing: float = 0.0) -> Self:
        """Probabilities ``p(x)`` of the variable of ``axis``, over all values of the other.

        Args:
            axis: its number or name.
            smoothing: as in :meth:`joint`.
        """
        kept = self._axis(axis)
        joint = self.joint(smoothing=smoothing).values
        others = tuple(other for other in range(joint.ndim) if other != kept)
        return type(self)(joint.sum(axis=others), [self.labels[kept]], [self.names[kept]])

    def conditional(self, given: int | str = 0, *, smoothing: float = 0.0) -> Self:
        """Probabilities ``p(y | x)``: each sums to one over the variable that is not given.

        Where a label of the given variable has no count at all they are all alike.

        Args:
            given: number or name of the variable that is known.
            smoothing: as in :meth:`joint`.
        """
        self._expect_two("conditional")
        other = 1 - self._axis(given)
        return self._like(_normalised(self._smoothed(smoothing), other))

    def bayes(
        self,
        given: int | str = 1,
        *,
        prior: Mapping[Hashable, float] | npt.ArrayLike | None = None,
        likelihood: npt.ArrayLike | None = None,
        smoothing: float = 0.0,
    ) -> Self:
        """Posterior by Bayes' rule: ``p(x | y) = p(x) p(y | x) / sum_x p(x) p(y | x)``.

        Args:
            given: number or name of the variable that is observed, y; by default the second.
            prior: p(x) by label, or in the order of the labels, in any scale; by default that of
                the counts.
            likelihood: p(y | x) in the shape of the table; by default that of the counts.
            smoothing: as in :meth:`joint`.

        Returns:
            p(x | y) in the shape of the table.
        """
        self._expect_two("bayes")
        observed = self._axis(given)
        hidden = 1 - observed
        if prior is None:
            before = self.marginal(hidden, smoothing=smoothing).values
        else:
            before = self._prior(prior, hidden)
        if likelihood is None:
            chances = self.conditional(hidden, smoothing=smoothing).values
        else:
            chances = _checked("likelihood", likelihood, self.values.shape)
        return self._like(_normalised(np.expand_dims(before, observed) * chances, hidden))

    def __getitem__(self, labels: Any) -> Any:
        """The value at a label of each variable."""
        keys = labels if self.values.ndim == 2 else (labels,)
        if not isinstance(keys, tuple) or len(keys) != self.values.ndim:
            raise KeyError(f"expected a label of each of {', '.join(self.names)}, got {labels!r}")
        return self.values[tuple(axis[key] for axis, key in zip(self._places, keys, strict=True))]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The values."""
        array = self.values if dtype is None else self.values.astype(dtype)
        return array.copy() if copy else array

    def __repr__(self) -> str:
        sizes = ", ".join(map("{}: {}".format, self.names, self.values.shape))
        return f"Table({sizes}; sum {self.total:g})"

    def __str__(self) -> str:
        """Rows and columns; of a large table the first ones."""
        rows = self.labels[0][:_ROWS]
        columns = self.labels[1][:_COLUMNS] if self.values.ndim == 2 else [""]
        grid = self.values.reshape(len(self.labels[0]), -1)
        cells = [["\\".join(map(_label, self.names)), *map(_label, columns)]]
        for label, row in zip(rows, grid, strict=False):
            cells.append([_label(label), *map(_number, row[:_COLUMNS])])
        if grid.shape[1] > len(columns):
            cells = [[*row, "..."] for row in cells]
        if len(self.labels[0]) > _ROWS:
            cells.append(["..."] * len(cells[0]))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])],
            ).rstrip()
            for row in cells
        )

    def _like(self, values: Array) -> Self:
        return type(self)(values, self.labels, self.names)

    def _smoothed(self, smoothing: float) -> Array:
        if not 0 <= smoothing < np.inf:
            raise ValueError(f"Table: smoothing: expected a number of at least 0, got {smoothing}")
        return self.values.astype(np.float64) + smoothing

    def _axis(self, axis: int | str) -> int:
        if isinstance(axis, str) and axis in self.names:
            return self.names.index(axis)
        if not isinstance(axis, str) and -len(self.names) <= axis < len(self.names):
            return axis % len(self.names)
        raise ValueError(f"Table: expected an axis, or {' or '.join(self.names)}, got {axis!r}")

    def _expect_two(self, op: str) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"Table: {op}: expected a table of two variables, got one")

    def _prior(self, prior: Any, axis: int) -> Array:
        if isinstance(prior, Mapping):
            missing = [label for label in self.labels[axis] if label not in prior]
            unknown = [label for label in prior if label not in self._places[axis]]
            if missing or unknown:
                raise ValueError(
                    f"Table: prior: expected the labels of {self.names[axis]}, "
                    f"got {'none for' if missing else 'also'} {(missing or unknown)[0]!r}"
                )
            prior = [prior[label] for label in self.labels[axis]]
        return _checked("prior", prior, (len(self.labels[axis]),))


def _checked(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.asarray(values, np.float64)
    if array.shape != shape:
        raise ValueError(f"Table: {name}: expected shape {shape}, got {array.shape}")
    if not np.isfinite(array).all() or array.min(initial=0.0) < 0 or not array.any():
        raise ValueError(f"Table: {name}: expected finite numbers of at least 0, not all 0")
    return array


def _normalised(values: Array, axis: int) -> Array:
    """``values`` over their sums along ``axis``; alike where these are zero."""
    sums = values.sum(axis=axis, keepdims=True)
    alike = 1 / values.shape[axis] if values.shape[axis] else 0.0
    return np.where(sums > 0, values / np.where(sums > 0, sums, 1.0), alike)


def _ordered(labels: Iterable[Any]) -> list[Any]:
    given = list(labels)
    try:
        return sorted(given)
    except TypeError:
        return given


def _label(label: Hashable) -> str:
    text = label if isinstance(label, str) and label.isprintable() else repr(label)
    text = "" if label == "" else text
    return text if len(text) <= _LABEL else text[: _LABEL - 3] + "..."


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, np.integer) else f"{value:.4f}"
