"""``lamina bench``."""

import datetime
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.options import COUNT, path_given

if TYPE_CHECKING:
    from lamina.bench import Case, Machine
    from lamina.terminal import Terminal


@click.command(
    short_help="Measure the kernels beside NumPy and PyTorch.",
    epilog="Example: lamina bench --only matmul,conv --rounds 5",
)
@click.option("--peers", is_flag=True, help="Every work that lamina is held to, and who does it.")
@click.option(
    "--rounds",
    type=COUNT,
    default=15,
    show_default=True,
    help="How often each library does each work.",
)
@click.option(
    "--only", metavar="LIST", help="Kernels, such as matmul,conv, or parts of names, with commas."
)
@click.option("--torch/--no-torch", default=True, help="Whether PyTorch takes part if installed.")
@click.option(
    "--memory/--no-memory", default=True, help="With --peers: memory of training steps too."
)
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    callback=path_given,
    help="Write the results; - is standard output.",
)
@click.option("--report", metavar="FILE", callback=path_given, help="With --peers: an HTML page.")
@click.option("--markdown", metavar="FILE", callback=path_given, help="With --peers: a table.")
def bench(
    peers: bool,
    rounds: int,
    only: str | None,
    torch: bool,
    memory: bool,
    json_path: Path | None,
    report: Path | None,
    markdown: Path | None,
) -> None:
    """Measure the kernels beside NumPy, and PyTorch where it is installed.

    Each round does the work once with each library, in turn; times are medians and ratios are
    quartiles over the rounds. With --peers, all kernels, training steps and predictions are
    measured, each against the best of the libraries that do the same; that takes half an hour.
    """
    from lamina import bench as benches
    from lamina.cli.options import STANDARD, check_outputs, write_output
    from lamina.terminal import Terminal

    outputs = {"--json": json_path, "--report": report, "--markdown": markdown}
    check_outputs(outputs)
    for option, value in (("report", report), ("markdown", markdown)):
        if value is not None and not peers:
            raise ValueError(f"--{option} goes with --peers")
    if report is not None:
        benches.check_report_tools()
    cases = _select(benches.PEERS if peers else benches.CASES, only)
    terminal = Terminal(sys.stderr if STANDARD in outputs.values() else None)
    libraries: tuple[str, ...] = benches.LIBRARIES if peers else ("numpy", "torch")
    machine = benches.machine(libraries)
    if not torch:
        libraries = ("numpy",)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    terminal.print(f"{machine.processor}, {machine.isa}, {machine.threads} threads; {versions}")
    terminal.print(
        f"peak {machine.peak / 1e9:.0f} GFLOP/s, memory read {machine.bandwidth / 1e9:.1f} GB/s"
    )
    if not peers:
        _beside_numpy(terminal, machine, cases, rounds, torch, json_path)
        return
    record = _beside_peers(terminal, machine, cases, rounds, libraries, memory, json_path)
    if report is not None:
        write_output("--report", report, benches.report_text(record))
    if markdown is not None:
        write_output("--markdown", markdown, benches.markdown(record))


def _select(cases: "Sequence[Case]", only: str | None) -> "list[Case]":
    if only is None:
        return list(cases)
    known = {case.family for case in cases}
    chosen: set[str] = set()
    for wanted in (part.strip().lower() for part in only.split(",")):
        found = {case.title for case in cases if case.family == wanted}
        found = found or {case.title for case in cases if wanted and wanted in case.title.lower()}
        if not found:
            raise ValueError(
                f"unknown kernel {wanted!r}: expected part of a name, or {', '.join(sorted(known))}"
            )
        chosen |= found
    return [case for case in cases if case.title in chosen]


