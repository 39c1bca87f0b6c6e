"""Stub of the extension module; checked against it by stubtest."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

__all__ = [
    "activation_backward",
    "activation_forward",
    "channel_norm_backward",
    "channel_norm_forward",
    "dropout_apply",
    "embedding_backward",
    "embedding_forward",
    "empty",
    "isa",
    "layer_norm_backward",
    "layer_norm_forward",
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
def activation_forward(name: str, input: _Array, a: float = 0.0, b: float = 0.0, /) -> _Array: ...
def activation_backward(
    name: str, dy: _Array, kept: _Array, a: float = 0.0, b: float = 0.0, /
) -> _Array: ...
def dropout_apply(input: _Array, p: float, seed: int, /) -> _Array: ...
def embedding_forward(ids: _Array, weight: _Array, /) -> _Array: ...
def embedding_backward(
    dy: _Array, ids: _Array, rows: int, padding: int | None = None, /
) -> _Array: ...
def layer_norm_forward(
    input: _Array,
    axes: int,
    weight: _Array | None,
    bias: _Array | None,
    centred: bool,
    eps: float,
    /,
) -> tuple[_Array, _Array]: ...
def layer_norm_backward(
    dy: _Array,
    x: _Array,
    moments: _Array,
    axes: int,
    weight: _Array | None,
    centred: bool,
    eps: float,
    needs: bool,
    /,
) -> tuple[_Array, _Array | None, _Array | None]: ...
def channel_norm_forward(
    input: _Array,
    groups: int | None,
    mean: _Array | None,
    var: _Array | None,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    /,
) -> tuple[_Array, _Array]: ...
def channel_norm_backward(
    dy: _Array,
    x: _Array,
    groups: int | None,
    moments: _Array,
    fixed: bool,
    weight: _Array | None,
    eps: float,
    needs: bool,
    /,
) -> tuple[_Array, _Array | None, _Array | None]: ...
