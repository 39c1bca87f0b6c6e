"""Layers, one file per family; names, arguments and parameters are PyTorch's."""

from lamina.nn import init
from lamina.nn.linear import Linear
from lamina.nn.module import (
    IncompatibleKeys,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    Sequential,
)
from lamina.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "IncompatibleKeys",
    "LSTMCell",
    "Linear",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "RNNCell",
    "Sequential",
    "init",
]
