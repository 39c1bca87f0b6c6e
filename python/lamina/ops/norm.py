"""Normalisations: layer norm, RMS norm, batch norm, group norm, instance norm."""

import math

import numpy as np

from lamina import _kernels
from lamina.arrays import FLOATS
from lamina.ops.conv import Sizes, count, integers
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, as_tensor, wrap


def layer_norm(
    input: Operand,
    normalized_shape: Sizes,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes. Ba et al., 2016.

    Args:
        input: ``[..., *normalized_shape]``.
        normalized_shape: lengths of the axes that share a mean.
        weight: factors of that shape.
        bias: terms of that shape.
        eps: added to the variance, which is divided by the count.
    """
    return _over_rows("layer_norm", input, normalized_shape, weight, bias, True, eps)


def rms_norm(
    input: Operand,
    normalized_shape: Sizes,
    weight: Operand | None = None,
    eps: float | None = None,
) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axes. Zhang & Sennrich, 2019.

    Args:
        input: ``[..., *normalized_shape]``.
        normalized_shape: lengths of the axes that share a mean.
        weight: factors of that shape.
        eps: added to the mean square; the spacing of the type at one where it is ``None``.
    """
    x = as_tensor(input)
    if x.dtype not in FLOATS:
        raise TypeError(f"rms_norm: input: expected float32 or float64, got {x.dtype}")
    if eps is None:
        eps = float(np.finfo(x.dtype).eps)
    return _over_rows("rms_norm", x, normalized_shape, weight, None, False, eps)


def _over_rows(
    op: str,
    input: Operand,
    normalized_shape: Sizes,
    weight: Operand | None,
    bias: Operand | None,
    centred: bool,
    eps: float,
) -> Tensor:
    x, w, b = as_tensor(input), _optional(weight), _optional(bias)
    data, w_data = x.data, None if w is None else w.data
    shape = integers(op, "normalized_shape", normalized_shape)
    axes = len(shape)
    if not axes or data.shape[-axes:] != shape:
        raise ValueError(f"{op}: input: expected last axes {shape}, got shape {data.shape}")
    b_data = None if b is None else b.data
    y, moments = _kernels.layer_norm_forward(data, axes, w_data, b_data, centred, eps)
    needs = _needs(w, b)
    if not (state.recording and (needs or x.requires_grad)):
        return wrap(y)

    def vjp(dy: Array) -> Gradients:
        return _kernels.layer_norm_backward(dy, data, moments, axes, w_data, centred, eps, needs)

    return Tensor.record(y, (x, w, b), vjp)


def batch_norm(
    input: Operand,
    running_mean: Array | Tensor | None,
    running_var: Array | Tensor | None,
    weight: Operand | None = None,
    bias: Operand | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` of each channel. Ioffe & Szegedy, 2015.

    Args:
        input: ``[N, C, ...]``.
        running_mean: ``[C]``, updated in place in training and used otherwise; an array or a
            tensor.
        running_var: ``[C]``, the same; the update is the variance divided by the count less one.
            Either both are given or neither.
        weight: ``[C]``.
        bias: ``[C]``.
        training: whether mean and variance are the batch's; so they are without running ones.
        momentum: share of the batch in the update.
        eps: added to the variance.
    """
    x = as_tensor(input)
    data = _channels("batch_norm", x.data)
    mean = _running("running_mean", running_mean, data.shape[1])
    var = _running("running_var", running_var, data.shape[1])
    if (mean is None) != (var is None):
        missing = "running_mean" if mean is None else "running_var"
        raise ValueError(f"batch_norm: {missing}: expected both running statistics or neither")
    if not training and mean is not None and var is not None:
        given = mean, var
        return _over_channels(x, data, None, given, _optional(weight), _optional(bias), eps)[0]
    count = data.shape[0] * data.shape[2]
    if count == 1:
        raise ValueError(
            f"batch_norm: input: expected more than 1 value for each channel, got shape {x.shape}"
        )
    y, moments = _over_channels(x, data, None, None, _optional(weight), _optional(bias), eps)
    if training and count and mean is not None and var is not None:
        mean += momentum * (moments[:, 0] - mean)
        var += momentum * (moments[:, 1] * (count / (count - 1)) - var)
    return y


def _running(name: str, value: Array | Tensor | None, channels: int) -> Array | None:
    """The array of a running statistic, which training writes to."""
    if value is None:
        return None
    array = value.data if isinstance(value, Tensor) else value
    if not isinstance(array, np.ndarray) or array.dtype not in FLOATS:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"batch_norm: {name}: expected a floating array or tensor, got {kind}")
    if array.shape != (channels,):
        raise ValueError(
            f"batch_norm: {name}: expected shape [{channels}], got {list(array.shape)}"
        )
    return array


def group_norm(
    input: Operand,
    num_groups: int,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over groups of channels. Wu & He, 2018.

    Args:
        input: ``[N, C, ...]``.
        num_groups: groups of equal size that the channels of a sample fall into.
        weight: ``[C]``.
        bias: ``[C]``.
        eps: added to the variance.
    """
    x = as_tensor(input)
    data = _channels("group_norm", x.data)
    groups = count("group_norm", "num_groups", num_groups)
    return _over_channels(x, data, groups, None, _optional(weight), _optional(bias), eps)[0]


def instance_norm(
    input: Operand,
    *,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """:func:`group_norm` with a group for each channel of ``[N, C, ...]``. Ulyanov et al., 2016."""
    x = as_tensor(input)
    data = _channels("instance_norm", x.data)
    groups = max(data.shape[1], 1)
    return _over_channels(x, data, groups, None, _optional(weight), _optional(bias), eps)[0]


def _over_channels(
    x: Tensor,
    data: Array,
    groups: int | None,
    given: tuple[Array, Array] | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Array]:
    mean, var = given or (None, None)
    w_data = None if weight is None else weight.data
    b_data = None if bias is None else bias.data
    y, moments = _kernels.channel_norm_forward(data, groups, mean, var, w_data, b_data, eps)
    shape = x.shape
    needs = _needs(weight, bias)
    fixed = given is not None

    def vjp(dy: Array) -> Gradients:
        dx, dweight, dbias = _kernels.channel_norm_backward(
            dy.reshape(data.shape), data, groups, moments, fixed, w_data, eps, needs
        )
        return dx.reshape(shape), dweight, dbias

    return Tensor.record(y.reshape(shape), (x, weight, bias), vjp), moments


def _channels(op: str, data: Array) -> Array:
    """``[N, C, ...]`` as ``[N, C, L]``."""
    if data.ndim < 2:
        raise ValueError(f"{op}: input: expected at least 2 axes, got shape {data.shape}")
    n, c, *rest = data.shape
    return data.reshape(n, c, math.prod(rest))


def _optional(x: Operand | None) -> Tensor | None:
    return None if x is None else as_tensor(x)


def _needs(weight: Tensor | None, bias: Tensor | None) -> bool:
    return (weight is not None and weight.requires_grad) or (
        bias is not None and bias.requires_grad
    )
