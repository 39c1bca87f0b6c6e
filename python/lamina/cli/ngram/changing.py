"""``lamina ngram prune``, ``mix`` and ``check``."""

from pathlib import Path

import click

from lamina.cli.ngram.models import read_model, write_model

MODEL = click.Path(path_type=Path)
_TOLERANCE = 1e-4
_SHOWN = 5


@click.command(
    short_help="Drop n-grams that matter little, or all but some words.",
    epilog="Example: lamina ngram prune novel.arpa small.arpa.gz --threshold 1e-7",
)
@click.argument("model", type=MODEL)
@click.argument("output", type=MODEL)
@click.option(
    "--threshold",
    type=float,
    help="Drop n-grams that each change the perplexity by less than this share, such as 1e-8.",
)
@click.option(
    "--words",
    type=click.Path(path_type=Path),
    help="Keep only the words of this file, apart by white space; the others become <unk>.",
)
def prune(model: Path, output: Path, threshold: float | None, words: Path | None) -> None:
    """Write a smaller MODEL, a folder, an ARPA or a binary file, to OUTPUT.

    OUTPUT is an ARPA file where it ends in .arpa or .arpa.gz, a binary one in .bin, .trie, .probing
    or .compact, else a folder. Binary files of the forms probing and compact cannot be changed.
    Kneser-Ney models lose more by pruning with a threshold than others of their size.
    """
    if threshold is None and words is None:
        raise click.UsageError("expected --threshold, --words or both")
    smaller = read_model(model)
    if words is not None:
        smaller = smaller.limit(words.read_text(encoding="utf-8").split())
    if threshold is not None:
        smaller = smaller.prune(threshold)
    write_model(smaller, output)


@click.command(
    short_help="Mix models with weights tuned on a text.",
    epilog="Example: lamina ngram mix novels.arpa news.arpa --tune dev.txt --output both.arpa.gz",
)
@click.argument("models", type=MODEL, nargs=-1, required=True)
@click.option("--output", "-o", type=MODEL, required=True, help="Where the mixture goes.")
@click.option("--weights", help="One for each model, such as 0.7,0.3; alike if not given.")
@click.option("--tune", type=click.Path(path_type=Path), help="Tune the weights on this text.")
@click.option(
    "--kind",
    type=click.Choice(["linear", "log-linear"]),
    default="linear",
    show_default=True,
    help="Weighted sums of probabilities, or of logarithms.",
)
@click.option("--dynamic", is_flag=True, help="Keep the models apart and mix at each prediction.")
def mix(
    models: tuple[Path, ...],
    output: Path,
    weights: str | None,
    tune: Path | None,
    kind: str,
    dynamic: bool,
) -> None:
    """Mix MODELS, folders, ARPA or binary files.

    OUTPUT is named as that of prune. A linear mixture becomes one back-off model, unless --dynamic
    keeps its models apart; one that is log-linear always does, as a folder that all commands read.
    """
    from lamina import lm
    from lamina.cli.options import read_texts

    given = None if weights is None else _numbers(weights)
    text = None if tune is None else read_texts([tune])[1]
    parts = [read_model(path) for path in models]
    dynamic = dynamic or kind != "linear"
    mixture = lm.Mixture(parts, given, kind=kind)
    if text is not None:
        mixture.fit(text)
    for path, weight in zip(models, mixture.weights.tolist(), strict=True):
        click.echo(f"{weight:9.6f}  {path}")
    if dynamic:
        mixture.save(output)
    else:
        write_model(lm.NGram.merged(parts, mixture.weights.tolist()), output)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--weights: expected numbers such as 0.7,0.3, got {text}") from None


@click.command(
    short_help="Say what is wrong with a model file, and in which line.",
    epilog="Example: lamina ngram check novel.arpa.gz --sums",
)
@click.argument("model", type=MODEL)
@click.option("--sums", is_flag=True, help="Verify that probabilities sum to one.")
@click.option(
    "--tolerance",
    type=float,
    default=_TOLERANCE,
    show_default=True,
    help="Largest difference of a sum from one.",
)
def check(model: Path, sums: bool, tolerance: float) -> None:
    """Read MODEL, a folder, an ARPA or a binary file, and name the first thing that is wrong.

    The exit code is 0 for a sound model, 1 for another and 2 where MODEL cannot be read at all.
    """
    context = click.get_current_context()
    try:
        found = read_model(model)
    except ValueError as error:
        click.echo(f"{error}")
        context.exit(1)
    for length, count in enumerate(found.counts, 1):
        click.echo(f"{length}-grams   {count:,}")
    if not sums:
        return
    contexts, wrong, worst = found.sums(tolerance=tolerance, most=_SHOWN)
    click.echo(f"contexts  {contexts:,}")
    if not wrong:
        click.echo(f"sums      all within {tolerance:g} of one")
        return
    click.echo(f"sums      {wrong:,} further than {tolerance:g} from one, the worst:")
    for total, words in worst:
        click.echo(f"  {total:.6f} after {words or 'nothing'}")
    context.exit(1)
