"""Text for a terminal: styles, lines of a width, tables, and a block that is drawn over itself."""

import contextlib
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import TracebackType
from typing import Any, Self, TextIO, cast

import click

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_WORD = re.compile(r"\S+")
_NARROWEST = 8
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
# A line that is too long for the window is cut by the terminal itself.
_CUT, _BREAK = "\x1b[?7l", "\x1b[?7h"


class Terminal:
    """Where text goes: a terminal, or a file that then gets no escape codes.

    Args:
        file: a text stream; the standard output by default.
        width: columns; by default those of ``COLUMNS``, of the window, or 80.
        height: lines; likewise ``LINES``, the window, or 24.

    Attributes:
        file: the stream.
        encoding: of the stream; what it cannot show becomes ``?``.
        draws: whether text can be drawn over, which is so in a terminal that is not ``dumb``.
        colours: whether styles are shown: it draws, and ``NO_COLOR`` is not set.
    """

    def __init__(
        self, file: TextIO | None = None, *, width: int | None = None, height: int | None = None
    ) -> None:
        self.file = sys.stdout if file is None else file
        self.encoding = getattr(self.file, "encoding", None) or "utf-8"
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        terminal = is_terminal(self.file) and not dumb
        self.colours = terminal and not os.environ.get("NO_COLOR")
        # A block within a block cannot be drawn: its lines go above the outer one.
        self.draws = terminal and not isinstance(self.file, _Above)
        self._size = width, height

    @property
    def width(self) -> int:
        """Columns, now."""
        return self._size[0] or _measure("COLUMNS", self.file, 0, 80)

    @property
    def height(self) -> int:
        """Lines, now."""
        return self._size[1] or _measure("LINES", self.file, 1, 24)

    def print(self, text: str = "") -> None:
        """Write ``text`` and a line break; long lines are left as they are."""
        self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Write ``text``, less its styles where they are not shown."""
        if not self.colours:
            text = _STYLE.sub("", text)
        text = text.encode(self.encoding, "replace").decode(self.encoding)
        click.echo(text, file=self.file, nl=False, color=True)

    def bar(self, share: float, width: int) -> str:
        """A bar of ``width`` columns of which ``share`` are filled."""
        full, half = divmod(round(2 * width * min(max(share, 0.0), 1.0)), 2)
        try:
            "━╸".encode(self.encoding)
            line, end = "━", "╸" * half
        except UnicodeEncodeError:
            line, end = "-", " " * half
        rest = (line if self.colours else " ") * (width - full - half)
        return styled(line * full + end, fg="cyan") + styled(rest, dim=True)


def is_terminal(file: TextIO) -> bool:
    """Whether ``file`` is an open terminal."""
    with contextlib.suppress(AttributeError, ValueError):
        return file.isatty()
    return False


def _measure(variable: str, file: TextIO, axis: int, otherwise: int) -> int:
    with contextlib.suppress(KeyError, ValueError):
        if (size := int(os.environ[variable])) > 0:
            return size
    # The output may go through a pipe to a program that shows it in the same window.
    for stream in (file, sys.__stderr__, sys.__stdin__):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            if size := os.get_terminal_size(cast(TextIO, stream).fileno())[axis]:
                return size
    return otherwise


def styled(text: str, fg: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
    """``text`` in a colour, bold or dim: word by word, so that a line may break between any two."""
    if fg is None and not bold and not dim:
        return text
    return _WORD.sub(
        lambda word: click.style(word[0], fg=fg, bold=bold or None, dim=dim or None), text
    )


def columns(text: str) -> int:
    """How many columns ``text`` takes: wide characters take two, styles and accents none."""
    text = _STYLE.sub("", text)
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns, broken at blanks, and within words that are longer."""
    lines = []
    for line in text.split("\n"):
        current = ""
        for i, word in enumerate(line.rstrip(" ").split(" ")):
            joined = f"{current} {word}" if i else word
            if columns(joined) > width and current.strip():
                lines.append(current.rstrip())
                joined = word
            *full, current = _cut(joined, width)
            lines += full
        lines.append(current)
    return lines


