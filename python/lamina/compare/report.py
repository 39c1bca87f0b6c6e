"""The page: one HTML file that needs nothing else, with plots, tables and samples."""

import datetime
import importlib
import importlib.resources
import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lamina import files
from lamina.compare import plots, summary
from lamina.compare.families import DEFAULT
from lamina.compare.run import CURVE_TEXT, Comparison, ModelResult

_TOOLS = ("jinja2", "matplotlib")
# A column of numbers is too narrow for these as words.
_SYMBOLS = {"inf": "\u221e", "-inf": "\u2212\u221e", "-": "\u2013"}


def check_report_tools() -> None:
    """See, before any work, that the page could be written after it.

    Raises:
        ValueError: jinja2 or matplotlib is missing.
    """
    for name in _TOOLS:
        try:
            importlib.import_module(name)
        except ImportError:
            raise ValueError(
                f"the report needs {name}, which is not installed: pip install 'lamina[report]'"
            ) from None


def write_report(
    comparison: Comparison, path: str | os.PathLike[str], *, date: datetime.date | None = None
) -> None:
    """Write a comparison as one HTML page, all or nothing.

    The page loads nothing from elsewhere and runs no script. The same comparison and date give the
    same bytes.

    Args:
        comparison: what :func:`lamina.compare.compare` returned.
        path: the file.
        date: day shown on the page, by default today.

    Raises:
        ValueError: jinja2 or matplotlib is missing, or there are no models.
        OSError: the file cannot be written.
    """
    files.write_file(path, report_text(comparison, date=date))


def report_text(comparison: Comparison, *, date: datetime.date | None = None) -> str:
    """The page as text.

    Raises:
        ValueError: jinja2 or matplotlib is missing, or there are no models.
    """
    check_report_tools()
    import jinja2

    if not comparison.models:
        raise ValueError("write_report: comparison: expected at least one model")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: summary.printable(value) if type(value) is str else value,
    )
    template = importlib.resources.files("lamina.compare").joinpath("report.html.j2")
    page = environment.from_string(template.read_text(encoding="utf-8"))
    shown = date or datetime.datetime.now().astimezone().date()
    text = page.render(**_content(comparison, shown))
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@dataclass(frozen=True)
class _Cell:
    label: str
    text: str
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class _Row:
    model: ModelResult
    series: int
    cells: list[_Cell]


@dataclass(frozen=True)
class _Plot:
    name: str
    title: str
    wide: Any
    narrow: Any
    caption: str


@dataclass(frozen=True)
class _Piece:
    """A stretch of a bar; all in percent of its length."""

    name: str
    colour: str
    start: float
    length: float
    text: str = ""


@dataclass(frozen=True)
class _Bars:
    """Rows of one drawing; ``one`` is where its upright line lies."""

    rows: list[Any] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)
    one: float = 0.0


def _content(comparison: Comparison, date: datetime.date) -> dict[str, Any]:
    models = comparison.models
    machine = comparison.machine
    count = summary.number_word(len(models))
    noun = "language model" if len(models) == 1 else "language models"
    sentences = summary.findings(comparison)
    return {
        "heading": f"{count.capitalize()} {noun}, one text",
        "comparison": comparison,
        "models": models,
        "date": f"{date.day} {date:%B %Y}",
        "iso_date": date.isoformat(),
        "machine": machine,
        "peak": summary.decimals(machine["peak"] / 1e9, 0),
        "bandwidth": summary.decimals(machine["bandwidth"] / 1e9, 1),
        "lead": sentences[0],
        "findings": sentences[1:],
        "generations": [
            (*summary.split_generation(name), summary.series(name))
            for name in summary.generations(models)
        ],
        "rows": _rows(models),
        "other_tokenizer": not all(summary.common_tokenizer(models)),
        "unnormalized": not all(model.normalized for model in models),
        "plots": _plots(models),
        "entropy": _entropy(comparison),
        "entropy_reading": summary.entropy_reading(comparison),
        "time": _time(models),
        "kernels": _kernels(comparison.kernels),
        "command": _command(comparison),
        "tokenizing": summary.tokenizing(comparison),
        "rounds": summary.rounds(comparison.kernels) if comparison.kernels else "",
        "count": summary.count,
        "duration": summary.duration,
    }


def _rows(models: Sequence[ModelResult]) -> list[_Row]:
    common = summary.common_tokenizer(models)
    best = {column.key: summary.marked(models, column) for column in summary.COLUMNS}
    rows = []
    for i, model in enumerate(models):
        cells = []
        for column in summary.COLUMNS:
            text = column.text(column.value(model))
            mark = "~" if column in summary.QUALITY and not model.normalized else ""
            mark += "*" if column is summary.PERPLEXITY and not common[i] else ""
            text = _SYMBOLS.get(text, text)
            cells.append(_Cell(column.title, text, best[column.key][i], mark))
        rows.append(_Row(model, summary.series(model.generation), cells))
    return rows


