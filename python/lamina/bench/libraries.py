"""The libraries beside lamina: whether they are here, and how many threads they use."""

import ctypes
import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

import lamina

LIBRARIES = ("numpy", "torch", "onnxruntime")
_OPENBLAS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


class MissingError(ImportError):
    """A library that is not installed."""


def load(name: str) -> Any:
    """The module of a library.

    Raises:
        MissingError: it is not installed.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"{name} is not installed") from error
    # A folder that happens to have the name imports as an empty namespace.
    if getattr(module, "__file__", None) is None:
        raise MissingError(f"{name} is not installed")
    return module


def of_peer(peer: str) -> str:
    """The library of a peer: ``torch`` of ``torch NHWC`` and of ``torch.compile``."""
    return re.split(r"\W", peer, maxsplit=1)[0]


def versions(libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Versions of lamina and of those that are installed."""
    found = {"lamina": lamina.__version__}
    for name in libraries:
        try:
            found[name] = str(load(name).__version__)
        except MissingError:
            continue
    return found


def set_threads(count: int, libraries: tuple[str, ...] = LIBRARIES) -> None:
    """Have lamina and the others use ``count`` threads; onnxruntime's sessions have their own."""
    lamina.set_num_threads(count)
    _set_numpy_threads(count)
    if "torch" in libraries:
        try:
            torch = load("torch")
        except MissingError:
            return
        torch.set_num_threads(count)


def _set_numpy_threads(count: int) -> None:
    """The same for the OpenBLAS that NumPy's wheels bring; another BLAS keeps its number."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in folder.glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for name in _OPENBLAS:
                if hasattr(library, name):
                    getattr(library, name)(ctypes.c_int(count))
                    return
