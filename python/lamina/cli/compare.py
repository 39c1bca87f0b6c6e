"""``lamina compare``."""

from pathlib import Path

import click


@click.command()
@click.argument("text", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--models",
    metavar="LIST",
    help="Families, with commas: ngram1 to ngram20, char-ngram, rnn, lstm, gru, gpt.",
)
@click.option(
    "--tokenizer",
    default="bpe:1024",
    show_default=True,
    help="Shared tokenizer: char, word, bpe or bpe:SIZE.",
)
@click.option(
    "--seconds", type=float, default=15.0, show_default=True, help="Training time of each network."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Makes a run repeat.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the results.")
@click.option("--report", type=click.Path(path_type=Path), help="Write an HTML page.")
@click.option("--bench/--no-bench", default=True, help="Measure the kernels beside NumPy's.")
def compare(
    text: tuple[Path, ...],
    models: str | None,
    tokenizer: str,
    seconds: float,
    seed: int,
    json_path: Path | None,
    report: Path | None,
    bench: bool,
) -> None:
    """Train every generation of language model on TEXT and compare them.

    Without TEXT it takes the plays of Shakespeare that come with lamina. The last tenth of the text
    is held out, and quality is measured there.
    """
    from lamina import compare as comparing
    from lamina.cli.options import check_writable, read_texts, write_json
    from lamina.compare.table import LiveTable, print_comparison
    from lamina.terminal import Terminal

    check_writable(json_path)
    check_writable(report)
    if report is not None:
        comparing.check_report_tools()
    source, content = read_texts(text)
    names = comparing.DEFAULT if models is None else tuple(n.strip() for n in models.split(","))
    families = [comparing.family(name) for name in names]
    terminal = Terminal()
    with LiveTable(terminal, families, seconds) as table:
        result = comparing.compare(
            source,
            content,
            models=names,
            tokenizer=tokenizer,
            seconds=seconds,
            seed=seed,
            benchmark=bench,
            listener=table.update,
        )
    if json_path is not None:
        write_json(json_path, result.as_dict())
    if report is not None:
        comparing.write_report(result, report)
    print_comparison(terminal, result)
