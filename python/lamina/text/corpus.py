"""Texts: reading, splitting, and one that comes with the library."""

import importlib.resources
import lzma
import os
from pathlib import Path


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file; a byte order mark is dropped and every line end is a line feed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty or is not text, or is a folder.
    """
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{file}: is a folder, expected a text file")
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    data = file.read_bytes()
    zero = data.find(0)
    if zero >= 0:
        raise ValueError(f"{file}: is not text: a zero byte at offset {zero}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is not UTF-8 text: bad byte at offset {error.start}") from None
    if not text or text.isspace():
        raise ValueError(f"{file}: holds no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_text(text: str, validation: float = 0.1) -> tuple[str, str]:
    """The first part for training and the last ``validation`` share of the characters.

    Raises:
        ValueError: ``validation`` is not between 0 and 1, or a part would be empty.
    """
    if not 0 < validation < 1:
        raise ValueError(f"split_text: validation: expected between 0 and 1, got {validation}")
    cut = int(len(text) * (1 - validation))
    if not 0 < cut < len(text):
        raise ValueError(
            f"split_text: text: {len(text)} characters are too few for validation={validation}"
        )
    return text[:cut], text[cut:]


def shakespeare() -> str:
    """Forty thousand lines of Shakespeare's plays, 1.1 million characters; public domain."""
    data = importlib.resources.files("lamina.text").joinpath("shakespeare.txt.xz").read_bytes()
    return lzma.decompress(data).decode()
