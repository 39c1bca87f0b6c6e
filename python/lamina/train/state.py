"""The state of a training in a file: all it needs to go on to the last bit, less the weights.

Arrays stand in the file as such; the rest is one JSON text in its header, in which
``{"$array": name}`` stands for an array.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from lamina import files
from lamina.files import FormatError
from lamina.nn import Module, load_weights
from lamina.nn.pretrained import write_arrays
from lamina.random import generator
from lamina.tensor import Array
from lamina.train.callbacks import STATE, Callback
from lamina.train.history import History

SCHEMA_VERSION = 1

_ARRAY = "$array"
_HEADER = "lamina_training"


@dataclass
class Progress:
    """How far a training has come, and what of it has a state.

    Attributes:
        parts: by name: what has ``state_dict`` and ``load_state_dict``, or has none.
        needed: names of the parts that must have them, where they are not ``None``.
        callbacks: in the order in which they are called.
        history: the rows so far.
        model: for the generators that its modules hold.
        numbers: counts and sums of the loop.
    """

    parts: Mapping[str, Any]
    needed: Sequence[str]
    callbacks: Sequence[Callback]
    history: History
    model: Module
    numbers: Mapping[str, Any]


def write_state(path: str | os.PathLike[str], progress: Progress) -> None:
    """Write the state of a training.

    Raises:
        TypeError: the optimiser or the schedule has no state to save.
    """
    arrays: dict[str, Array] = {}
    content = {
        "schema_version": SCHEMA_VERSION,
        "parts": {name: _state_of(name, progress) for name in progress.parts},
        "callbacks": [[type(c).__name__, c.state_dict()] for c in progress.callbacks],
        "history": {name: np.array(column) for name, column in progress.history.history.items()},
        "generators": {name: g.bit_generator.state for name, g in _generators(progress).items()},
        "numbers": dict(progress.numbers),
    }
    text = json.dumps(_split(content, "", arrays))
    write_arrays(Path(path), arrays, {"format": "pt", _HEADER: text})


def read_state(folder: str | os.PathLike[str], progress: Progress) -> dict[str, Any]:
    """Give all of ``progress``, and the weights of the model, the state that ``folder`` has.

    Returns:
        The numbers of the loop.

    Raises:
        FormatError: a file is damaged, or not of such a training.
        FileNotFoundError: there is no such folder, or no state in it.
    """
    path = files.find_folder(folder)
    file = path / STATE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; ModelCheckpoint writes it with save_state=True"
        )
    files.check_folder(path, {STATE})
    content = _read(file)
    load_weights(progress.model, path)
    try:
        return _restore(content, progress)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(file, f"is not the state of such a training: {error}") from None


def _restore(content: Any, progress: Progress) -> dict[str, Any]:
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"expected schema_version {SCHEMA_VERSION}")
    kinds = [type(c).__name__ for c in progress.callbacks]
    stored = [kind for kind, _ in content["callbacks"]]
    if kinds != stored:
        raise ValueError(f"expected the callbacks {', '.join(stored)}, got {', '.join(kinds)}")
    for name, part in progress.parts.items():
        state = content["parts"][name]
        if (state is None) != (part is None or not hasattr(part, "load_state_dict")):
            raise ValueError(f"{name}: one of the two trainings has none")
        if state is not None:
            if name == "optimizer":
                # JSON has no keys but texts.
                state = {**state, "state": {int(k): v for k, v in state["state"].items()}}
            part.load_state_dict(state)
    for callback, (_, state) in zip(progress.callbacks, content["callbacks"], strict=True):
        callback.load_state_dict(state)
    history = progress.history
    history.history = {name: column.tolist() for name, column in content["history"].items()}
    rows = {len(column) for column in history.history.values()} or {0}
    history.epoch = list(range(rows.pop()))
    generators = _generators(progress)
    if generators.keys() != content["generators"].keys():
        raise ValueError("the modules hold other random generators")
    for name, state in content["generators"].items():
        generators[name].bit_generator.state = state
    numbers = content["numbers"]
    if numbers.keys() != progress.numbers.keys():
        raise ValueError("the numbers of the loop are others")
    return numbers


def _state_of(name: str, progress: Progress) -> Any:
    part = progress.parts[name]
    if part is None:
        return None
    if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
        if name in progress.needed:
            raise TypeError(
                f"save_state: {name}: expected state_dict and load_state_dict, which "
                f"{type(part).__name__} has not"
            )
        return None
    return part.state_dict()


def _generators(progress: Progress) -> dict[str, np.random.Generator]:
    """The library's generator and those that modules hold, each once."""
    found = {"": generator()}
    for prefix, module in progress.model.named_modules():
        for key, value in sorted(vars(module).items()):
            if isinstance(value, np.random.Generator) and value not in found.values():
                found[f"{prefix}:{key}"] = value
    return found


def _split(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """``value`` for JSON, with its arrays put into ``arrays``."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {_ARRAY: path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _split(item, f"{path}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_split(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"save_state: {path[1:]}: {type(value).__name__} cannot be stored")


def _join(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _join(item, arrays) for key, item in value.items()}
    return [_join(item, arrays) for item in value] if isinstance(value, list) else value


def _read(file: Path) -> Any:
    try:
        with safetensors.safe_open(file, framework="np") as stored:
            text = (stored.metadata() or {})[_HEADER]
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        return _join(json.loads(text), arrays)
    except (safetensors.SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise FormatError(file, f"is not the state of a training: {error}") from None
