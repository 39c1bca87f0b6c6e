"""``lamina generate``."""

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--prompt", default="\n", help="Beginning of the text.")
@click.option("--tokens", default=200, show_default=True, help="Most tokens to write.")
@click.option("--temperature", default=0.8, show_default=True, help="0 takes the best each time.")
@click.option("--top-k", type=int, help="Choose among so many tokens.")
@click.option("--top-p", type=float, help="Choose among tokens of so much probability together.")
@click.option("--seed", type=int, help="Makes the text repeat.")
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
