"""Stub of the extension module; checked against it by stubtest."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

__all__ = [
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "adaptive_max_pool2d_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "conv_transpose2d_backward",
    "conv_transpose2d_forward",
    "empty",
    "isa",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "matmul_batched",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "num_threads",
    "profile_start",
    "profile_stop",
    "set_exact",
    "set_num_threads",
    "softmax_backward",
    "softmax_forward",
]

_Array = npt.NDArray[Any]
_Pair = tuple[int, int]
_Gradients = tuple[_Array | None, _Array | None, _Array | None]

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
def set_exact(exact: bool, /) -> None: ...
def conv2d_forward(
    x: _Array,
    weight: _Array,
    bias: _Array | None,
    stride: _Pair,
    padding: tuple[_Pair, _Pair],
    dilation: _Pair,
    groups: int,
    /,
) -> _Array: ...
def conv2d_backward(
    dy: _Array,
    x: _Array,
    weight: _Array,
    stride: _Pair,
    padding: tuple[_Pair, _Pair],
    dilation: _Pair,
    groups: int,
    needs: tuple[bool, bool, bool],
    /,
) -> _Gradients: ...
def conv_transpose2d_forward(
    x: _Array,
    weight: _Array,
    bias: _Array | None,
    stride: _Pair,
    padding: tuple[_Pair, _Pair],
    output_padding: _Pair,
    dilation: _Pair,
    groups: int,
    /,
) -> _Array: ...
def conv_transpose2d_backward(
    dy: _Array,
    x: _Array,
    weight: _Array,
    stride: _Pair,
    padding: tuple[_Pair, _Pair],
    output_padding: _Pair,
    dilation: _Pair,
    groups: int,
    needs: tuple[bool, bool, bool],
    /,
) -> _Gradients: ...
def max_pool2d_forward(
    x: _Array,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    ceil_mode: bool,
    /,
) -> tuple[_Array, _Array]: ...
def max_pool2d_backward(dy: _Array, indices: _Array, plane: _Pair, /) -> _Array: ...
def adaptive_max_pool2d_forward(x: _Array, output_size: _Pair, /) -> tuple[_Array, _Array]: ...
def avg_pool2d_forward(
    x: _Array,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    /,
) -> _Array: ...
def avg_pool2d_backward(
    dy: _Array,
    plane: _Pair,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    /,
) -> _Array: ...
def adaptive_avg_pool2d_forward(x: _Array, output_size: _Pair, /) -> _Array: ...
def adaptive_avg_pool2d_backward(dy: _Array, plane: _Pair, /) -> _Array: ...
