"""The figures as one HTML page that needs nothing else: bars of the ratios, times, memory."""

import datetime
import importlib
import importlib.resources
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamina import files
from lamina.bench import table
from lamina.bench.table import Row

_GROUPS = (
    ("Matrix products", ("matmul",)),
    ("Convolution and pooling", ("conv", "pooling")),
    ("Recurrent layers", ("lstm", "gru")),
    ("Attention", ("attention",)),
    (
        "Loss, activations, normalisation, optimiser",
        ("loss", "activation", "softmax", "norm", "optimizer"),
    ),
    ("Training steps", ("training",)),
    ("One prediction, one op", ("latency", "overhead")),
    ("A core taken by another process", ("contention",)),
)
_TICKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)
# Ratios beyond are drawn to the edge.
_FARTHEST = 24.0


def check_report_tools() -> None:
    """See, before any work, that the page could be written after it.

    Raises:
        ValueError: jinja2 is missing.
    """
    try:
        importlib.import_module("jinja2")
    except ImportError:
        raise ValueError(
            "the report needs jinja2, which is not installed: pip install 'lamina[report]'"
        ) from None


def write_report(record: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the results of ``lamina bench --peers`` as one HTML page, all or nothing.

    The page loads nothing from elsewhere and runs no script.

    Args:
        record: what the command writes as JSON.
        path: the file.

    Raises:
        ValueError: jinja2 is missing, or there are no results.
        OSError: the file cannot be written.
    """
    files.write_file(path, report_text(record))


def report_text(record: Mapping[str, Any]) -> str:
    """The page as text.

    Raises:
        ValueError: jinja2 is missing, or there are no results.
    """
    check_report_tools()
    import jinja2

    if not record["results"]:
        raise ValueError("write_report: record: expected at least one result")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = importlib.resources.files("lamina.bench").joinpath("report.html.j2")
    text = environment.from_string(template.read_text(encoding="utf-8")).render(**_content(record))
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@dataclass(frozen=True)
class _Bar:
    """A ratio as it is drawn; places are in percent of the width.

    Attributes:
        colour: class of the bar.
        start: where it begins.
        length: how far it goes.
        low: first quartile.
        high: third quartile.
        asked: where the least ratio lies, if one is asked for.
    """

    colour: str
    start: float
    length: float
    low: float
    high: float
    asked: float | None


@dataclass(frozen=True)
class _Line:
    row: Row
    cells: list[str]
    times: str
    bar: _Bar | None


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis."""

    low: float
    high: float

    def place(self, ratio: float) -> float:
        ratio = min(max(ratio, self.low), self.high)
        return 100 * math.log(ratio / self.low) / math.log(self.high / self.low)

    @property
    def ticks(self) -> list[tuple[str, float]]:
        inside = [tick for tick in _TICKS if self.low <= tick <= self.high]
        return [
            (f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}", self.place(tick)) for tick in inside
        ]


def _content(record: Mapping[str, Any]) -> dict[str, Any]:
    machine = record["machine"]
    rows: Sequence[Row] = record["results"]
    scale = _scale(rows)
    groups = []
    named = {family for _, families in _GROUPS for family in families}
    for title, families in (*_GROUPS, ("Other", ())):
        lines = [
            _line(row, scale)
            for row in rows
            if row["family"] in families or (not families and row["family"] not in named)
        ]
        if lines:
            groups.append((title, lines))
    date = datetime.date.fromisoformat(record["date"])
    return {
        "lead": table.summary(record),
        "groups": groups,
        "scale": scale,
        "machine": machine,
        "peak": f"{machine['peak'] / 1e9:.0f}",
        "bandwidth": f"{machine['bandwidth'] / 1e9:.1f}",
        "versions": ", ".join(f"{name} {v}" for name, v in machine["versions"].items()),
        "rounds": record["rounds"],
        "date": f"{date.day} {date:%B %Y}",
        "iso_date": record["date"],
        "memory": table.memory_rows(record),
        "notes": table.notes(record),
        "command": _command(record),
    }


def _command(record: Mapping[str, Any]) -> str:
    words = ["lamina", "--threads", str(record["machine"]["threads"]), "bench", "--peers"]
    return shlex.join([*words, "--rounds", str(record["rounds"]), "--report", "report.html"])


def _scale(rows: Sequence[Row]) -> _Scale:
    drawn = [quartile for row in rows if row["ratio"] for quartile in row["ratio"]]
    drawn += [row["bar"] for row in rows if row["bar"]]
    low, high = min([0.5, *drawn]), max([4.0, *drawn])
    return _Scale(max(low, 1 / _FARTHEST), min(high, _FARTHEST) * 1.05)


def _line(row: Row, scale: _Scale) -> _Line:
    others = [
        f"{name} {table.duration(seconds)}"
        for name, seconds in row["seconds"].items()
        if name not in ("lamina", row["peer"])
    ]
    return _Line(row, table.cells(row), ", ".join(others), _bar(row, scale))


def _bar(row: Row, scale: _Scale) -> _Bar | None:
    if not row["ratio"]:
        return None
    low, middle, high = row["ratio"]
    one, end = scale.place(1.0), scale.place(middle)
    return _Bar(
        "slower" if middle < 1 else "faster",
        min(one, end),
        abs(end - one),
        scale.place(low),
        scale.place(high),
        scale.place(row["bar"]) if row["bar"] else None,
    )
