"""The terminal: a table that fills while the models train, and the tables at the end."""

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lamina.compare import summary
from lamina.compare.families import Family
from lamina.compare.run import Comparison, ModelResult, Progress

_WIDE = 116
_BAR = 16
_SAMPLE_LINES = 6
_BEST = "bold green"


class LiveTable:
    """Shows how far the training is: a table in a terminal, else a line for each model.

    Args:
        console: where to.
        families: the rows, in the order in which they are trained.
        seconds: budget of each network.
    """

    def __init__(self, console: Console, families: Sequence[Family], seconds: float) -> None:
        self._console = console
        self._families = list(families)
        self._seconds = seconds
        self._last: list[Progress | None] = [None] * len(self._families)
        self._started = 0.0
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            # A whole table is drawn over itself, so that it must not be taller than the window.
            self._live = Live(
                get_renderable=self._table,
                console=console,
                refresh_per_second=4,
                vertical_overflow="crop",
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            # The tables at the end say it all again; after an error this one is all there is.
            self._live.transient = kind is None
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Take in what happens now."""
        row = self._row(progress)
        before = self._last[row]
        if before is None or before.stage != progress.stage:
            self._started = time.monotonic() - progress.seconds
        self._last[row] = progress
        if self._live is None and progress.result is not None:
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
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("model", no_wrap=True)
        table.add_column("stage", no_wrap=True, width=9)
        table.add_column("", width=_BAR)
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("bits per byte", justify="right", no_wrap=True)
        for family, last in zip(self._families, self._last, strict=True):
            table.add_row(*self._cells(family, last))
        parts: list[RenderableType] = [table]
        if all(last is not None and last.result is not None for last in self._last):
            parts.append(Text("measuring the kernels beside NumPy's", style="dim"))
        return Group(*parts)

    def _cells(self, family: Family, last: Progress | None) -> Sequence[RenderableType]:
        if last is None:
            return Text(family.title, style="dim"), Text("waiting", style="dim"), "", "", ""
        bits = "" if math.isnan(last.bits_per_byte) else summary.bits(last.bits_per_byte)
        if last.result is not None:
            seconds = summary.duration(last.seconds)
            return Text(family.title), Text("done", style="green"), "", seconds, bits
        if last.stage != "training":
            seconds = summary.duration(last.seconds)
            return Text(family.title, style="bold"), last.stage, "", seconds, bits
        passed = time.monotonic() - self._started
        bar: RenderableType = ""
        if family.options is not None:
            done = min(passed, self._seconds)
            bar = ProgressBar(total=self._seconds, completed=done, width=_BAR)
        return Text(family.title, style="bold"), last.stage, bar, f"{passed:.1f}", bits


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print everything: what stands out, the numbers, what each is, times, kernels, samples."""
    models = comparison.models
    _paragraph(console, f"{comparison.source}, {comparison.characters:,} characters")
    for sentence in summary.findings(comparison):
        _paragraph(console, sentence)
    _heading(console, "Summary")
    console.print(_numbers(models))
    _notes(console, models)
    _heading(console, "What each is")
    console.print(_words(models, console.width))
    _heading(console, "Where the time goes")
    console.print(_times(models, console.width))
    if comparison.kernels:
        _heading(console, "Kernels beside NumPy")
        console.print(_kernels(comparison))
    _heading(console, "What they write")
    for model in models:
        _sample(console, model)


def _paragraph(console: Console, text: str, style: str = "") -> None:
    console.print(Text(_safe(console, text), style=style))


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _safe(console: Console, text: str) -> str:
    """``text`` less what the terminal would obey or cannot show."""
    encoding = console.encoding
    return summary.printable(text).encode(encoding, "replace").decode(encoding)


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _numbers(models: Sequence[ModelResult]) -> Table:
    """The summary; a star, which also shows without colour, is at the best of each column."""
    table = _plain_table()
    table.add_column("\nmodel", no_wrap=True)
    table.add_column("\ngen.", no_wrap=True)
    columns = []
    for column in summary.COLUMNS:
        best = summary.marked(models, column)
        texts = [column.text(column.value(model)) for model in models]
        head = column.heading.split("\n")
        width = max(map(len, [*texts, *head]))
        # Padded by hand: the star stands to the right of numbers that are aligned on the right.
        table.add_column("\n".join(line.rjust(width) for line in head), no_wrap=True)
        columns.append(
            [
                Text(text.rjust(width) + ("*" if mark else " "), style=_BEST if mark else "")
                for text, mark in zip(texts, best, strict=True)
            ]
        )
    for model, *cells in zip(models, *columns, strict=True):
        generation = summary.split_generation(model.generation)[0]
        table.add_row(Text(model.family), Text(generation), *cells)
    return table


def _notes(console: Console, models: Sequence[ModelResult]) -> None:
    notes = []
    if any(any(summary.marked(models, column)) for column in summary.COLUMNS):
        notes.append("* best of its column.")
    if not all(summary.common_tokenizer(models)):
        notes.append("Perplexities compare only between equal tokenizers, bits per byte always.")
    notes.append("; ".join(summary.generations(models)) + ".")
    for note in notes:
        _paragraph(console, note, "dim")


def _words(models: Sequence[ModelResult], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    columns: list[tuple[str, Callable[[ModelResult], str]]] = [
        ("learning algorithm", lambda model: model.learning),
        ("looks back on", lambda model: model.reach),
    ]
    if width >= _WIDE:
        columns.insert(0, ("architecture", lambda model: model.architecture))
        columns.append(("application", lambda model: model.application))
    table.add_column("model", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, ratio=1)
    table.expand = True
    above: list[str] = []
    for model in models:
        texts = [of(model) for _, of in columns]
        shown = [
            "as above" if above[i : i + 1] == [text] and len(text) > 30 else text
            for i, text in enumerate(texts)
        ]
        table.add_row(Text(model.family), *map(Text, shown))
        above = texts
    return table


def _times(models: Sequence[ModelResult], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    _, rows = summary.kernel_shares(models)
    room = width - max(len(model.family) for model in models) - 2
    for model, row in zip(models, rows, strict=True):
        # A name and its share stay on one line.
        lines = [""]
        for entry in (f"{name} {summary.percent(share)}" for name, share in row):
            if lines[-1] and len(lines[-1]) + 2 + len(entry) > room:
                lines.append("")
            lines[-1] += f"  {entry}" if lines[-1] else entry
        table.add_row(Text(model.family), Text("\n".join(lines) if row else "not measured"))
    return table


def _kernels(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("work")
    for name in ("lamina ms", "NumPy ms", "NumPy / lamina"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.kernels:
        work = Text(row["name"]).append(f" {row['size']}", style="dim")
        times = [summary.milliseconds(row["seconds"][peer]) for peer in ("lamina", "numpy")]
        style = "yellow" if row["ratio"] < 1 else ""
        table.add_row(work, *times, Text(summary.ratio(row["ratio"]), style=style))
    return table


def _sample(console: Console, model: ModelResult) -> None:
    lines = _safe(console, model.sample).expandtabs(4).split("\n")
    shown = lines[:_SAMPLE_LINES]
    if len(lines) > len(shown):
        shown.append("...")
    console.print(Text(model.title, style="bold"))
    body = Text("\n".join(shown) if model.sample.strip() else "(nothing)")
    console.print(Padding(body, (0, 0, 1, 2), expand=False))
