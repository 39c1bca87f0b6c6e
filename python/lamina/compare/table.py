"""The terminal: a table that fills while the models train, and the tables at the end."""

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from lamina.compare import summary
from lamina.compare.families import Family
from lamina.compare.run import Comparison, ModelResult, Progress
from lamina.terminal import Column, Live, Terminal, columns, styled, table, wrap

_WIDE = 116
_BAR = 16
_SAMPLE_LINES = 6
_REDRAWN = 0.25
# A column and its cells.
_Made = tuple[Column, Sequence[str]]


class LiveTable:
    """Shows how far the training is: a table in a terminal, else a line for each model.

    Args:
        terminal: where to.
        families: the rows, in the order in which they are trained.
        seconds: budget of each network.
    """

    def __init__(self, terminal: Terminal, families: Sequence[Family], seconds: float) -> None:
        self._terminal = terminal
        self._families = list(families)
        self._seconds = seconds
        self._last: list[Progress | None] = [None] * len(self._families)
        self._started = 0.0
        self._live = Live(terminal, self.lines, _REDRAWN)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The tables at the end say it all again; after an error this one is all there is.
        self._live.stop(keep=kind is not None)

    def update(self, progress: Progress) -> None:
        """Take in what happens now."""
        row = self._row(progress)
        before = self._last[row]
        if before is None or before.stage != progress.stage:
            self._started = time.monotonic() - progress.seconds
        self._last[row] = progress
        if not self._terminal.draws and progress.result is not None:
            self._print_done(progress.result)

    def _row(self, progress: Progress) -> int:
        """Where it belongs: the first of that name that is not done."""
        rows = [i for i, family in enumerate(self._families) if family.name == progress.family.name]
        for i in rows:
            last = self._last[i]
            if last is None or last.result is None:
                return i
        return rows[-1]

    def _print_done(self, result: ModelResult) -> None:
        line = (
            f"{result.family}: {summary.duration(result.training_seconds)} s of training, "
            f"{summary.bits(result.bits_per_byte)} bits per byte, "
            f"perplexity {summary.perplexity(result.perplexity)}"
        )
        self._terminal.print(line)

    def lines(self) -> list[str]:
        """The table as it is now."""
        heads = [
            Column("model"),
            Column("stage", least=9),
            Column(least=_BAR),
            Column("seconds", right=True),
            Column("bits per byte", right=True),
        ]
        rows = list(map(self._cells, self._families, self._last))
        lines = table(heads, rows, self._terminal.width)
        if all(last is not None and last.result is not None for last in self._last):
            lines.append(styled("measuring the kernels beside NumPy's", dim=True))
        return lines

    def _cells(self, family: Family, last: Progress | None) -> Sequence[str]:
        if last is None:
            return styled(family.title, dim=True), styled("waiting", dim=True), "", "", ""
        bits = "" if math.isnan(last.bits_per_byte) else summary.bits(last.bits_per_byte)
        if last.result is not None:
            seconds = summary.duration(last.seconds)
            return family.title, styled("done", fg="green"), "", seconds, bits
        title = styled(family.title, bold=True)
        if last.stage != "training":
            return title, last.stage, "", summary.duration(last.seconds), bits
        passed = time.monotonic() - self._started
        bar = ""
        if family.options is not None:
            bar = self._terminal.bar(passed / self._seconds, _BAR)
        return title, last.stage, bar, f"{passed:.1f}", bits


def print_comparison(terminal: Terminal, comparison: Comparison) -> None:
    """Print everything: what stands out, the numbers, what each is, times, kernels, samples."""
    models, width = comparison.models, terminal.width
    _paragraph(terminal, f"{comparison.source}, {comparison.characters:,} characters")
    for sentence in summary.findings(comparison):
        _paragraph(terminal, sentence)
    _section(terminal, "Summary", _numbers(models, width))
    for note in _notes(models):
        _paragraph(terminal, note, dim=True)
    _section(terminal, "What each is", _words(models, width))
    _section(terminal, "Where the time goes", _times(models, width))
    if comparison.kernels:
        _section(terminal, "Kernels beside NumPy", _kernels(comparison, width))
    _section(terminal, "What they write", [])
    for model in models:
        terminal.print(styled(model.title, bold=True))
        for line in _sample(model.sample, width - 2):
            terminal.print(f"  {line}".rstrip())
        terminal.print()


def _paragraph(terminal: Terminal, text: str, dim: bool = False) -> None:
    # Less what the terminal would obey.
    for line in wrap(styled(summary.printable(text), dim=dim), terminal.width):
        terminal.print(line)


