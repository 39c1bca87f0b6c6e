"""Normalisation layers."""

from typing import ClassVar

import numpy as np

from lamina import ops
from lamina.nn.module import Module, Parameter
from lamina.ops.conv import Sizes, count, integer, integers
from lamina.tensor import Tensor


def _shape(layer: str, normalized_shape: Sizes) -> tuple[int, ...]:
    shape = integers(layer, "normalized_shape", normalized_shape)
    if not shape or min(shape) < 1:
        raise ValueError(
            f"{layer}: normalized_shape: expected positive lengths, got {normalized_shape}"
        )
    return shape


def _ones(shape: tuple[int, ...], wanted: bool) -> Parameter | None:
    return Parameter(np.ones(shape, np.float32)) if wanted else None


def _zeros(shape: tuple[int, ...], wanted: bool) -> Parameter | None:
    return Parameter(np.zeros(shape, np.float32)) if wanted else None


class LayerNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes.

    Parameters:
        weight: ``normalized_shape``, ones. bias: the same shape, zeros.

    Args:
        normalized_shape: lengths of the last axes, which share a mean.
        eps: added to the variance.
        elementwise_affine: whether there are parameters.
        bias: whether there is a bias among them.

    Reference:
        Ba et al., Layer normalization, 2016.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: Sizes,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", _ones(self.normalized_shape, elementwise_affine))
        self.register_parameter("bias", _zeros(self.normalized_shape, elementwise_affine and bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., *normalized_shape]`` to the same shape."""
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        affine = self.elementwise_affine
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"


class RMSNorm(Module):
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last axes.

    Parameters:
        weight: ``normalized_shape``, ones.

    Args:
        normalized_shape: lengths of the last axes, which share a mean.
        eps: added to the mean square; the spacing of the input's type at one where it is ``None``.
        elementwise_affine: whether there is a weight.

    Reference:
        Zhang & Sennrich, Root mean square layer normalization, 2019.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: Sizes,
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", _ones(self.normalized_shape, elementwise_affine))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., *normalized_shape]`` to the same shape."""
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        affine = self.elementwise_affine
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"


class _BatchNorm(Module):
    """What batch norms of all ranks share."""

    _ranks: ClassVar[tuple[int, ...]]

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features = count(type(self).__name__, "num_features", num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        self.register_parameter("weight", _ones(shape, affine))
        self.register_parameter("bias", _zeros(shape, affine))
        track = track_running_stats
        self.register_buffer("running_mean", np.zeros(shape, np.float32) if track else None)
        self.register_buffer("running_var", np.ones(shape, np.float32) if track else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track else None)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, ...]`` to the same shape; in training update the running statistics."""
        if x.ndim not in self._ranks or x.shape[1] != self.num_features:
            ranks = " or ".join(map(str, self._ranks))
            raise ValueError(
                f"{type(self).__name__}: x: expected {ranks} axes and {self.num_features} "
                f"channels, got shape {x.shape}"
            )
        mean, var = self._buffers["running_mean"], self._buffers["running_var"]
        count = self._buffers["num_batches_tracked"]
        momentum = self.momentum or 0.0
        if self.training and count is not None:
            count += 1
            if self.momentum is None:
                momentum = 1 / int(count)
        return ops.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, momentum, self.eps
        )

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` of a channel of ``[N, C]``, ``[N, C, L]``.

    In training mean and variance are the batch's; in evaluation the running ones::

        running_mean = (1 - momentum) running_mean + momentum mean
        running_var = (1 - momentum) running_var + momentum var n / (n - 1)

    Parameters:
        weight: ``[C]``, ones. bias: ``[C]``, zeros.
        Buffers running_mean ``[C]``, zeros; running_var ``[C]``, ones; num_batches_tracked, 0.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the running statistics; ``None`` weighs all batches alike.
        affine: whether there are parameters.
        track_running_stats: whether there are buffers; without them the batch's values always hold.

    Reference:
        Ioffe & Szegedy, Batch normalization, 2015.
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """:class:`BatchNorm1d` for images ``[N, C, H, W]``.

    Parameters:
        weight: ``[C]``, ones. bias: ``[C]``, zeros.
        Buffers running_mean ``[C]``, zeros; running_var ``[C]``, ones; num_batches_tracked, 0.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the running statistics; ``None`` weighs all batches alike.
        affine: whether there are parameters.
        track_running_stats: whether there are buffers; without them the batch's values always hold.

    Reference:
        Ioffe & Szegedy, Batch normalization, 2015.
    """

    _ranks = (4,)


class GroupNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over groups of channels of each sample.

    Parameters:
        weight: ``[C]``, ones. bias: ``[C]``, zeros.

    Args:
        num_groups: groups of equal size that the channels fall into.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are parameters.

    Reference:
        Wu & He, Group normalization, 2018.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__()
        num_groups = integer("GroupNorm", "num_groups", num_groups)
        num_channels = integer("GroupNorm", "num_channels", num_channels)
        if num_groups < 1 or num_channels < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups: expected a divisor of the {num_channels} channels, "
                f"got {num_groups}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.register_parameter("weight", _ones((num_channels,), affine))
        self.register_parameter("bias", _zeros((num_channels,), affine))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, ...]`` to the same shape."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"GroupNorm: x: expected {self.num_channels} channels, got shape {x.shape}"
            )
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class _InstanceNorm(Module):
    """What instance norms of all ranks share."""

    _rank: ClassVar[int]

    weight: Parameter | None
    bias: Parameter | None

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        self.num_features = num_features = count(type(self).__name__, "num_features", num_features)
        self.eps = eps
        self.affine = affine
        self.register_parameter("weight", _ones((num_features,), affine))
        self.register_parameter("bias", _zeros((num_features,), affine))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, ...]`` to the same shape."""
        if x.ndim != self._rank or x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: x: expected {self._rank} axes and {self.num_features} "
                f"channels, got shape {x.shape}"
            )
        return ops.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_features}, eps={self.eps}, affine={self.affine}"


class InstanceNorm1d(_InstanceNorm):
    """``(x - mean) / sqrt(var + eps)`` of each channel of each signal ``[N, C, L]``.

    There are no running statistics.

    Parameters:
        weight: ``[C]``, ones. bias: ``[C]``, zeros. Both only where ``affine``.

    Args:
        num_features: C.
        eps: added to the variance.
        affine: whether there are parameters.

    Reference:
        Ulyanov et al., Instance normalization: the missing ingredient for fast stylization, 2016.
    """

    _rank = 3


class InstanceNorm2d(_InstanceNorm):
    """:class:`InstanceNorm1d` for images ``[N, C, H, W]``.

    Parameters:
        weight: ``[C]``, ones. bias: ``[C]``, zeros. Both only where ``affine``.

    Args:
        num_features: C.
        eps: added to the variance.
        affine: whether there are parameters.

    Reference:
        Ulyanov et al., Instance normalization: the missing ingredient for fast stylization, 2016.
    """

    _rank = 4
