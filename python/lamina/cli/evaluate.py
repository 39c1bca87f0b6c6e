"""``lamina evaluate``."""

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command(
    short_help="Measure a model on a text.",
    epilog="Example: lamina evaluate novel-lstm other.txt --json",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(model: Path, text: Path, as_json: bool) -> None:
    """Measure the model in the folder MODEL on TEXT; - is the standard input."""
    from lamina import lm
    from lamina.cli.options import read_texts

    _, content = read_texts([text])
    quality = lm.evaluate(lm.load(model), content)
    if as_json:
        click.echo(json.dumps(asdict(quality)))
        return
    click.echo(f"tokens            {quality.tokens:,}")
    click.echo(f"bytes             {quality.bytes:,}")
    click.echo(f"nats per token    {quality.cross_entropy:.4f}")
    click.echo(f"perplexity        {quality.perplexity:.3f}")
    click.echo(f"bits per byte     {quality.bits_per_byte:.4f}")
    click.echo(f"unknown tokens    {quality.oov_mass:.2%}")
