"""Models as folders in Hugging Face's layout: what their files say and how a model is made of them.

It stands in ``nn`` because it knows modules and their states; how a folder is written whole and
checked is in :mod:`lamina.files`, and which classes there are is said by the caller's table.
"""

import dataclasses
import errno
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, Union

import numpy as np
import safetensors
import safetensors.numpy

import lamina
from lamina import files
from lamina.files import FormatError
from lamina.nn import init
from lamina.nn.module import Module
from lamina.tensor import Array, Tensor

SCHEMA_VERSION = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
GENERATION = "generation_config.json"

PathLike = str | os.PathLike[str]
Classes = Mapping[str, tuple[Callable[[Any], Module], type[Any]]]

_LARGEST_INT = 1 << 40
_DTYPES = {
    "BOOL": "?",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "I8": "<i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "<u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
}


class HasJson(Protocol):
    """What can be stored as ``tokenizer.json``."""

    def to_json(self) -> str:
        """Text of the file."""


class Pretrained:
    """Mixin of models that are stored as folders: ``class GPT(Pretrained, nn.Module)``.

    The class names the dataclass of its arguments in ``config_class``; the model takes one as its
    only required argument and keeps it as ``config``.
    """

    config_class: ClassVar[type[Any]]
    config: Any

    def save_pretrained(
        self,
        folder: PathLike,
        *,
        tokenizer: HasJson | None = None,
        generation_config: Mapping[str, Any] | None = None,
        more: "Mapping[str, files.Content] | None" = None,
    ) -> None:
        """Write the model as a folder; see :func:`save_pretrained`."""
        save_pretrained(
            self,  # type: ignore[arg-type]
            folder,
            tokenizer=tokenizer,
            generation_config=generation_config,
            more=more,
        )

    @classmethod
    def from_pretrained(cls, folder: PathLike) -> Self:
        """The model of a folder written by :meth:`save_pretrained` of this class."""
        table: Classes = {cls.__name__: (cls, cls.config_class)}  # type: ignore[dict-item]
        return from_pretrained(folder, table)  # type: ignore[return-value]


def save_pretrained(
    model: Module,
    folder: PathLike,
    *,
    tokenizer: HasJson | None = None,
    generation_config: Mapping[str, Any] | None = None,
    more: "Mapping[str, files.Content] | None" = None,
) -> None:
    """Write a model as a folder that :func:`from_pretrained` reads.

    ``config.json`` has the name of the class and its arguments, ``model.safetensors`` the
    parameters and buffers (a shared one once), ``MANIFEST.json`` the sha256 of each file. The
    folder is replaced whole, or not at all: see :func:`lamina.files.write_folder`.

    Args:
        model: its ``config`` is a dataclass of numbers, texts and tuples of them.
        folder: made or replaced; files in it that are not of a model stay.
        tokenizer: stored as ``tokenizer.json``.
        generation_config: stored as ``generation_config.json``.
        more: other files by name, such as the state of a training; see
            :func:`lamina.files.write_folder`.

    Raises:
        TypeError: the model has no such ``config``.
        OSError: the system refused; an older model in ``folder`` is as it was.
    """
    name = type(model).__name__
    config = getattr(model, "config", None)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"save_pretrained: {name}: expected a dataclass as .config")
    content: dict[str, files.Content] = {
        CONFIG: files.json_text(
            {
                "class": name,
                "arguments": _plain(dataclasses.asdict(config)),
                "lamina_version": lamina.__version__,
                "schema_version": SCHEMA_VERSION,
            }
        ),
        WEIGHTS: _weights_writer(model),
    }
    if tokenizer is not None:
        content[TOKENIZER] = tokenizer.to_json()
    if generation_config is not None:
        content[GENERATION] = files.json_text(_plain(dict(generation_config)))
    files.write_folder(folder, {**content, **(more or {})})