def _cut(text: str, width: int) -> list[str]:
    if columns(text) <= width:
        return [text]
    lines, taken = [""], 0
    for character in _STYLE.sub("", text):
        taken += _columns(character)
        if taken > width and lines[-1]:
            lines.append("")
            taken = _columns(character)
        lines[-1] += character
    return lines


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: above it, in one or several lines, the last ones beside each other.
        right: whether its numbers end below each other.
        wraps: whether its lines are broken where the table is too wide.
        least: columns that it takes at least.
    """

    heading: str = ""
    right: bool = False
    wraps: bool = False
    least: int = 0


def table(
    heads: Sequence[Column], rows: Sequence[Sequence[str]], width: int, gap: int = 2
) -> list[str]:
    """The lines of a table: as wide as it must be, and no wider than ``width`` if that can be.

    Args:
        heads: the columns.
        rows: a text for each column; it may hold line breaks and styles.
        width: columns at most; those that wrap share what the others leave.
        gap: blanks between two columns.
    """
    most = max(head.heading.count("\n") for head in heads)
    headings = [
        styled("\n" * (most - head.heading.count("\n")) + head.heading, dim=True) for head in heads
    ]
    cells = [headings, *rows] if any(head.heading for head in heads) else rows
    wanted = [
        max([head.least, *(columns(line) for row in cells for line in row[i].split("\n"))])
        for i, head in enumerate(heads)
    ]
    widths = _share(heads, wanted, width - gap * (len(heads) - 1))
    lines = []
    for row in cells:
        parts = [
            wrap(text, size) if head.wraps else text.split("\n")
            for head, text, size in zip(heads, row, widths, strict=True)
        ]
        for texts in zip_longest(*parts, fillvalue=""):
            padded = map(_pad, texts, widths, heads)
            lines.append((" " * gap).join(padded).rstrip())
    return lines


def _share(heads: Sequence[Column], wanted: Sequence[int], room: int) -> list[int]:
    """What each column gets: those that wrap take no more than an equal part of what is left."""
    widths = list(wanted)
    wrapping = sorted((i for i, head in enumerate(heads) if head.wraps), key=wanted.__getitem__)
    room -= sum(wanted) - sum(wanted[i] for i in wrapping)
    for done, i in enumerate(wrapping):
        widths[i] = min(wanted[i], max(room // (len(wrapping) - done), _NARROWEST))
        room -= widths[i]
    return widths


def _pad(text: str, width: int, head: Column) -> str:
    blanks = " " * (width - columns(text))
    return blanks + text if head.right else text + blanks


class Live:
    """Lines at the end of a terminal that are drawn over themselves as they change.

    No more of them is drawn than the window can hold. What the program prints meanwhile appears
    above them. Where the terminal cannot be drawn over, nothing happens.

    Args:
        terminal: where to.
        lines: makes them; called for each drawing, from another thread if there is a ``period``.
        period: seconds between two drawings; without it :meth:`draw` draws.
    """

    def __init__(
        self, terminal: Terminal, lines: Callable[[], Sequence[str]], period: float | None = None
    ) -> None:
        self._terminal = terminal
        self._lines = lines
        self._period = period
        # Columns of each line that stands there, and of the window when it was drawn.
        self._shown: list[int] = []
        self._width = 0
        self._running = False
        self.lock = threading.RLock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._streams: dict[str, _Above] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After an error they are all there is to see.
        self.stop(keep=kind is not None)

    def start(self) -> None:
        """Hide the cursor and draw for the first time."""
        if not self._terminal.draws:
            return
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if is_terminal(stream) and not isinstance(stream, _Above):
                self._streams[name] = _Above(stream, self)
                setattr(sys, name, self._streams[name])
        self._running = True
        self._terminal.write(_HIDE)
        self.draw()
        if self._period is not None:
            self._thread = threading.Thread(target=self._keep_drawing, daemon=True)
            self._thread.start()

    def draw(self) -> None:
        """Draw them as they are now."""
        with self.lock:
            if self._running:
                self._show(self._lines()[: self._terminal.height])

    def above(self, stream: TextIO, text: str) -> None:
        """Write whole lines to ``stream``, above."""
        with self.lock:
            if self._running:
                self._terminal.write(self._erase())
            stream.write(text)
            stream.flush()
            self.draw()

    def stop(self, keep: bool = False) -> None:
        """Remove them, or leave all of them standing, and show the cursor."""
        if not self._running:
            return
        self._ending.set()
        try:
            if self._thread is not None:
                self._thread.join()
            if keep:
                self._show([*self._lines(), ""])
        finally:
            for name, stream in self._streams.items():
                if getattr(sys, name) is stream:
                    setattr(sys, name, stream.stream)
            with self.lock:
                self._running = False
                self._terminal.write(("" if keep else self._erase()) + _BREAK + _SHOW)
            for stream in self._streams.values():
                stream.end()

    def _keep_drawing(self) -> None:
        with contextlib.suppress(OSError):  # The window may have been closed.
            while not self._ending.wait(self._period):
                self.draw()

    def _show(self, lines: Sequence[str]) -> None:
        with self.lock:
            erased, self._width = self._erase(), self._terminal.width
            self._shown = [min(columns(line), self._width) for line in lines]
            self._terminal.write(erased + _CUT + "\n".join(lines) + _BREAK)

    def _erase(self) -> str:
        # Line by line: some terminals keep what is erased with the whole screen in their history.
        above, width = len(self._shown) - 1, self._terminal.width
        if width < self._width:
            # A window that became narrower has broken the lines that no longer fit.
            above += sum(max(taken - 1, 0) // width for taken in self._shown)
            above = min(above, self._terminal.height - 1)
        self._shown = []
        return "\r\x1b[2K" + "\x1b[1A\x1b[2K" * above


class _Above:
    """A standard stream meanwhile: whole lines go above the block."""

    def __init__(self, stream: TextIO, live: Live) -> None:
        self.stream = stream
        self._live = live
        self._rest = ""

    def write(self, text: str) -> int:
        with self._live.lock:
            lines, end, self._rest = (self._rest + text).rpartition("\n")
            if end:
                self._live.above(self.stream, lines + end)
        return len(text)

    def end(self) -> None:
        self.stream.write(self._rest)
        self._rest = ""

    def flush(self) -> None:
        self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
