"""``lamina ngram``: everything a toolkit for n-gram models does, step by step."""

import click

from lamina.cli.ngram.changing import check, mix, prune
from lamina.cli.ngram.estimating import count, estimate, merge, train
from lamina.cli.ngram.querying import convert, query


@click.group(short_help="Count, train, query, prune, mix, check and convert n-gram models.")
def ngram() -> None:
    """Work with n-gram models and count files."""


for command in (count, merge, estimate, train, query, convert, prune, mix, check):
    ngram.add_command(command)