def from_pretrained(folder: PathLike, classes: Classes) -> Module:
    """The model of a folder, in the mode of evaluation.

    Every file is compared with ``MANIFEST.json`` where there is one. Names in ``config.json`` are
    looked up in ``classes``, its arguments are checked against the types of the config, the shapes
    of all arrays against the model, before any of them changes it.

    Args:
        folder: written by :func:`save_pretrained`, or of the same layout.
        classes: by name: the class of the model and the dataclass of its arguments.

    Raises:
        FormatError: a file is damaged, of the wrong kind, or of an unknown class.
        FileNotFoundError: there is no such folder or a file is missing in it.
    """
    path = files.find_folder(folder)
    files.check_folder(path)
    model_class, config = _read_config(path / CONFIG, classes)
    stored = _read_kinds(path / WEIGHTS)
    numbers = sum(int(np.prod(shape, dtype=object)) for shape, _ in stored.values())
    try:
        # Twice for models that fill a parameter a second time, and some for odd buffers.
        with init.skipped(4 * numbers + 1_000_000, 4 * len(stored) + 1000):
            model = model_class(config)
    except Exception as error:
        raise FormatError(path / CONFIG, f"arguments make no model: {error}") from None
    _widen(model, {name for name, (_, kind) in stored.items() if kind == "F64"})
    load_weights(model, path, verify=False)
    return model.eval()


def save_weights(
    model: Module, folder: PathLike, *, more: "Mapping[str, files.Content] | None" = None
) -> None:
    """Write the state of any module, and ``more`` files, for :func:`load_weights` to read."""
    files.write_folder(folder, {WEIGHTS: _weights_writer(model), **(more or {})})


def load_weights(model: Module, folder: PathLike, *, verify: bool = True) -> None:
    """Copy parameters and buffers from a model folder into a module of the same shapes.

    Args:
        model: unchanged where an error is raised.
        folder: with ``model.safetensors``.
        verify: whether to compare the file with ``MANIFEST.json``.

    Raises:
        FormatError: the file is damaged, or not of such a module.
    """
    path = files.find_folder(folder)
    if verify:
        files.check_folder(path, {WEIGHTS})
    file = path / WEIGHTS
    state = _read_weights(file)
    try:
        for names in _tied(model):
            stored = [name for name in names if name in state]
            for name in stored[1:]:
                if not np.array_equal(state[name], state[stored[0]], equal_nan=True):
                    raise ValueError(f"{name} and {stored[0]} are one in the model, two here")
            for name in names:
                if stored:
                    state.setdefault(name, state[stored[0]])
        model.load_state_dict(state)
    except ValueError as error:
        raise FormatError(file, error) from None


def _widen(model: Module, names: Collection[str]) -> None:
    """Make room for float64 where it is stored."""
    for prefix, module in model.named_modules():
        for key in [*module._parameters, *module._buffers]:
            held = getattr(module, key)
            array = held.data if isinstance(held, Tensor) else held
            name = f"{prefix}.{key}" if prefix else key
            if name not in names or array.dtype != np.float32:
                continue
            if isinstance(held, Tensor):
                held.data = array.astype(np.float64)
            else:
                setattr(module, key, array.astype(np.float64))