def _beside_numpy(
    terminal: "Terminal",
    machine: "Machine",
    cases: "Sequence[Case]",
    rounds: int,
    torch: bool,
    json_path: Path | None,
) -> None:
    from lamina import bench as benches
    from lamina.cli.options import json_text, write_output
    from lamina.terminal import Column, Live, styled, table

    peers = {"numpy": "NumPy / lamina"}
    if torch and "torch" in machine.versions:
        peers["torch"] = "torch / lamina"
    heads = [
        Column("work", wraps=True, least=max(len(case.title) for case in cases)),
        *(Column(name, right=True) for name in ("ms", "of peak", *peers.values())),
    ]
    cells: list[list[str]] = []
    rows = []

    def lines() -> list[str]:
        return table(heads, cells, terminal.width)

    def unfinished() -> list[str]:
        now = [f"measuring {case.title}" for case in cases[len(cells) :][:1]]
        return lines() + [styled(line, dim=True) for line in now]

    with Live(terminal, unfinished) as live:
        for row in benches.run(cases, rounds=rounds, libraries=tuple(peers)):
            own = row.seconds["lamina"]
            share = row.share_of_peak(machine)
            ratios = [
                f"{r[1]:.2f} ({r[0]:.2f}-{r[2]:.2f})" if (r := row.ratios.get(peer)) else "-"
                for peer in peers
            ]
            work = f"{row.case.name} {styled(row.case.size, dim=True)}"
            cells.append([work, f"{own * 1e3:.2f}", f"{share:.0%}" if share else "-", *ratios])
            rows.append(
                {
                    "name": row.case.name,
                    "size": row.case.size,
                    "rounds": row.rounds,
                    "seconds": row.seconds,
                    "ratios": row.ratios,
                    "share_of_peak": share,
                }
            )
            live.draw()
    terminal.print("\n".join(lines()))
    if json_path is not None:
        made = json_text({"machine": asdict(machine), "results": rows})
        write_output("--json", json_path, made)


def _beside_peers(
    terminal: "Terminal",
    machine: "Machine",
    cases: "Sequence[Case]",
    rounds: int,
    libraries: tuple[str, ...],
    memory: bool,
    json_path: Path | None,
) -> dict[str, Any]:
    from lamina import bench as benches
    from lamina.bench import table as texts
    from lamina.cli.options import json_text, replaces, write_output
    from lamina.terminal import Column, Live, styled, table

    heads = texts.terminal_columns([case.title for case in cases])
    results: list[benches.Result] = []
    record: dict[str, Any] = {
        "date": datetime.datetime.now().astimezone().date().isoformat(),
        "rounds": rounds,
        "machine": asdict(machine),
        "results": [],
    }

    def lines() -> list[str]:
        return table(heads, list(map(texts.terminal_cells, record["results"])), terminal.width)

    def unfinished() -> list[str]:
        now = [f"measuring {case.title}" for case in cases[len(results) :][:1]]
        # The window may be too low for all rows: the latest are the news.
        room = max(terminal.height - 3, 1)
        return [*lines()[-room:], *(styled(line, dim=True) for line in now)]

    with Live(terminal, unfinished) as live:
        for result in benches.run(cases, rounds=rounds, libraries=libraries, memory=memory):
            results.append(result)
            record["results"].append(result.as_dict(machine))
            # A run takes long: what is measured is kept even where it does not end.
            if json_path is not None and replaces(json_path):
                write_output("--json", json_path, json_text(record))
            live.draw()
    machine = benches.at_most(machine, benches.machine(libraries))
    record["machine"] = asdict(machine)
    record["results"] = [result.as_dict(machine) for result in results]
    terminal.print("\n".join(lines()))
    if json_path is not None:
        write_output("--json", json_path, json_text(record))
    if measured := texts.memory_rows(record):
        columns = [Column(name, right=bool(i)) for i, name in enumerate(texts.MEMORY_HEADINGS)]
        rows = [[title, *cells] for title, cells in measured]
        terminal.print("\n".join(["", *table(columns, rows, terminal.width)]))
    terminal.print("\n".join(["", texts.summary(record), *texts.notes(record)]))
    return record
