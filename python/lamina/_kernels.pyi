"""Stub of the extension module; checked against it by stubtest."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

__all__ = [
    "empty",
    "gru_backward",
    "gru_forward",
    "isa",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "lstm_backward",
    "lstm_forward",
    "matmul_batched",
    "num_threads",
    "profile_start",
    "profile_stop",
    "rnn_relu_backward",
    "rnn_relu_forward",
    "rnn_tanh_backward",
    "rnn_tanh_forward",
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
def gru_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def gru_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def lstm_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def lstm_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def rnn_relu_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def rnn_relu_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def rnn_tanh_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def rnn_tanh_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