def _plots(models: Sequence[ModelResult]) -> list[_Plot]:
    from markupsafe import Markup

    drawn = []
    for name, title, draw, caption in (
        (
            "curves",
            "Learning curves",
            plots.learning_curves,
            f"All on the first {CURVE_TEXT:,} characters of the held-out text; the summary is on "
            "all of it. Dotted lines carry the models that were done early to the edge.",
        ),
        (
            "quality",
            "Quality against time",
            plots.quality_over_time,
            "Lower is better, left is quicker."
            + (
                " The thin line joins the models that no other beats in both."
                if plots.has_front(models)
                else ""
            ),
        ),
    ):
        # Safe: matplotlib escapes every text it is given.
        wide = Markup(draw(models, plots.WIDE, f"{name}-wide"))  # noqa: S704
        narrow = Markup(draw(models, plots.NARROW, f"{name}-narrow"))  # noqa: S704
        if wide:
            drawn.append(_Plot(name, title, wide, narrow, caption))
    return drawn


def _entropy(comparison: Comparison) -> _Bars:
    """Bars of bits per byte; the line is at what the best model needs."""
    best = summary.best_bits(comparison.models)
    most = max([row.bits_per_byte for row in comparison.entropy] + [best or 0.0]) or 1.0
    rows = []
    for row in comparison.entropy:
        length = 100 * max(row.bits_per_byte, 0.0) / most
        rows.append(
            (
                summary.entropy_head(row),
                f"{row.blocks:,}",
                list(map(summary.bits, (row.bits, row.corrected, row.bits_per_byte))),
                _Piece(row.unit, "faster", 0.0, length),
            )
        )
    return _Bars(rows, one=math.nan if best is None else 100 * best / most)


def _time(models: Sequence[ModelResult]) -> _Bars:
    names, shares = summary.kernel_shares(models)
    colours = {name: f"k{i}" for i, name in enumerate(names)}
    colours |= {"other": "k-other", "python": "k-python"}
    rows = []
    for model, row in zip(models, shares, strict=True):
        # Kernels on several Python threads may add up to more than the time that passed.
        whole = max(1.0, sum(share for _, share in row))
        start, pieces = 0.0, []
        for name, share in row:
            length = 100 * share / whole
            pieces.append(_Piece(name, colours[name], start, length, summary.percent(share)))
            start += length
        rows.append((model, pieces))
    return _Bars(rows, [(name, colours[name]) for name in names])


def _kernels(kernels: Sequence[dict[str, Any]]) -> _Bars:
    """Bars of ratios on a logarithmic scale, from 1.0 to the left where lamina is slower."""
    ratios = [row["ratio"] for row in kernels if 0 < row["ratio"] < math.inf]
    low = min([0.8, *ratios])
    high = max([2.0, *ratios])

    def place(ratio: float) -> float:
        return 100 * math.log(ratio / low) / math.log(high / low)

    one, rows = place(1.0), []
    for row in kernels:
        fit = 0 < row["ratio"] < math.inf
        end = place(row["ratio"]) if fit else one
        colour = "slower" if end < one else "faster"
        piece = _Piece(row["name"], colour, min(one, end), abs(end - one))
        times = [summary.milliseconds(row["seconds"][peer]) for peer in ("lamina", "numpy")]
        shown = summary.ratio(row["ratio"]), summary.quartiles(row)
        rows.append((row["name"], row["size"], times, shown, piece))
    return _Bars(rows, one=one)


def _command(comparison: Comparison) -> str:
    words = ["lamina", "--threads", str(comparison.machine["threads"]), "compare"]
    # One that begins like an option is still a path.
    words += [f"./{path}" if path[1:] and path[0] == "-" else path for path in comparison.paths]
    names = [model.family for model in comparison.models]
    if names != list(DEFAULT):
        words += ["--models", ",".join(names)]
    words += ["--tokenizer", comparison.tokenizer.split(",")[0]]
    if comparison.steps is not None:
        words += ["--steps", str(comparison.steps)]
    if comparison.seconds is not None:
        words += ["--seconds", repr(comparison.seconds).removesuffix(".0")]
    words += ["--seed", str(comparison.seed)]
    if not comparison.kernels:
        words.append("--no-bench")
    return shlex.join([*words, "--report", "report.html"])
