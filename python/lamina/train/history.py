"""The record of a training."""

from collections.abc import Mapping


class History:
    """Numbers by name, one for each epoch, as Keras keeps them.

    Attributes:
        epoch: numbers of the epochs, from 0.
        history: ``loss``, ``lr``, ``seconds`` since the start and ``steps`` done, ``val_loss`` and
            metrics where there is validation: a list each, as long as ``epoch``.
        stopped: why training ended before its limits, empty where it did not.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self.stopped = ""

    def append(self, values: Mapping[str, float]) -> None:
        """Add a row; a name that is missing or new is filled with NaN."""
        rows = len(self.epoch)
        for name in {**self.history, **values}:
            column = self.history.setdefault(name, [float("nan")] * rows)
            column.append(float(values.get(name, float("nan"))))
        self.epoch.append(rows)

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]

    def __len__(self) -> int:
        return len(self.epoch)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={column[-1]:.4g}" for name, column in self.history.items())
        return f"History(epochs={len(self)}{', last: ' + last if last else ''})"
