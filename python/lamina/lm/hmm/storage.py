"""Folders of hidden Markov models: options as JSON, arrays as safetensors."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from lamina import files
from lamina.nn.pretrained import write_arrays

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def save(
    folder: PathLike,
    name: str,
    options: Mapping[str, Any],
    state: Mapping[str, Array],
    more: Mapping[str, files.Content] | None = None,
) -> None:
    """Write a model's class, options and arrays, all or nothing."""
    config = {"class": name, "options": {key: _plain(value) for key, value in options.items()}}
    contents: dict[str, files.Content] = {
        _CONFIG: json.dumps(config, indent=2) + "\n",
        _WEIGHTS: lambda path: write_arrays(path, state, {"format": "np"}),
    }
    files.write_folder(folder, {**contents, **(more or {})})


def load(folder: PathLike, name: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Options and arrays of a folder.

    Raises:
        FormatError: a file is damaged, or of another class than ``name``.
    """
    path = files.find_folder(folder)
    files.check_folder(path)
    config = files.read_json(path / _CONFIG)
    options = config.get("options")
    if config.get("class") != name or not isinstance(options, dict):
        raise files.FormatError(path / _CONFIG, f"expected the configuration of a {name}")
    return options, _read_arrays(path / _WEIGHTS)


@contextlib.contextmanager
def refusing(folder: PathLike) -> Iterator[None]:
    """Turn what a model says against options and arrays into a ``FormatError``."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, files.FormatError):
            raise
        raise files.FormatError(folder, error) from None


def _read_arrays(file: Path) -> dict[str, Array]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        with safetensors.safe_open(file, framework="np") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, ValueError, OverflowError) as error:
        raise files.FormatError(file, f"is not a safetensors file: {error}") from None


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
