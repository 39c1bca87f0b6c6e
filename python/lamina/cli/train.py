"""``lamina train``."""

from pathlib import Path
from typing import Any

import click

from lamina.cli.options import COUNT, SEED, path_given, seconds_given

_SECONDS = 60.0
_VALIDATION = 20_000


@click.command(
    short_help="Train one language model and write it to a folder.",
    epilog="Example: lamina train novel.txt --model lstm --seconds 120 -o novel-lstm",
)
@click.argument("text", type=click.Path(path_type=Path, allow_dash=True), nargs=-1)
@click.option(
    "--model",
    default="gpt",
    show_default=True,
    help="Family, as lstm or ngram3:katz: see lamina compare.",
)
@click.option(
    "--output",
    "-o",
    metavar="FOLDER",
    callback=path_given,
    required=True,
    help="Folder of the model.",
)
@click.option("--tokenizer", default="bpe:1024", show_default=True, help="char, word or bpe:SIZE.")
@click.option(
    "--seconds",
    type=float,
    metavar="SECONDS",
    callback=seconds_given,
    help="Training time, 60 if there are no --steps; n-grams and hmm stop by themselves.",
)
@click.option("--steps", type=COUNT, help="Training steps; with them alone a run repeats.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Makes a run repeat.")
@click.option("--force", is_flag=True, help="Write into a folder that is not lamina's.")
def train(
    text: tuple[Path, ...],
    model: str,
    output: Path,
    tokenizer: str,
    seconds: float | None,
    steps: int | None,
    seed: int,
    force: bool,
) -> None:
    """Train one language model on TEXT and write it to a folder.

    Without TEXT it takes the plays of Shakespeare that come with lamina; - is the standard input.
    The last tenth of the text is held out. After Ctrl-C a network that has been trained for some
    steps is written as it is then.
    """
    import lamina
    from lamina import compare, lm
    from lamina.cli.options import check_folder, read_texts

    check_folder("--output", output, force=force)
    chosen = compare.family(model)
    compare.check_tokenizer(tokenizer)
    source, content = read_texts(text)
    compare.check_length(source, content)
    click.echo("training the tokenizer", err=True)
    prepared = compare.prepare(source, content, tokenizer)
    lamina.manual_seed(seed)
    built: Any = chosen.build(prepared.tokenizer, prepared.training)
    click.echo(
        f"training {chosen.title} on {source}, {len(prepared.training):,} characters", err=True
    )
    shared = built.tokenizer is prepared.tokenizer
    ids = prepared.ids if shared else built.tokenizer.encode(prepared.training)
    interrupt = None
    try:
        if chosen.options is None:
            compare.fit_counts(chosen, built, ids)
        else:
            built.fit(
                ids,
                validation=prepared.held_out[:_VALIDATION],
                seed=seed,
                seconds=_SECONDS if seconds is None and steps is None else seconds,
                steps=steps,
                **compare.fit_options(chosen),
            )
    except KeyboardInterrupt as error:
        if not getattr(built, "tokens_read", 0):
            raise
        interrupt = error
        click.echo("interrupted: writing the model trained so far", err=True)
    if interrupt is not None:
        built.save(output)
        click.echo(f"trained for a part of the time only; written to {output}")
        raise interrupt
    quality = lm.evaluate(built, prepared.held_out)
    built.save(output)
    click.echo(
        f"{quality.bits_per_byte:.3f} bits per byte and perplexity {quality.perplexity:.2f} on the "
        f"held-out {len(prepared.held_out):,} characters; written to {output}"
    )
