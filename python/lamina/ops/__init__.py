"""Differentiable functions under PyTorch's functional names, one file per family."""

from lamina.ops.linear import linear, matmul
from lamina.ops.recurrent import (
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    rnn_relu,
    rnn_relu_cell,
    rnn_tanh,
    rnn_tanh_cell,
)
from lamina.ops.softmax import log_softmax, softmax

__all__ = [
    "gru",
    "gru_cell",
    "linear",
    "log_softmax",
    "lstm",
    "lstm_cell",
    "matmul",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
    "softmax",
]
