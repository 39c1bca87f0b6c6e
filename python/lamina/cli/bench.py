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
    from lamina import bench as benches
    from lamina.cli.options import check_writable, write_json
    from lamina.terminal import Column, Live, Terminal, styled, table

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
    terminal = Terminal()
    machine = benches.machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    terminal.print(f"{machine.processor}, {machine.isa}, {machine.threads} threads; {versions}")
    terminal.print(
        f"peak {machine.peak / 1e9:.0f} GFLOP/s, memory read {machine.bandwidth / 1e9:.1f} GB/s"
    )
    peers = {"numpy": "NumPy / lamina"}
    if torch and "torch" in machine.versions:
        peers["torch"] = "torch / lamina"
    widest = max(len(f"{case.name} {case.size}") for case in cases)
    heads = [
        Column("work", wraps=True, least=widest),
        *(Column(name, right=True) for name in ("ms", "of peak", *peers.values())),
    ]
    cells: list[list[str]] = []
    rows = []

    def lines() -> list[str]:
        return table(heads, cells, terminal.width)

    def unfinished() -> list[str]:
        now = [f"measuring {case.name} {case.size}" for case in cases[len(cells) :][:1]]
        return lines() + [styled(line, dim=True) for line in now]

    with Live(terminal, unfinished) as live:
        for row in benches.run(cases, rounds=rounds, torch=torch):
            own = row.seconds["lamina"]
            share = row.case.flops / own / machine.peak
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
        result = {"machine": asdict(machine), "results": rows}
        write_json(json_path, result)
