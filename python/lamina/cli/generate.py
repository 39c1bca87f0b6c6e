"""``lamina generate``."""

from pathlib import Path

import click

from lamina.cli.options import COUNT, SEED


@click.command(
    short_help="Continue a text with a model.",
    epilog="Example: lamina generate novel-lstm --prompt 'It was' --tokens 300",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--prompt", default="\n", help="Beginning of the text.")
@click.option("--tokens", type=COUNT, default=200, show_default=True, help="Most tokens to write.")
@click.option("--temperature", default=0.8, show_default=True, help="0 takes the best each time.")
@click.option("--top-k", type=int, help="Choose among so many tokens.")
@click.option("--top-p", type=float, help="Choose among tokens of so much probability together.")
@click.option("--seed", type=SEED, help="Makes the text repeat.")
def generate(
    model: Path,
    prompt: str,
    tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
) -> None:
    """Continue a text with the model in the folder MODEL, as it is written."""
    from lamina import lm

    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"--prompt: expected UTF-8 text, got other bytes at character {error.start}"
        ) from None
    loaded = lm.load(model)
    click.echo(prompt.lstrip("\n"), nl=False)
    loaded.generate(
        prompt,
        max_new_tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stream=lambda piece: click.echo(piece, nl=False),
    )
    click.echo()
