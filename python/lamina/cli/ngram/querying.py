"""``lamina ngram query`` and ``lamina ngram convert``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamina.cli.ngram.models import is_binary, read_model

if TYPE_CHECKING:
    from lamina.lm import NGram

_STANDARD = Path("-")
_BLOCK = 1 << 24
_KINDS = ("trie", "probing", "compact", "arpa")


@click.command(
    short_help="Score a text as KenLM's query does.",
    epilog="Example: lamina ngram query lm.bin held-out.txt -v sentence",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-v",
    "--verbosity",
    type=click.Choice(["summary", "sentence", "word"]),
    default="word",
    show_default=True,
    help="What is printed besides the summary.",
)
@click.option("-n", "--no-context", is_flag=True, help="Sentences without <s> and </s>.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary alone, as JSON.")
def query(model: Path, text: Path | None, verbosity: str, no_context: bool, as_json: bool) -> None:
    """Score TEXT, one sentence a line, with MODEL, a folder, an ARPA or a binary file.

    Without TEXT, or with -, the standard input is read.
    """
    from lamina.lm.ngram.querying import QueryTotals

    loaded = load_model(model)
    totals = QueryTotals(0.0, 0.0, 0, 0)
    for block in _blocks(text or _STANDARD):
        detail = "summary" if as_json else verbosity
        printed, more = loaded.query(block, context=not no_context, detail=detail)
        sys.stdout.write(printed)
        totals += more
    click.echo(json.dumps(_plain(totals)) if as_json else _summary(totals))


def _plain(totals: Any) -> dict[str, Any]:
    known = totals.tokens > totals.oov
    return {
        "perplexity": totals.perplexity if totals.tokens else None,
        "perplexity_excluding_oov": totals.perplexity_excluding_oov if known else None,
        "log10": totals.log10,
        "oov": totals.oov,
        "tokens": totals.tokens,
    }


def _summary(totals: Any) -> str:
    lines = (
        ("Perplexity including OOVs", _shortest(totals.perplexity)),
        ("Perplexity excluding OOVs", _shortest(totals.perplexity_excluding_oov)),
        ("OOVs", totals.oov),
        ("Tokens", totals.tokens),
    )
    return "\n".join(f"{name}:\t{value}" for name, value in lines)


def _shortest(number: float) -> str:
    if number != number:
        return "NaN"
    return repr(number).removesuffix(".0")


def load_model(path: Path) -> "NGram":
    """A model to ask: a binary file as it is, others in the form that answers fastest."""
    from lamina.lm import NGram

    if not path.is_dir() and is_binary(path):
        return NGram.load_binary(path)
    return read_model(path).convert("probing")


def _blocks(path: Path) -> Iterator[str]:
    """The text in pieces that end with their lines."""
    name = "standard input" if path == _STANDARD else str(path)
    at = 0
    with click.open_file(str(path), "rb") as file:
        while piece := file.read(_BLOCK):
            piece += file.readline()
            try:
                yield piece.decode()
            except UnicodeDecodeError as error:
                place = at + error.start
                raise ValueError(f"{name}: is not UTF-8 text: bad byte at offset {place}") from None
            at += len(piece)


@click.command(
    short_help="Write a model in another form.",
    epilog="Example: lamina ngram convert lm.arpa.gz lm.bin --kind compact",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    help="The form. Without it, that of TARGET's suffix: .arpa and .arpa.gz are ARPA files, "
    ".trie and .compact say themselves, and all others are probing tables.",
)
@click.option(
    "--bits",
    type=click.IntRange(4, 16),
    default=8,
    show_default=True,
    help="Bits of a number in the compact form.",
)
def convert(source: Path, target: Path, kind: str | None, bits: int) -> None:
    """Write the model in SOURCE, a folder, an ARPA or a binary file, to TARGET.

    Only ARPA files and the binary form trie hold all that the other forms are made from.
    """
    from lamina.cli.options import check_outputs
    from lamina.lm import NGram

    check_outputs({"TARGET": target}, [source])
    kind = kind or _kind_of(target)
    model = read_model(source)
    if kind == "arpa":
        model.save_arpa(target)
    else:
        model.save_binary(target, kind, bits=bits)
    size = target.stat().st_size
    click.echo(f"{target}: {kind}, {size:,} bytes, {size / sum(model.counts):.2f} an n-gram")
    if kind == "compact":
        rounded = NGram.load_binary(target).rounding_error
        click.echo(f"logarithms rounded by at most {rounded:.4f}")


def _kind_of(path: Path) -> str:
    suffix = path.name.removesuffix(".gz").rpartition(".")[2]
    return suffix if suffix in _KINDS else "probing"
