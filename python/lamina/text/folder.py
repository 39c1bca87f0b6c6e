"""Folders of word vectors: a configuration, and tensors with the words among them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina import files

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def write_model(folder: PathLike, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write a folder with a configuration and tensors."""
    import safetensors.numpy

    def write(path: Path) -> None:
        safetensors.numpy.save_file(dict(tensors), path)

    files.write_folder(folder, {CONFIG: files.json_text(config), WEIGHTS: write})


def read_model(
    folder: PathLike, classes: Sequence[str]
) -> tuple[Path, dict[str, Any], dict[str, Array]]:
    """The file of tensors, the configuration and the tensors of a folder."""
    import safetensors
    import safetensors.numpy

    source = files.find_folder(folder)
    files.check_folder(source, {CONFIG, WEIGHTS})
    config = files.read_json(source / CONFIG)
    if config.get("class") not in classes:
        raise files.FormatError(
            source / CONFIG, f"expected the configuration of a {' or '.join(classes)}"
        )
    path = source / WEIGHTS
    try:
        return path, config, dict(safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise files.FormatError(path, f"is not a safetensors file: {error}") from None


def pack_words(words: Sequence[str], counts: Array | None) -> dict[str, Array]:
    """Words as bytes and where each ends, and their counts."""
    encoded = [word.encode() for word in words]
    packed: dict[str, Array] = {
        "words": np.frombuffer(b"".join(encoded), np.uint8),
        "ends": np.cumsum([len(word) for word in encoded], dtype=np.int64),
    }
    return packed if counts is None else {**packed, "counts": counts}


def unpack_words(path: Path, tensors: Mapping[str, Array]) -> tuple[list[str], Array | None]:
    """What :func:`pack_words` packed.

    Raises:
        FormatError: it is broken.
    """
    text, ends, counts = (tensors.get(name) for name in ("words", "ends", "counts"))
    if (
        text is None
        or ends is None
        or (text.dtype, ends.dtype) != (np.uint8, np.int64)
        or (text.ndim, ends.ndim) != (1, 1)
        or (ends.size and (ends[0] < 0 or (np.diff(ends) < 0).any()))
        or text.size != (ends[-1] if ends.size else 0)
        or (counts is not None and (counts.dtype != np.int64 or counts.shape != ends.shape))
    ):
        raise files.FormatError(path, "expected words and where each ends")
    whole, starts = text.tobytes(), [0, *ends.tolist()]
    try:
        words = [
            whole[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=False)
        ]
    except UnicodeDecodeError:
        raise files.FormatError(path, "a word is not UTF-8") from None
    if len(set(words)) != len(words):
        raise files.FormatError(path, "a word occurs twice")
    return words, counts
