"""``lamina train``."""

from pathlib import Path

import click


@click.command()
@click.argument("text", type=click.Path(path_type=Path), nargs=-1)
@click.option("--model", default="gpt", show_default=True, help="Family, as in lamina compare.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="Folder of the model."
)
@click.option("--tokenizer", default="bpe:1024", show_default=True, help="char, word or bpe:SIZE.")
@click.option("--seconds", type=float, help="Training time.")
@click.option("--steps", type=int, help="Training steps.")
@click.option("--seed", type=int, default=0, show_default=True)
def train(
    text: tuple[Path, ...],
    model: str,
    output: Path,
    tokenizer: str,
    seconds: float | None,
    steps: int | None,
    seed: int,
) -> None:
    """Train one language model on TEXT and write it to a folder."""
    import lamina
    from lamina import compare, lm
    from lamina import text as texts
    from lamina.cli.options import read_texts

    if output.exists() and not output.is_dir():
        raise ValueError(f"{output}: is a file, expected a folder to write")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"{output}: there is no folder {output.absolute().parent}")
    chosen = compare.family(model)
    source, content = read_texts(text)
    training, held_out = texts.split_text(content)
    lamina.manual_seed(seed)
    shared = compare.make_tokenizer(tokenizer, training)
    built = chosen.build(shared, training)
    click.echo(f"training {chosen.title} on {source}, {len(training):,} characters", err=True)
    if chosen.options is None:
        built.fit(training)
    else:
        limits = {"seconds": seconds, "steps": steps}
        if seconds is None and steps is None:
            limits["seconds"] = 60.0
        options = {k: v if k == "lr" else int(v) for k, v in chosen.options.items()}
        built.fit(training, validation=held_out[:20_000], seed=seed, **limits, **options)
    quality = lm.evaluate(built, held_out)
    built.save(output)
    click.echo(
        f"{quality.bits_per_byte:.3f} bits per byte and perplexity {quality.perplexity:.2f} on the "
        f"held-out {len(held_out):,} characters; written to {output}"
    )
