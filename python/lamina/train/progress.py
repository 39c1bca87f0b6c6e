"""What a training shows while it runs, on the standard error."""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

_PERIOD = 0.1


class Reporter:
    """Shows nothing; the base of what does."""

    def step(self, done: int, loss: float) -> None:
        """After a step."""

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """After an epoch."""

    def close(self) -> None:
        """After the training."""


class Lines(Reporter):
    """A line for each epoch."""

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """Print the row of the history."""
        print(describe(epoch, row), file=sys.stderr, flush=True)


class Bar(Lines):
    """A bar that moves with the steps, and a line for each epoch."""

    def __init__(self, total: int | None) -> None:
        # Imported here: a quarter of the time it takes to import this package.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._task: TaskID = self._progress.add_task("training", total=total)
        self._shown = 0.0
        self._progress.start()

    def step(self, done: int, loss: float) -> None:
        """Move the bar, ten times a second at most."""
        now = time.monotonic()
        if now - self._shown >= _PERIOD:
            self._shown = now
            self._progress.update(self._task, completed=done, description=f"loss {loss:.4f}")
            self._progress.refresh()

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """Print the row above the bar."""
        self._progress.console.print(describe(epoch, row), highlight=False, markup=False)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


def reporter(progress: bool | None, total: int | None) -> Reporter:
    """What ``progress`` asks for: ``None`` is a bar on a terminal, and nothing elsewhere."""
    terminal = False
    with contextlib.suppress(AttributeError, ValueError):
        terminal = sys.stderr.isatty()
    if progress is False or (progress is None and not terminal):
        return Reporter()
    return Bar(total) if terminal else Lines()


def describe(epoch: int, row: Mapping[str, float]) -> str:
    """One line of text for a row of the history."""
    values = " ".join(
        f"{name} {value:.4g}" for name, value in row.items() if name not in ("steps", "seconds")
    )
    return f"epoch {epoch + 1}: {values} ({row['steps']:.0f} steps, {row['seconds']:.1f} s)"
