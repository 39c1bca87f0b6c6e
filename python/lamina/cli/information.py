"""``lamina information``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lamina.information import SequenceEntropy

_METHODS = "miller_madow, jackknife, grassberger or chao_shen"


def orders_given(_context: click.Context, _option: click.Parameter, value: str) -> dict[str, int]:
    """``char:5,word:2`` as the highest orders by their units."""
    orders = {}
    for part in value.split(","):
        unit, _, number = part.strip().lower().partition(":")
        if unit not in ("char", "word", "byte") or not number.isdecimal() or int(number) > 19:
            raise click.BadParameter(
                f"expected char, word or byte, a colon and 0 to 19, as in char:5, got {part!r}"
            )
        if unit in orders:
            raise click.BadParameter(f"expected each unit once, got {unit} twice")
        orders[unit] = int(number)
    return orders


@click.command(
    short_help="Measure the entropy of a text.",
    epilog="Example: lamina information novel.txt --orders char:8,word:1 --method chao_shen",
)
@click.argument("text", type=click.Path(path_type=Path, allow_dash=True), nargs=-1)
@click.option(
    "--orders",
    metavar="LIST",
    default="char:6,word:2",
    show_default=True,
    callback=orders_given,
    help="Units, char, word or byte, and how many before the next are known at most.",
)
@click.option(
    "--method",
    default="grassberger",
    show_default=True,
    help=f"Correction of the bias of small samples: {_METHODS}; ml for none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def information(text: tuple[Path, ...], orders: dict[str, int], method: str, as_json: bool) -> None:
    """Measure the entropy of the characters and words of TEXT.

    Without TEXT it takes the plays of Shakespeare that come with lamina; - is the standard input.

    For each number of known symbols it counts the different blocks of these and the next one, and
    gives the bits that the next one still holds: by the counts alone, corrected, and a byte. Where
    most blocks occur once, as with many known, the counts have seen every answer, and even the
    corrected figures are too low.
    """
    from lamina import information as measures
    from lamina.cli.options import json_text, read_texts
    from lamina.terminal import Terminal

    if method not in measures.METHODS:
        raise click.UsageError(f"--method: expected ml, {_METHODS}, got {method!r}")
    source, content = read_texts(text)
    size = len(content.encode("utf-8"))
    methods = ["ml"] if method == "ml" else ["ml", method]
    rows: list[SequenceEntropy] = []
    for unit, highest in orders.items():
        rows += measures.text_entropies(content, unit=unit, max_order=highest, methods=methods)
    if as_json:
        made = [
            {**asdict(row), "bits_per_byte": row.conditional * row.symbols / size} for row in rows
        ]
        click.echo(
            json_text(
                {
                    "source": source,
                    "characters": len(content),
                    "bytes": size,
                    "entropies": made,
                }
            ),
            nl=False,
        )
        return
    terminal = Terminal()
    for line in _lines(source, content, size, rows, len(methods), terminal.width):
        terminal.print(line)


def _lines(
    source: str,
    content: str,
    size: int,
    rows: "list[SequenceEntropy]",
    methods: int,
    width: int,
) -> list[str]:
    from lamina.terminal import Column, styled, table, wrap

    title = f"{source}, {len(content):,} characters, {size:,} bytes"
    names = ["known\nbefore", "of\nsymbols", "different\nblocks", "bits"]
    names += [f"bits,\n{rows[-1].method.replace('_', '-')}"] if methods == 2 else []
    heads = [Column("of the next")]
    heads += [Column(name, right=True) for name in [*names, "bits/\nbyte"]]
    cells: list[list[Any]] = []
    for first in range(0, len(rows), methods):
        made = rows[first : first + methods]
        row = made[-1]
        figures = [f"{entropy.conditional:.3f}" for entropy in made]
        per_byte = f"{row.conditional * row.symbols / size:.3f}"
        name = {"char": "character"}.get(row.unit, row.unit)
        counted = [str(row.order), f"{row.symbols:,}", f"{row.blocks:,}"]
        cells.append([name, *counted, *figures, per_byte])
    # A name may hold what a terminal would obey.
    shown = "".join(c if c.isprintable() else "\ufffd" for c in title)
    return [*wrap(styled(shown, bold=True), width), "", *table(heads, cells, width)]
