"""What several commands have in common."""

import contextlib
import json
import math
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lamina import files, text

STANDARD = Path("-")
"""Stands for the standard input or output."""

# What lies there belongs to the system or to a descriptor, whatever it is at the moment.
_NOT_FILES = ("/dev/", "/proc/")


def path_given(_context: click.Context, _option: click.Parameter, value: str | None) -> Path | None:
    """The path of an option, which is not empty."""
    if value == "":
        raise click.BadParameter("expected a path, got ''")
    return None if value is None else Path(value)


def seconds_given(
    _context: click.Context, _option: click.Parameter, value: float | None
) -> float | None:
    """Seconds, of which there are some and not infinitely many."""
    if value is not None and not 0 < value < math.inf:
        raise click.UsageError(f"--seconds: expected a positive number, got {value:g}")
    return value


SEED = click.IntRange(min=0)
COUNT = click.IntRange(1, 2**31 - 1)


# Texts.


def read_texts(paths: Sequence[Path]) -> tuple[str, str]:
    """Name and content of the files together; tiny Shakespeare where there is none.

    ``-`` is the standard input.
    """
    if not paths:
        return "tiny Shakespeare", text.shakespeare()
    if list(paths).count(STANDARD) > 1:
        raise ValueError("TEXT: expected - once, as the standard input is read only once")
    *firsts, last = [_read(path) for path in paths]
    content = "".join(first.rstrip("\n") + "\n" for first in firsts) + last
    names = ("standard input" if path == STANDARD else path.name for path in paths)
    return ", ".join(names), content


def _read(path: Path) -> str:
    if path != STANDARD:
        return text.read_text(path)
    return text.decode_text("standard input", sys.stdin.buffer.read())


# Files that are written.


def check_outputs(outputs: Mapping[str, Path | None], inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work, what could not be written after it or would replace another file.

    Args:
        outputs: paths by their options.
        inputs: files that are read.

    Raises:
        ValueError: a path is a folder, lies in none, or is that of an input or of another output.
        OSError: the system does not let it be written.
    """
    done: dict[str, Path] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        for other, before in done.items():
            if _same(path, before):
                raise ValueError(f"{option}: {path}: is that of {other} too, expected another file")
        for read in inputs:
            if path != STANDARD and read != STANDARD and _same(path, read) and not _straight(path):
                raise ValueError(f"{option}: {path}: is a TEXT that is read, expected another file")
        done[option] = path
        if path != STANDARD:
            _check_output(option, path)


def _same(a: Path, b: Path) -> bool:
    if STANDARD in (a, b):
        return a == b
    if a.exists() and b.exists():
        return a.samefile(b) and not _straight(a)
    return a.resolve() == b.resolve()


def _check_output(option: str, path: Path) -> None:
    with _named(f"{option}: {path}"):
        target = path.resolve()
        if target.is_dir():
            raise ValueError(f"{option}: {path}: is a folder, expected a file to write")
        if not target.parent.is_dir():
            raise ValueError(f"{option}: {path}: there is no folder {target.parent}")
        if not _straight(path):
            _try_beside(target)
        elif stat.S_ISFIFO(path.stat().st_mode):
            # Opening it would wait for a reader, who would take the end of that for the end.
            if not os.access(path, os.W_OK):
                raise PermissionError(13, os.strerror(13))
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def _straight(path: Path) -> bool:
    """Whether what is written goes into what is there, which is not a file to be replaced."""
    return path.exists() and (not path.is_file() or os.path.abspath(path).startswith(_NOT_FILES))


def _try_beside(target: Path) -> None:
    """Make, and remove, a file like that by which ``target`` will be replaced."""
    fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(8)}")
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    fresh.unlink()


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """The system's errors name what the user called it, not a temporary file."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{name}: cannot be written: {error.strerror or error}") from None


def write_output(option: str, path: Path, content: str) -> None:
    """Write a file whole or not, but a device, a pipe or the standard output straight."""
    if path == STANDARD:
        click.echo(content, nl=False)
        return
    with _named(f"{option}: {path}"):
        if _straight(path):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
                file.write(content.encode())
        else:
            files.write_file(path, content)


def replaces(path: Path) -> bool:
    """Whether writing to ``path`` again replaces what was written there before."""
    return path != STANDARD and not _straight(path)


def json_text(value: Any) -> str:
    """Plain values as JSON; what is not finite, which JSON lacks, as null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_folder(option: str, folder: Path, *, force: bool) -> None:
    """Refuse, before any work, a folder that a model could not be written to after it.

    Raises:
        ValueError: it is a file, lies in no folder, holds the working directory, or holds files
            of which none says that lamina wrote it, and not ``force``.
        OSError: the system does not let it be written.
    """
    with _named(f"{option}: {folder}"):
        target = folder.resolve()
        if target.exists() and not target.is_dir():
            raise ValueError(f"{option}: {folder}: is a file, expected a folder to write")
        if not target.parent.is_dir():
            raise ValueError(f"{option}: {folder}: there is no folder {target.parent}")
        if target in (Path.cwd(), *Path.cwd().parents):
            raise ValueError(
                f"{option}: {folder}: holds the working directory, expected a folder below it"
            )
        own = not folder.exists() or (folder / files.MANIFEST).is_file() or not os.listdir(folder)
        if own or force:
            _try_beside(target)
            return
    raise ValueError(
        f"{option}: {folder}: holds files that are not a model of lamina's, expected a new or "
        "empty folder (--force replaces what is named as the files of a model)"
    )
