"""The figures as text: in the terminal and in Markdown. Rows are those of the JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.terminal import Column, styled

Row = Mapping[str, Any]

# Share of the processors' time; a system at rest takes about one hundredth.
_DISTURBED = 0.05

HEADINGS = ("work", "lamina", "of peak", "best peer", "its time", "ratio", "at least", "")


def duration(seconds: float) -> str:
    """Three figures and a unit."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        scaled = seconds * factor
        if scaled >= 0.9995 or unit == "us":
            decimals = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{decimals}f} {unit}"
    raise AssertionError("the last unit takes every time")


def share(row: Row) -> str:
    """Share of the machine's peak, or of its bandwidth."""
    if row["share_of_peak"]:
        return f"{row['share_of_peak']:.0%}"
    return f"{row['share_of_bandwidth']:.0%} bw" if row["share_of_bandwidth"] else "-"


def ratio(row: Row) -> str:
    """The median with its quartiles."""
    return (
        f"{row['ratio'][1]:.2f} ({row['ratio'][0]:.2f}-{row['ratio'][2]:.2f})"
        if row["ratio"]
        else "-"
    )


def least(row: Row) -> str:
    """What is asked for."""
    parts = []
    if row["bar"]:
        parts.append(f"{row['bar']:.2f}")
    if row["least_share"]:
        parts.append(f"{row['least_share']:.0%}")
    if row["most_seconds"]:
        parts.append(duration(row["most_seconds"]))
    return ", ".join(parts) or "-"


def verdict(row: Row) -> str:
    """Whether it was reached; with a star where other processes disturbed the measurement."""
    star = "*" if disturbed(row) else ""
    if row["margin"] is None:
        return f"-{star}"
    return f"{'reached' if row['margin'] >= 1 else 'missed'}{star}"


def disturbed(row: Row) -> bool:
    """Whether other processes took much of the processors meanwhile."""
    return (row["disturbance"] or 0.0) > _DISTURBED


def cells(row: Row) -> list[str]:
    """A text for each of the headings but the first."""
    peer = row["peer"]
    return [
        duration(row["seconds"]["lamina"]),
        share(row),
        peer or "-",
        duration(row["seconds"][peer]) if peer else "-",
        ratio(row),
        least(row),
        verdict(row),
    ]


def terminal_columns(titles: Sequence[str]) -> list[Column]:
    """Columns of the table, the first wide enough for every title if the terminal is."""
    first = Column(HEADINGS[0], wraps=True, least=min(max(map(len, titles)), 40))
    right = {"lamina", "of peak", "its time", "ratio", "at least"}
    return [first, *(Column(name, right=name in right) for name in HEADINGS[1:])]


def terminal_cells(row: Row) -> list[str]:
    """A line of the table, its size and what was missed set apart."""
    *texts, last = cells(row)
    return [f"{row['name']} {styled(row['size'], dim=True)}", *texts, last]


def notes(record: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures must know besides."""
    rows: Sequence[Row] = record["results"]
    told: dict[str, list[str]] = {}
    for row in rows:
        for peer, reason in row["left_out"].items():
            told.setdefault(f"{peer} left out: {reason}", []).append(f"{row['name']} {row['size']}")
    lines = [
        f"{reason} ({len(titles)} rows)" if len(titles) > 1 else f"{reason} ({titles[0]})"
        for reason, titles in told.items()
    ]
    shared = [row["disturbance"] for row in rows if disturbed(row)]
    if shared:
        lines.append(
            f"* other processes took more than {_DISTURBED:.0%} of the processors in "
            f"{len(shared)} of {len(rows)} rows, up to {max(shared):.0%}: measure these again on "
            "a machine at rest"
        )
    return lines


def memory_rows(record: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Training steps whose memory was measured: title, and a text for each column of figures."""
    made = []
    for row in record["results"]:
        if "lamina" in row["memory"]:
            measured = dict(row["memory"])
            own = measured.pop("lamina")
            peer, other = next(iter(measured.items()), ("-", None))
            texts = [_mebibytes(own), "-" if other is None else _mebibytes(other)]
            texts += [peer, f"{own['faults']:.0f}"]
            made.append((f"{row['name']} {row['size']}", texts))
    return made


def _mebibytes(memory: Mapping[str, float]) -> str:
    """The peak, and in brackets what network, data and step have added to the start."""
    peak, start = memory["peak"] / 2**20, memory["start"] / 2**20
    return f"{peak:.0f} ({peak - start:.0f})"


MEMORY_HEADINGS = ("peak memory, MiB (above start)", "lamina", "peer", "", "page faults a step")


def summary(record: Mapping[str, Any]) -> str:
    """How many bars were reached, and where lamina is the faster one."""
    rows = record["results"]
    margins = [row["margin"] for row in rows if row["margin"] is not None]
    # Rows against lamina itself or a limit in seconds say nothing about who is faster.
    ratios = [row["ratio"][1] for row in rows if row["ratio"] and not own_peer(row)]
    faster = sum(r > 1 for r in ratios)
    reached = sum(margin >= 1 for margin in margins)
    return (
        f"lamina is faster than the best peer in {faster} of {len(ratios)} rows; "
        f"{reached} of {len(margins)} reach what is asked for."
    )


def own_peer(row: Row) -> bool:
    """Whether the row compares lamina with itself."""
    return bool(row["peer"]) and row["peer"].startswith("lamina")


def markdown(record: Mapping[str, Any]) -> str:
    """All figures as Markdown."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{record['date']}, {machine['processor']}, {machine['isa']}, "
        f"{machine['threads']} threads; {versions}; measured peak "
        f"{machine['peak'] / 1e9:.0f} GFLOP/s, memory read "
        f"{machine['bandwidth'] / 1e9:.1f} GB/s; {record['rounds']} rounds.",
        "",
        summary(record),
        "",
        *_table(HEADINGS, [(f"{r['name']} {r['size']}", cells(r)) for r in record["results"]]),
    ]
    if rows := memory_rows(record):
        lines += ["", *_table(MEMORY_HEADINGS, rows)]
    if told := notes(record):
        lines += ["", *(f"- {line}" for line in told)]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    lines = [f"| {' | '.join(headings)} |", f"| --- |{' ---: |' * (len(headings) - 1)}"]
    return lines + [f"| {' | '.join((title, *texts))} |" for title, texts in rows]
