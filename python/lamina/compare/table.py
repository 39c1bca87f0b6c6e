"""The terminal: a table that fills while the models train, and the tables at the end."""

import math
import sys
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
_BAR_COLUMN = 2
# A column and its cells.
_Made = tuple[Column, Sequence[str]]


class LiveTable:
    """Shows how far the training is: a table in a terminal, else a line for each model.

    Args:
        terminal: where to.
        families: the rows, in the order in which they are trained.
        seconds: budget of each network, ``None`` where it is in steps.
    """

    def __init__(
        self, terminal: Terminal, families: Sequence[Family], seconds: float | None
    ) -> None:
        self._terminal = terminal
        self._families = list(families)
        self._seconds = seconds
        self._last: list[Progress | None] = [None] * len(self._families)
        self._stage = ""
        self._stage_began = time.monotonic()
        self._header: list[str] = []
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
        if progress.comparison is not None:
            self._header = header(progress.comparison)
        if progress.family is None:
            self._stage, self._stage_began = progress.stage, time.monotonic()
        else:
            # The clock of training stands still while the curve is measured.
            self._started = time.monotonic() - progress.seconds
            self._last[self._row(progress.family)] = progress
        if self._terminal.draws:
            return
        if progress.family is None:
            print(progress.stage, file=sys.stderr, flush=True)
        elif progress.result is not None:
            self._print_done(progress.result)

    def _row(self, family: Family) -> int:
        """Where it belongs: the first of that name that is not done."""
        rows = [i for i, other in enumerate(self._families) if other.name == family.name]
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
        width = self._terminal.width
        rows = list(map(self._cells, self._families, self._last))
        lines = table(heads, rows, width)
        if max(map(columns, lines)) > width:
            # Less the bar, and what is left of it closer together.
            heads = [head for i, head in enumerate(heads) if i != _BAR_COLUMN]
            heads[-1] = Column("bits/\nbyte", right=True)
            rows = [[cell for i, cell in enumerate(row) if i != _BAR_COLUMN] for row in rows]
            lines = table(heads, rows, width, gap=1)
        above = [part for text in self._header for part in wrap(styled(text, dim=True), width)]
        # The rows are what changes: where the window is too low, the rest gives way.
        if len(above) + len(lines) + 1 > self._terminal.height:
            above = []
        training = any(last is not None and last.result is None for last in self._last)
        if self._stage and not training:
            passed = time.monotonic() - self._stage_began
            lines.append(styled(f"{self._stage}, {passed:.0f} s", dim=True))
        return above + lines

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
        if family.options is not None and self._seconds is not None:
            bar = self._terminal.bar(passed / self._seconds, _BAR)
        return title, last.stage, bar, f"{passed:.1f}", bits


def print_comparison(terminal: Terminal, comparison: Comparison) -> None:
    """Print everything: what stands out, the numbers, what each is, times, kernels, samples."""
    models, width = comparison.models, terminal.width
    for line in header(comparison):
        _paragraph(terminal, line)
    if not comparison.complete:
        _paragraph(terminal, "Interrupted: what follows is what was done by then.")
    for sentence in summary.findings(comparison):
        _paragraph(terminal, sentence)
    _section(terminal, "Summary", _numbers(models, width))
    for note in _notes(comparison):
        _paragraph(terminal, note, dim=True)
    if comparison.entropy:
        _section(terminal, "The text's own entropy", _entropy(comparison, width))
        for note in summary.entropy_reading(comparison):
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


def header(comparison: Comparison) -> list[str]:
    """What is compared, on what and where, in lines."""
    machine = comparison.machine
    held_out = comparison.held_out_characters
    return [
        f"{comparison.source}, {summary.count(comparison.characters, 'character')}, the last "
        f"{held_out:,} held out; tokenizer {comparison.tokenizer}",
        f"{comparison.budget} for each network, seed {comparison.seed}; {machine['processor']}, "
        f"{machine['isa']}, {summary.count(machine['threads'], 'thread')}",
    ]


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
        styled(f"{text}*", fg="green", bold=True)
        if mark
        else f"{text}{'~' if column in summary.QUALITY and not model.normalized else ' '}"
        for model, text, mark in zip(models, texts, best, strict=True)
    ]
    heading = "\n".join(f"{line} " for line in column.heading.split("\n"))
    return Column(heading, right=True), cells


def _notes(comparison: Comparison) -> list[str]:
    models = comparison.models
    notes = []
    if any(any(summary.marked(models, column)) for column in summary.COLUMNS):
        notes.append("* best of its column.")
    if not all(model.normalized for model in models):
        notes.append("~ of scores that do not sum to one: it looks better than it is.")
    if not all(summary.common_tokenizer(models)):
        notes.append("Perplexities compare only between equal tokenizers, bits per byte always.")
    notes.append(summary.tokenizing(comparison))
    return [*notes, "; ".join(summary.generations(models)) + "."]


def _entropy(comparison: Comparison, width: int) -> list[str]:
    heads = [
        Column("of the next"),
        *(Column(name, right=True) for name in ("known\nbefore", "different\nblocks")),
        *(Column(name, right=True) for name in ("bits", "bits,\ncorrected", "bits/\nbyte")),
    ]
    rows = [
        [
            summary.entropy_unit(row),
            str(row.known),
            f"{row.blocks:,}",
            *map(summary.bits, (row.bits, row.corrected, row.bits_per_byte)),
        ]
        for row in comparison.entropy
    ]
    return table(heads, rows, width)


def _words(models: Sequence[ModelResult], width: int) -> list[str]:
    chosen: list[tuple[str, Callable[[ModelResult], str]]] = [
        ("learning algorithm", lambda model: model.learning),
        ("looks back on", lambda model: model.reach),
    ]
    chosen.insert(0, ("architecture", lambda model: model.architecture))
    chosen.append(("application", lambda model: model.application))
    if width < _WIDE:
        return _blocks(models, chosen, width)
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


def _blocks(
    models: Sequence[ModelResult],
    chosen: Sequence[tuple[str, Callable[[ModelResult], str]]],
    width: int,
) -> list[str]:
    """A model after the other, each with its texts below each other."""
    lines: list[str] = []
    for model in models:
        rows = [[styled(f"  {name}", dim=True), of(model)] for name, of in chosen]
        lines += [model.family, *table([Column(), Column(wraps=True)], rows, width)]
    return lines


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
        *(Column(name, right=True) for name in ("lamina\nms", "NumPy\nms", "NumPy /\nlamina")),
        Column("\nquartiles", right=True),
    ]
    rows = []
    for row in comparison.kernels:
        work = f"{row['name']} {styled(row['size'], dim=True)}"
        times = [summary.milliseconds(row["seconds"][peer]) for peer in ("lamina", "numpy")]
        slower = row["ratio"] < 1
        rows.append(
            [
                work,
                *times,
                styled(summary.ratio(row["ratio"]), fg="yellow" if slower else None),
                summary.quartiles(row),
            ]
        )
    notes = wrap(styled(summary.rounds(comparison.kernels), dim=True), width)
    return [*table(heads, rows, width), *notes]


def _sample(text: str, width: int) -> list[str]:
    """The first lines of what a model wrote, less what the terminal would obey."""
    if not text.strip():
        return ["(nothing)"]
    lines = summary.printable(text).expandtabs(4).split("\n")
    shown = lines[:_SAMPLE_LINES]
    if len(lines) > len(shown):
        shown.append("...")
    return wrap("\n".join(shown), width)
