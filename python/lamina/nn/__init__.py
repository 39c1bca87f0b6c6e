"""Layers, one file per family; names, arguments and parameters are PyTorch's."""

from lamina.nn import init
from lamina.nn.activation import (
    ELU,
    GELU,
    Hardswish,
    Identity,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from lamina.nn.dropout import Dropout, Dropout2d
from lamina.nn.embedding import Embedding
from lamina.nn.attention import MultiheadAttention
from lamina.nn.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from lamina.nn.linear import Linear
from lamina.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    CTCLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from lamina.nn.module import (
    IncompatibleKeys,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    Sequential,
)
from lamina.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm, RMSNorm
from lamina.nn.pretrained import (
    Pretrained,
    from_pretrained,
    load_weights,
    save_pretrained,
    save_weights,
)

__all__ = [
    "ELU",
    "GELU",
    "BatchNorm1d",
    "BatchNorm2d",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "GroupNorm",
    "Hardswish",
    "Identity",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CrossEntropyLoss",
    "HuberLoss",
from lamina.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from lamina.nn.shape import Flatten

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Flatten",
    "IncompatibleKeys",
    "InstanceNorm2d",
    "LayerNorm",
    "LeakyReLU",
from lamina.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "IncompatibleKeys",
    "LSTMCell",
    "Linear",
    "LogSoftmax",
    "Mish",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "MultiheadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "RNNCell",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "SmoothL1Loss",
    "Pretrained",
    "Sequential",
    "from_pretrained",
    "init",
    "load_weights",
    "save_pretrained",
    "save_weights",
]