def _section(terminal: Terminal, title: str, lines: Sequence[str]) -> None:
    for line in ("", styled(title, bold=True), *lines):
        terminal.print(line)


def _numbers(models: Sequence[ModelResult], width: int) -> list[str]:
    """The summary; a star, which also shows without colour, is at the best of each column.

    Columns for which the window is too narrow stand below the others.
    """
    names: list[_Made] = [
        (Column("model"), [model.family for model in models]),
        (Column("gen."), [summary.split_generation(model.generation)[0] for model in models]),
    ]
    lines: list[str] = []
    shown: list[_Made] = list(names)
    for column in summary.COLUMNS:
        more = _column(models, column)
        both = _beside([*shown, more], width)
        if len(shown) > len(names) and max(map(columns, both)) > width:
            lines += [*_beside(shown, width), ""]
            shown = list(names)
        shown.append(more)
    return lines + _beside(shown, width)


def _beside(made: Sequence[_Made], width: int) -> list[str]:
    rows = zip(*(texts for _, texts in made), strict=True)
    return table([head for head, _ in made], list(rows), width, gap=1)


def _column(models: Sequence[ModelResult], column: summary.Column) -> _Made:
    best = summary.marked(models, column)
    texts = [column.text(column.value(model)) for model in models]
    # The star stands to the right of numbers that are aligned on the right.
    cells = [
        styled(f"{text}*", fg="green", bold=True) if mark else f"{text} "
        for text, mark in zip(texts, best, strict=True)
    ]
    heading = "\n".join(f"{line} " for line in column.heading.split("\n"))
    return Column(heading, right=True), cells


def _notes(models: Sequence[ModelResult]) -> list[str]:
    notes = []
    if any(any(summary.marked(models, column)) for column in summary.COLUMNS):
        notes.append("* best of its column.")
    if not all(summary.common_tokenizer(models)):
        notes.append("Perplexities compare only between equal tokenizers, bits per byte always.")
    return [*notes, "; ".join(summary.generations(models)) + "."]


def _words(models: Sequence[ModelResult], width: int) -> list[str]:
    chosen: list[tuple[str, Callable[[ModelResult], str]]] = [
        ("learning algorithm", lambda model: model.learning),
        ("looks back on", lambda model: model.reach),
    ]
    if width >= _WIDE:
        chosen.insert(0, ("architecture", lambda model: model.architecture))
        chosen.append(("application", lambda model: model.application))
    heads = [Column("model"), *(Column(name, wraps=True) for name, _ in chosen)]
    rows = []
    above: list[str] = []
    for model in models:
        texts = [of(model) for _, of in chosen]
        shown = [
            "as above" if above[i : i + 1] == [text] and len(text) > 30 else text
            for i, text in enumerate(texts)
        ]
        rows.append([model.family, *shown])
        above = texts
    return table(heads, rows, width)


def _times(models: Sequence[ModelResult], width: int) -> list[str]:
    _, shares = summary.kernel_shares(models)
    room = width - max(len(model.family) for model in models) - 2
    rows = []
    for model, row in zip(models, shares, strict=True):
        # A name and its share stay on one line.
        lines = [""]
        for entry in (f"{name} {summary.percent(share)}" for name, share in row):
            if lines[-1] and len(lines[-1]) + 2 + len(entry) > room:
                lines.append("")
            lines[-1] += f"  {entry}" if lines[-1] else entry
        rows.append([model.family, "\n".join(lines) if row else "not measured"])
    return table([Column(), Column()], rows, width)


def _kernels(comparison: Comparison, width: int) -> list[str]:
    heads = [
        Column("work", wraps=True),
        *(Column(name, right=True) for name in ("lamina ms", "NumPy ms", "NumPy / lamina")),
    ]
    rows = []
    for row in comparison.kernels:
        work = f"{row['name']} {styled(row['size'], dim=True)}"
        times = [summary.milliseconds(row["seconds"][peer]) for peer in ("lamina", "numpy")]
        slower = row["ratio"] < 1
        rows.append(
            [work, *times, styled(summary.ratio(row["ratio"]), fg="yellow" if slower else None)]
        )
    return table(heads, rows, width)


def _sample(text: str, width: int) -> list[str]:
    """The first lines of what a model wrote, less what the terminal would obey."""
    if not text.strip():
        return ["(nothing)"]
    lines = summary.printable(text).expandtabs(4).split("\n")
    shown = lines[:_SAMPLE_LINES]
    if len(lines) > len(shown):
        shown.append("...")
    return wrap("\n".join(shown), width)
