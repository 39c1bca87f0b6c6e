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
from lamina.nn.pretrained import (
    Pretrained,
    from_pretrained,
    load_weights,
    save_pretrained,
    save_weights,
)

__all__ = [
    "IncompatibleKeys",
    "Linear",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "Pretrained",
    "Sequential",
    "from_pretrained",
    "init",
    "load_weights",
    "save_pretrained",
    "save_weights",
]