def _tied(model: Module) -> list[list[str]]:
    """Names of the state that share one array."""
    groups: dict[int, list[str]] = {}
    for name, array in model.state_dict().items():
        groups.setdefault(id(array), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _weights_writer(model: Module) -> "files.Content":
    arrays: dict[str, Array] = {}
    seen: set[int] = set()
    for name, array in model.state_dict().items():
        if id(array) not in seen:
            seen.add(id(array))
            arrays[name] = array

    return lambda path: write_arrays(path, arrays, {"format": "pt"})


def write_arrays(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Raises:
        OSError: the system refused.
    """
    # The format has no strides.
    rows = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    try:
        safetensors.numpy.save_file(rows, path, metadata=dict(metadata))
    except safetensors.SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), os.fspath(path)) from error
    # Written by way of a temporary file that only its owner may read.
    path.chmod(path.parent.stat().st_mode & 0o666)


def _read_kinds(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types by name."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        with safetensors.safe_open(file, framework="np") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            return {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise FormatError(file, f"is not a safetensors file: {error}") from None


def _read_weights(file: Path) -> dict[str, Array]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        with safetensors.safe_open(file, framework="np") as stored:
            names = list(stored.keys())
            kinds = {name: stored.get_slice(name).get_dtype() for name in names}
            known = {k for k in names if kinds[k] in _DTYPES}
            state = {name: stored.get_tensor(name) for name in names if name in known}
        if len(known) < len(names):
            state.update(_read_bfloat16(file, known))
        return state
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise FormatError(file, f"is not a safetensors file: {error}") from None


def _read_bfloat16(file: Path, known: set[str]) -> dict[str, Array]:
    """Arrays in the one common type that NumPy lacks, as float32."""
    state: dict[str, Array] = {}
    for name, spec in safetensors.deserialize(file.read_bytes()):  # type: ignore[no-untyped-call]
        if name in known:
            continue
        if spec["dtype"] != "BF16":
            raise ValueError(f"{name}: type {spec['dtype']} cannot be read")
        halves = np.frombuffer(spec["data"], "<u2").astype(np.uint32)
        state[name] = (halves << 16).view(np.float32).reshape(spec["shape"])
    return state


# The arguments of a model: from a dataclass to JSON and back, by the types of its fields.


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"save_pretrained: config: {type(value).__name__} cannot be stored")


def _read_config(file: Path, classes: Classes) -> tuple[Callable[[Any], Module], Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    content = files.read_json(file)
    missing = {"class", "arguments", "schema_version"} - content.keys()
    if missing:
        raise FormatError(
            file, f"expected the keys class, arguments, schema_version, got {[*content]}"
        )
    version = content["schema_version"]
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        wrote = content.get("lamina_version")
        raise FormatError(
            file,
            f"schema_version: expected at most {SCHEMA_VERSION}, got {version} of lamina {wrote}",
        )
    name = content["class"]
    if not isinstance(name, str) or name not in classes:
        known = ", ".join(sorted(classes))
        raise FormatError(file, f"class: expected one of {known}, got {name!r}")
    model_class, config_class = classes[name]
    try:
        return model_class, read_dataclass(config_class, content["arguments"])
    except ValueError as error:
        raise FormatError(file, error) from None


def read_dataclass(kind: type[Any], values: Any, path: str = "arguments") -> Any:
    """An instance of a dataclass from the values of a JSON object, whose types must agree.

    Raises:
        ValueError: a key is unknown or missing, a value has another type, or the dataclass itself
            refused.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object, got {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise ValueError(f"{path}: {kind.__name__} has no {', '.join(map(repr, unknown))}")
    hints = typing.get_type_hints(kind)
    arguments = {
        name: _typed(value, hints[name], f"{path}.{name}") for name, value in values.items()
    }
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None


def _typed(value: Any, hint: Any, path: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        for option in inner:
            try:
                return _typed(value, option, path)
            except ValueError:
                continue
    elif origin is Literal:
        if any(value == option and type(value) is type(option) for option in inner):
            return value
    elif origin is tuple and isinstance(value, list):
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_typed(v, inner[0], f"{path}[{i}]") for i, v in enumerate(value))
        if len(inner) == len(value):
            pairs = zip(value, inner, strict=True)
            return tuple(_typed(v, h, f"{path}[{i}]") for i, (v, h) in enumerate(pairs))
    elif origin is list and isinstance(value, list):
        return [_typed(v, inner[0], f"{path}[{i}]") for i, v in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {k: _typed(v, inner[1], f"{path}.{k}") for k, v in value.items()}
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read_dataclass(hint, value, path)
    elif hint in (None, type(None)):
        if value is None:
            return None
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
    elif hint is int:
        if type(value) is int:
            if abs(value) > _LARGEST_INT:
                raise ValueError(f"{path}: {value} is too large")
            return value
    elif hint in (bool, str) and type(value) is hint:
        return value
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    raise ValueError(f"{path}: expected {name}, got {type(value).__name__} {value!r:.60}")
