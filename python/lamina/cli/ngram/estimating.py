"""``lamina ngram count``, ``merge``, ``estimate`` and ``train``."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lamina.cli.options import STANDARD, check_outputs, path_given

Command = Callable[..., None]

_texts = click.argument(
    "text", type=click.Path(path_type=Path, allow_dash=True), nargs=-1, required=True
)
_order = click.option(
    "-o", "--order", type=click.IntRange(1, 20), required=True, help="Words in the longest n-grams."
)
_memory = click.option(
    "-S", "--memory", metavar="SIZE", help="Memory: 200M, 2G or 50%; the rest goes to files."
)
_temp = click.option(
    "-T", "--temp", metavar="FOLDER", callback=path_given, help="Folder of temporary files."
)
_skip = click.option(
    "--skip-symbols", is_flag=True, help="Leave out <s>, </s> and <unk> in the text."
)


def _to(option: str, what: str) -> Callable[[Command], Command]:
    return click.option(
        option, "output", metavar="FILE", callback=path_given, required=True, help=what
    )


def _smoothing(command: Command) -> Command:
    """Options of the estimate, named as lmplz names those that it has."""
    for option in (
        click.option(
            "--held-out",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Text on which jelinek_mercer fits its weights.",
        ),
        click.option(
            "--discount-fallback",
            is_flag=True,
            help="Use 0.5, 1 and 1.5 where the counts do not define the discounts.",
        ),
        click.option(
            "--interpolate-unigrams/--no-interpolate-unigrams",
            default=True,
            show_default=True,
            help="Interpolate single words with the uniform distribution.",
        ),
        click.option(
            "--smoothing",
            metavar="METHOD",
            default="modified_kneser_ney",
            show_default=True,
            callback=_method,
            help="As katz, lidstone=0.1, absolute:backoff; see lamina.lm.NGram.",
        ),
        click.option(
            "--prune",
            metavar="'0 1 1'",
            callback=_thresholds,
            help="Leave out n-grams that occur at most so often, by length from one word on.",
        ),
    ):
        command = option(command)
    return command


def _thresholds(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, ...]:
    parts = (value or "").replace(",", " ").split()
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise click.BadParameter(f"expected whole numbers such as '0 1 1', got {value!r}")
    return tuple(map(int, parts))


def _method(_context: click.Context, _option: click.Parameter, value: str) -> dict[str, Any]:
    from lamina.lm.ngram.smoothing import parse_smoothing

    return parse_smoothing(value)


def _held_out(path: Path | None) -> str | None:
    from lamina.cli.options import read_texts

    return None if path is None else read_texts([path])[1]


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Says on a terminal what is being done, and how long it took."""
    shows = sys.stderr.isatty()
    start = time.perf_counter()
    if shows:
        click.echo(f"{name} ... ", nl=False, err=True)
    yield
    if shows:
        click.echo(f"{time.perf_counter() - start:.1f} s", err=True)


def _read(text: Sequence[Path], memory: str | None, temp: Path | None, skip_symbols: bool) -> Any:
    from lamina.cli.options import read_texts
    from lamina.lm.ngram.counts import read_corpus

    if list(text).count(STANDARD) > 1:
        raise ValueError("TEXT: expected - once, as the standard input is read only once")
    parts = [path if path != STANDARD else read_texts([path])[1] for path in text]
    with _stage("reading the text"):
        return read_corpus(parts, memory=memory, temp=temp, skip_symbols=skip_symbols)


def _is_arpa(path: Path) -> bool:
    return path.name.endswith((".arpa", ".arpa.gz"))


@click.command(epilog="Example: lamina ngram count -o 5 novel.txt --counts novel.counts")
@_texts
@_order
@_to("--counts", "File of the counts.")
@_memory
@_temp
@_skip
def count(
    text: tuple[Path, ...],
    order: int,
    output: Path,
    memory: str | None,
    temp: Path | None,
    skip_symbols: bool,
) -> None:
    """Count the n-grams of TEXT, one sentence a line, and write them to a file."""
    from lamina.lm import NGramCounts

    check_outputs({"--counts": output}, text)
    corpus = _read(text, memory, temp, skip_symbols)
    with _stage("counting"):
        counts = NGramCounts(corpus.count(order))
    with _stage(f"writing {output}"):
        counts.save(output)
    click.echo(f"{len(counts):,} n-grams, {len(counts.vocabulary):,} words")


@click.command(
    epilog="Example: lamina ngram merge monday.counts tuesday.counts --counts week.counts"
)
@click.argument("counts", type=click.Path(path_type=Path), nargs=-1, required=True)
@_to("--counts", "File of the sum.")
def merge(counts: tuple[Path, ...], output: Path) -> None:
    """Add up files of counts, whatever their vocabularies."""
    from lamina.lm import NGramCounts

    check_outputs({"--counts": output}, counts)
    first, *rest = counts
    whole = NGramCounts.load(first)
    for path in rest:
        with _stage(f"adding {path}"):
            whole = whole.merge(NGramCounts.load(path))
    with _stage(f"writing {output}"):
        whole.save(output)
    click.echo(f"{len(whole):,} n-grams, {len(whole.vocabulary):,} words")


@click.command(epilog="Example: lamina ngram estimate novel.counts --model novel.bin")
@click.argument("counts", type=click.Path(path_type=Path))
@_to("--model", "File of the model: ARPA if it ends in .arpa or .arpa.gz, else lamina's own.")
@_smoothing
def estimate(
    counts: Path,
    output: Path,
    smoothing: dict[str, Any],
    prune: tuple[int, ...],
    interpolate_unigrams: bool,
    discount_fallback: bool,
    held_out: Path | None,
) -> None:
    """Estimate a model from a file of COUNTS."""
    from lamina.lm import NGramCounts

    check_outputs({"--model": output}, [counts])
    read = NGramCounts.load(counts)
    with _stage("estimating"):
        model = read.estimate(
            interpolate_unigrams=interpolate_unigrams,
            discount_fallback=discount_fallback,
            prune=prune,
            held_out=_held_out(held_out),
            **smoothing,
        )
    with _stage(f"writing {output}"):
        if _is_arpa(output):
            model.save_arpa(output)
        else:
            model.save_binary(output, "trie")
    _report(model.counts)


@click.command(epilog="Example: lamina ngram train -o 5 novel.txt --model novel.bin")
@_texts
@_order
@_to("--model", "File of the model: ARPA if it ends in .arpa or .arpa.gz, else lamina's own.")
@_memory
@_temp
@_skip
@_smoothing
def train(
    text: tuple[Path, ...],
    order: int,
    output: Path,
    memory: str | None,
    temp: Path | None,
    skip_symbols: bool,
    smoothing: dict[str, Any],
    prune: tuple[int, ...],
    interpolate_unigrams: bool,
    discount_fallback: bool,
    held_out: Path | None,
) -> None:
    """Estimate a model from TEXT, one sentence a line."""
    from lamina.lm import NGram

    model = NGram(
        order,
        interpolate_unigrams=interpolate_unigrams,
        discount_fallback=discount_fallback,
        **smoothing,
    )
    check_outputs({"--model": output}, text)
    corpus = _read(text, memory, temp, skip_symbols)
    method, held = model.method(corpus, _held_out(held_out))
    with _stage(f"estimating, writing {output}"):
        counts, _, undefined = corpus.estimate_to_file(
            order, method, prune, held, output, _is_arpa(output)
        )
    model.warn_undefined(undefined)
    _report(counts)


def _report(counts: Sequence[int]) -> None:
    for length, number in enumerate(counts, 1):
        click.echo(f"{length}-grams: {number:,}")
