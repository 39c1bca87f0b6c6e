"""Texts: reading, splitting, and one that comes with the library."""

import importlib.resources
import lzma
import os
from pathlib import Path

# Pairs of bytes from which an encoding is guessed.
_LOOKED_AT = 2048


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
    return decode_text(str(file), file.read_bytes())


def decode_text(name: str, data: bytes) -> str:
    """The text of UTF-8 bytes, as :func:`read_text` reads it; errors call it ``name``.

    Raises:
        ValueError: there is none, or the bytes are not text.
    """
    zero = data.find(0)
    if zero >= 0:
        raise ValueError(f"{name}: is not text: a zero byte at offset {zero}{_hint(data)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}: is not UTF-8 text: bad byte at offset {error.start}{_hint(data)}"
        ) from None
    if not text or text.isspace():
        raise ValueError(f"{name}: holds no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _hint(data: bytes) -> str:
    """What the bytes look like instead, where that can be told."""
    start = data[: 2 * _LOOKED_AT]
    zeros = [half.count(0) / max(len(half), 1) for half in (start[::2], start[1::2])]
    pairs = len(data) >= 8 and len(data) % 2 == 0
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if pairs and (marked or max(zeros) > 0.3 > 0.1 > min(zeros)):
        # Text in Latin letters has a zero in every second byte.
        little = data.startswith(b"\xff\xfe") or (zeros[1] > zeros[0] and data[:1] != b"\xfe")
        encoding = "UTF-16LE" if little else "UTF-16BE"
    elif 0 in start or any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in start):
        return ""
    elif sum(byte >= 128 for byte in start) < 0.3 * len(start):
        encoding = "Latin-1" if not any(128 <= byte < 160 for byte in start) else "Windows-1252"
    else:
        return ""
    return f"; it looks like {encoding}: iconv -f {encoding.upper()} -t UTF-8 converts it"


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
