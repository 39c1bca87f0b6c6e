"""``lamina bench``."""

from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--only", metavar="LIST", help="Names of kernels, with commas, such as matmul,conv.")
@click.option("--torch/--no-torch", default=True, help="Whether PyTorch takes part if installed.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the results.")
def bench(rounds: int, only: str | None, torch: bool, json_path: Path | None) -> None:
    """Measure the kernels beside NumPy, and PyTorch where it is installed.

    Each round does the work once with each library, in turn; times are medians and ratios are
    quartiles over the rounds.
    """
    from rich.console import Console
    from rich.table import Table

    from lamina import bench as benches
    from lamina.cli.options import check_writable, write_json

    check_writable(json_path)
    cases = benches.CASES
    if only is not None:
        wanted = {name.strip() for name in only.split(",")}
        known = {case.kernel for case in cases}
        if unknown := wanted - known:
            raise ValueError(
                f"unknown kernel {sorted(unknown)[0]!r}: expected {', '.join(sorted(known))}"
            )
        cases = [case for case in cases if case.kernel in wanted]
    console = Console()
    machine = benches.machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    console.print(f"{machine.processor}, {machine.isa}, {machine.threads} threads; {versions}")
    console.print(
        f"peak {machine.peak / 1e9:.0f} GFLOP/s, memory read {machine.bandwidth / 1e9:.1f} GB/s"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("work")
    for column in ("ms", "of peak", "NumPy / lamina", "torch / lamina"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = []
    for row in benches.run(cases, rounds=rounds, torch=torch):
        own = row.seconds["lamina"]
        share = row.case.flops / own / machine.peak
        ratios = [
            f"{r[1]:.2f} ({r[0]:.2f}-{r[2]:.2f})" if (r := row.ratios.get(peer)) else "-"
            for peer in ("numpy", "torch")
        ]
        name = f"{row.case.name} {row.case.size}"
        table.add_row(name, f"{own * 1e3:.2f}", f"{share:.0%}" if share else "-", *ratios)
        console.print(f"[dim]{name}: done[/dim]") if console.is_terminal else None
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
    console.print(table)
    if json_path is not None:
        result = {"machine": asdict(machine), "results": rows}
        write_json(json_path, result)
