"""Stub of the extension module; checked against it by stubtest."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

__all__ = [
    "attention_backward",
    "attention_forward",
    "empty",
    "isa",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "matmul_batched",
    "num_threads",
    "profile_start",
    "profile_stop",
    "self_attention_backward",
    "self_attention_forward",
    "set_num_threads",
    "softmax_backward",
    "softmax_forward",
]

_Array = npt.NDArray[Any]

def isa() -> str: ...
def num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
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
def attention_forward(
    q: _Array, k: _Array, v: _Array, mask: _Array | None, causal: bool, scale: float, /
) -> tuple[_Array, _Array]: ...
def attention_backward(
    dy: _Array,
    q: _Array,
    k: _Array,
    v: _Array,
    mask: _Array | None,
    causal: bool,
    scale: float,
    y: _Array,
    lse: _Array,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def self_attention_forward(
    qkv: _Array,
    num_heads: int,
    num_kv_heads: int,
    mask: _Array | None,
    causal: bool,
    scale: float,
    /,
) -> tuple[_Array, _Array]: ...
def self_attention_backward(
    dy: _Array,
    qkv: _Array,
    num_heads: int,
    num_kv_heads: int,
    mask: _Array | None,
    causal: bool,
    scale: float,
    y: _Array,
    lse: _Array,
    /,
) -> _Array: ...
