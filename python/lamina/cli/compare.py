"""``lamina compare``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamina.cli.options import COUNT, SEED, path_given, seconds_given

if TYPE_CHECKING:
    from lamina.compare import Comparison
    from lamina.terminal import Terminal


@click.command(
    short_help="Train every generation of language model and compare them.",
    epilog="Example: lamina compare novel.txt --models ngram3:katz,lstm,gpt --seconds 30 "
    "--report novel.html",
)
@click.argument("text", type=click.Path(path_type=Path, allow_dash=True), nargs=-1)
@click.option(
    "--models",
    metavar="LIST",
    help="Families, with commas: ngram1 to ngram20 and char-ngram, also with a smoothing as in "
    "ngram3:katz, hmm, rnn, lstm, gru, gpt.",
)
@click.option(
    "--tokenizer",
    default="bpe:1024",
    show_default=True,
    help="Shared tokenizer: char, word, bpe or bpe:SIZE.",
)
@click.option(
    "--seconds",
    type=float,
    metavar="SECONDS",
    callback=seconds_given,
    help="Training time of each network, 15 if there are no --steps. With the three networks that "
    "are compared by default the whole takes three times that and about a minute more.",
)
@click.option(
    "--steps",
    type=COUNT,
    help="Training steps of each network: unlike with --seconds, a repeat gives equal models.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Makes a run repeat.")
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    callback=path_given,
    help="Write the results; - is standard output.",
)
@click.option("--report", metavar="FILE", callback=path_given, help="Write an HTML page.")
@click.option("--bench/--no-bench", default=True, help="Measure the kernels beside NumPy's.")
def compare(
    text: tuple[Path, ...],
    models: str | None,
    tokenizer: str,
    seconds: float | None,
    steps: int | None,
    seed: int,
    json_path: Path | None,
    report: Path | None,
    bench: bool,
) -> None:
    """Train every generation of language model on TEXT and compare them.

    Without TEXT it takes the plays of Shakespeare that come with lamina; - is the standard input.
    The last tenth of the text is held out, and quality is measured there. The text's own entropy
    stands beside the models: what its characters and words hold where some before are known.

    Smoothings of n-grams, after a colon: mle, laplace, lidstone=0.1, good_turing, katz,
    witten_bell, absolute, jelinek_mercer, kneser_ney, modified_kneser_ney (the default) and
    stupid_backoff. witten_bell, absolute and both kneser_ney take another :backoff, in place of
    interpolation.
    """
    from lamina import compare as comparing
    from lamina.cli.options import STANDARD, check_outputs, read_texts
    from lamina.compare.table import LiveTable, print_comparison
    from lamina.terminal import Terminal

    check_outputs({"--json": json_path, "--report": report}, text)
    if report is not None:
        comparing.check_report_tools()
    names = comparing.DEFAULT if models is None else tuple(models.split(","))
    families = comparing.select(names)
    comparing.check_tokenizer(tokenizer)
    source, content = read_texts(text)
    # Only one of them can have the standard output.
    terminal = Terminal(sys.stderr if STANDARD in (json_path, report) else None)
    if seconds is None and steps is None:
        seconds = 15.0
    try:
        with LiveTable(terminal, families, seconds) as table:
            result = comparing.compare(
                source,
                content,
                models=[family.name for family in families],
                tokenizer=tokenizer,
                seconds=seconds,
                steps=steps,
                seed=seed,
                benchmark=bench,
                listener=table.update,
                paths=[str(path) for path in text],
            )
    except KeyboardInterrupt as error:
        partial = getattr(error, "comparison", None)
        if partial is not None and partial.models:
            print_comparison(terminal, partial)
            _write(terminal, partial, json_path, report)
        raise
    print_comparison(terminal, result)
    _write(terminal, result, json_path, report)


def _write(
    terminal: "Terminal", result: "Comparison", json_path: Path | None, report: Path | None
) -> None:
    from lamina import compare as comparing
    from lamina.cli.options import STANDARD, json_text, write_output

    def write(option: str, path: Path, text: str) -> None:
        write_output(option, path, text)
        if path != STANDARD:
            terminal.print(f"{option.lstrip('-')} written to {path}")

    if json_path is not None:
        write("--json", json_path, json_text(result.as_dict()))
    if report is not None:
        write("--report", report, comparing.report_text(result))
