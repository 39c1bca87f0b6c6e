"""Stub of the extension module; checked against it by stubtest."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

__all__ = [
    "empty",
    "isa",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "machine_limits",
    "matmul_batched",
    "num_threads",
    "profile_start",
    "profile_stop",
    "set_num_threads",
    "softmax_backward",
    "softmax_forward",
]

_Array = npt.NDArray[Any]

def isa() -> str: ...
def num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def machine_limits() -> tuple[float, float]: ...
def empty(shape: Sequence[int], double: bool = False, /) -> _Array: ...
def profile_start() -> None: ...
def profile_stop() -> dict[str, tuple[int, float]]: ...
def softmax_forward(x: _Array, /) -> _Array: ...
def softmax_backward(dy: _Array, y: _Array, /) -> _Array: ...
def log_softmax_forward(x: _Array, /) -> _Array: ...
def log_softmax_backward(dy: _Array, y: _Array, /) -> _Array: ...
def matmul_batched(a: _Array, b: _Array, /) -> _Array: ...
def linear_forward(
    x: _Array, weight: _Array, bias: _Array | None, activation_name: str, save: bool, /
) -> tuple[_Array, _Array | None]: ...
def linear_backward(
    dy: _Array,
    x: _Array,
    weight: _Array,
    activation_name: str,
    kept: _Array | None,
    needs: tuple[bool, bool, bool],
    /,
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
