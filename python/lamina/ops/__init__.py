"""Differentiable functions under PyTorch's functional names, one file per family."""

from lamina.ops.activation import (
    celu,
    elu,
    exp,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log,
    logsigmoid,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
)
from lamina.ops.dropout import dropout, dropout2d
from lamina.ops.embedding import embedding
from lamina.ops.attention import (
    attention_weights,
    scaled_dot_product_attention,
    self_attention,
)
from lamina.ops.linear import linear, matmul
from lamina.ops.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from lamina.ops.softmax import log_softmax, softmax

__all__ = [
    "batch_norm",
    "celu",
    "dropout",
    "dropout2d",
    "elu",
    "embedding",
    "exp",
    "gelu",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
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
    "attention_weights",
from lamina.ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from lamina.ops.linear import linear, matmul
from lamina.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from lamina.ops.softmax import log_softmax, softmax

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "linear",
    "log",
    "log_softmax",
    "logsigmoid",
    "matmul",
    "mish",
    "relu",
    "relu6",
    "rms_norm",
    "selu",
    "sigmoid",
    "silu",
from lamina.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    ctc_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from lamina.ops.softmax import log_softmax, softmax

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
    "lstm",
    "lstm_cell",
    "matmul",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
    "scaled_dot_product_attention",
    "self_attention",
    "max_pool1d",
    "max_pool2d",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]
