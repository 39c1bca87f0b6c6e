"""What a training shows while it runs, on the standard error."""

import contextlib
import sys
import time
from collections.abc import Mapping
from datetime import timedelta

_PERIOD = 0.1
_WIDTH = 40


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
    """A bar that moves with the steps, and a line for each epoch above it."""

    def __init__(self, total: int | None) -> None:
        # Imported here: a quarter of the time it takes to import this package.
        from lamina.terminal import Live, Terminal

        self._terminal = Terminal(sys.stderr)
        self._total = total
        self._done = 0
        self._title = "training"
        self._started = self._shown = time.monotonic()
        self._live = Live(self._terminal, self._lines)
        self._live.start()

    def step(self, done: int, loss: float) -> None:
        """Move the bar, ten times a second at most."""
        self._done = done
        now = time.monotonic()
        if now - self._shown >= _PERIOD:
            self._shown = now
            self._title = f"loss {loss:.4f}"
            self._live.draw()

    def close(self) -> None:
        """Remove the bar."""
        self._live.stop()

    def _lines(self) -> list[str]:
        passed = time.monotonic() - self._started
        if not self._total:
            return [f"{self._title}  {self._done} steps  {_clock(passed)}"]
        share = self._done / self._total
        end = f"{self._done}/{self._total}  {_clock(passed)}"
        if self._done:
            end += f"  {_clock(passed / share - passed)} left"
        room = self._terminal.width - len(self._title) - len(end) - 4
        bar = self._terminal.bar(share, max(0, min(_WIDTH, room)))
        return [f"{self._title}  {bar}  {end}"]


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


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
