"""Conditional random fields as folders: ``config.json`` and ``model.safetensors``."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lamina import _kernels, files

Array = npt.NDArray[Any]
T = TypeVar("T")

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_ARRAYS = {
    "labels.text": np.uint8,
    "labels.ends": np.int64,
    "attributes.text": np.uint8,
    "attributes.ends": np.int64,
    "states.ends": np.int64,
    "states.labels": np.uint16,
    "states.weights": np.float64,
    "transitions.weights": np.float64,
    "transitions.present": np.bool_,
}


def save_model(
    folder: str | os.PathLike[str], parts: Sequence[Array], params: dict[str, Any]
) -> None:
    """Write the arrays and the arguments of a model."""
    arrays = dict(zip(_ARRAYS, parts, strict=True))
    config = {"class": "CRF", "params": params}
    files.write_folder(folder, {_CONFIG: files.json_text(config), _WEIGHTS: save(arrays)})


def load_model(
    folder: str | os.PathLike[str], names: frozenset[str], make: Callable[..., T]
) -> tuple[_kernels.CRFModel, T]:
    """The model in a folder, and what ``make`` makes of its arguments, which are of ``names``.

    Raises:
        FormatError: a file is broken.
    """
    path = files.find_folder(folder)
    files.check_folder(path)
    config = files.read_json(path / _CONFIG)
    params = config.get("params")
    if config.get("class") != "CRF" or not isinstance(params, dict):
        raise files.FormatError(path / _CONFIG, "expected the class CRF and its params")
    if not params.keys() <= names:
        unknown = sorted(params.keys() - names)
        raise files.FormatError(path / _CONFIG, f"unknown params {', '.join(unknown)}")
    try:
        made = make(**params)
    except (TypeError, ValueError) as error:
        raise files.FormatError(path / _CONFIG, error) from None
    weights = path / _WEIGHTS
    try:
        model = _kernels.CRFModel.from_parts(*_read(weights))
    except (TypeError, ValueError) as error:
        if isinstance(error, files.FormatError):
            raise
        raise files.FormatError(weights, error) from None
    return model, made


def _read(path: Path) -> list[Array]:
    path.stat()
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if names != set(_ARRAYS):
                raise files.FormatError(path, f"expected the arrays {', '.join(_ARRAYS)}")
            arrays = [file.get_tensor(name) for name in _ARRAYS]
    except (SafetensorError, OSError) as error:
        raise files.FormatError(path, error) from None
    for (name, dtype), array in zip(_ARRAYS.items(), arrays, strict=True):
        if array.ndim != 1 or array.dtype != dtype:
            got = f"{array.ndim}-d {array.dtype}"
            raise files.FormatError(path, f"{name}: expected 1-d {np.dtype(dtype)}, got {got}")
        if array.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
            raise files.FormatError(path, f"{name}: expected bytes of zero and one")
    return arrays
