"""What several commands have in common."""

import json
import math
from pathlib import Path
from typing import Any

from lamina import files, text


def read_texts(paths: tuple[Path, ...]) -> tuple[str, str]:
    """Name and content of the files together; tiny Shakespeare where there is none."""
    if not paths:
        return "tiny Shakespeare", text.shakespeare()
    content = "\n".join(text.read_text(path).rstrip("\n") for path in paths) + "\n"
    return ", ".join(path.name for path in paths), content


def check_writable(path: Path | None) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Raises:
        ValueError: it is a folder, or its folder does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected a file to write")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.absolute().parent}")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, whole or not; what is not finite, which JSON lacks, as null."""
    files.write_file(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
