"""Layers, one file per family; names, arguments and parameters are PyTorch's."""

from lamina.nn import init
from lamina.nn.attention import MultiheadAttention
from lamina.nn.linear import Linear
from lamina.nn.module import (
    IncompatibleKeys,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    Sequential,
)

__all__ = [
    "IncompatibleKeys",
    "Linear",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "Parameter",
    "Sequential",
    "init",
]
