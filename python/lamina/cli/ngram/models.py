"""Which file or folder holds which form of an n-gram model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lamina.lm import NGram

_MAGIC = b"LAMINANG"
_ARPA = (".arpa", ".arpa.gz", ".lm", ".lm.gz")
# What a model is estimated in, which alone can be changed and converted, is called .bin too.
_BINARY = {".bin": "trie", ".trie": "trie", ".probing": "probing", ".compact": "compact"}


def is_binary(path: Path) -> bool:
    """Whether a file is a binary one of lamina's."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_model(path: Path) -> "NGram":
    """The n-gram model of a folder, of an ARPA file or of a binary one with sound checksums."""
    from lamina import files
    from lamina.lm import NGram, load

    if path.is_dir():
        model = load(path)
        if not isinstance(model, NGram):
            kind = type(model).__name__
            raise files.FormatError(path, f"expected an n-gram model, got a {kind}")
        return model
    return NGram.load_binary(path, lazy=False) if is_binary(path) else NGram.load_arpa(path)


def write_model(model: "NGram", path: Path) -> None:
    """Write a model to an ARPA or a binary file where the name says so, else to a folder."""
    if path.name.endswith(_ARPA):
        model.save_arpa(path)
    elif path.suffix in _BINARY:
        model.save_binary(path, _BINARY[path.suffix])
    else:
        model.save(path)
    counts = " ".join(f"{count:,}" for count in model.counts)
    click.echo(f"{path}: {counts} n-grams of length 1 to {model.order}")
