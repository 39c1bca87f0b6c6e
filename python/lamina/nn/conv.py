"""Convolution layers."""

import math

import numpy as np

from lamina import ops
from lamina.nn import init
from lamina.nn.module import Module, Parameter, Stage
from lamina.ops.conv import Sizes, conv_options, integer, sizes
from lamina.tensor import Operand, Tensor

Rng = np.random.Generator | None


class _Conv(Module):
    """What the four layers share: sizes, options and the parameters."""

    axes: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: Sizes | str,
        output_padding: Sizes,
        dilation: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
        rng: Rng,
    ) -> None:
        super().__init__()
        name, axes = type(self).__name__, self.axes
        in_channels = integer(name, "in_channels", in_channels)
        out_channels = integer(name, "out_channels", out_channels)
        groups = integer(name, "groups", groups)
        if in_channels < 1 or out_channels < 1:
            raise ValueError(
                f"{name}: channels: expected at least 1, got {in_channels} and {out_channels}"
            )
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups: expected a divisor of {in_channels} and {out_channels} "
                f"channels, got {groups}"
            )
        modes = ("zeros",) if self.transposed else ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            expected = ", ".join(map(repr, modes))
            raise ValueError(
                f"{name}: padding_mode: expected one of {expected}, got {padding_mode!r}"
            )
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"{name}: padding: expected numbers, 'same' or 'valid', got {padding!r}"
                )
            self.padding: tuple[int, ...] | str = padding
        else:
            self.padding = sizes(name, "padding", padding, axes, 0)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes(name, "kernel_size", kernel_size, axes, 1)
        self.stride = sizes(name, "stride", stride, axes, 1)
        self.output_padding = sizes(name, "output_padding", output_padding, axes, 0)
        self.dilation = sizes(name, "dilation", dilation, axes, 1)
        self.groups = groups
        self.padding_mode = padding_mode
        if self.transposed:
            channels = in_channels, out_channels // groups
        else:
            channels = out_channels, in_channels // groups
        self.weight = Parameter(np.empty((*channels, *self.kernel_size), np.float32))
        # Uniform within 1 / sqrt(fan in) for both, as in PyTorch.
        init.kaiming_uniform_(self.weight, math.sqrt(5), rng=rng)
        self.bias: Parameter | None
        if bias:
            bound = 1 / math.sqrt(init.fan_in_and_fan_out(self.weight)[0])
            self.bias = Parameter(np.empty(out_channels, np.float32))
            init.uniform_(self.bias, -bound, bound, rng=rng)
        else:
            self.register_parameter("bias", None)

    def _padded(self, x: Operand) -> Tensor:
        """The input with what stands at its ends where those are no zeros."""
        amounts: list[int] = []
        for axis in reversed(range(self.axes)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                amounts += [total // 2, total - total // 2]
            else:
                amounts += [0 if isinstance(self.padding, str) else self.padding[axis]] * 2
        return ops.pad(x, amounts, self.padding_mode)

    def extra_repr(self) -> str:
        """Sizes, and the options that are not the default."""
        text = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        text.append(f"stride={self.stride}")
        defaults = {
            "padding": (0,) * self.axes,
            "output_padding": (0,) * self.axes,
            "dilation": (1,) * self.axes,
            "groups": 1,
        }
        for option, default in defaults.items():
            if (value := getattr(self, option)) != default:
                text.append(f"{option}={value}")
        if self.bias is None:
            text.append("bias=False")
        if self.padding_mode != "zeros":
            text.append(f"padding_mode={self.padding_mode!r}")
        return ", ".join(text)


class Conv1d(_Conv):
    """Convolution of signals ``[N, C, L]``.

    Each output is the sum over the input channels of a kernel times what it covers::

        y[n, o, p] = b[o] + sum over c, k of w[o, c, k] x[n, c, s p + d k - pad]

    with the stride s and the dilation d.

    Parameters:
        weight: ``[O, C / groups, K]``. bias: ``[O]``.
        Both uniform on ``[-1/sqrt(C K / groups), 1/sqrt(C K / groups)]``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K.
        stride: step of the kernel.
        padding: how many numbers at either end, ``"same"`` or ``"valid"``.
        dilation: step between the taps of the kernel.
        groups: parts into which the channels are cut.
        bias: whether the layer has a bias.
        padding_mode: what stands at either end: ``"zeros"``, or as in :func:`lamina.ops.pad`
            ``"reflect"``, ``"replicate"`` or ``"circular"``.
        rng: source of the initial parameters.

    Reference:
        LeCun et al., Backpropagation Applied to Handwritten Zip Code Recognition, 1989.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            rng,
        )

    _activates = True

    def forward(self, x: Operand, activation: str = "identity") -> Tensor:
        """Map ``[N, C, L]`` to ``[N, O, OL]``; ``activation`` as in :func:`ops.linear`."""
        padding: Sizes | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(x), 0
        return ops.conv1d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, activation
        )


class Conv2d(_Conv):
    """Convolution of images ``[N, C, H, W]``.

    Each output is the sum over the input channels of a kernel times what it covers; :class:`Conv1d`
    with two axes.

    Parameters:
        weight: ``[O, C / groups, KH, KW]``. bias: ``[O]``.
        Both uniform on ``[-b, b]`` with ``b = 1 / sqrt(C KH KW / groups)``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: KH and KW; one number is both, as for the next three.
        stride: step of the kernel.
        padding: how many numbers at either end, ``"same"`` or ``"valid"``.
        dilation: step between the taps of the kernel.
        groups: parts into which the channels are cut.
        bias: whether the layer has a bias.
        padding_mode: what stands at either end: ``"zeros"``, or as in :func:`lamina.ops.pad`
            ``"reflect"``, ``"replicate"`` or ``"circular"``.
        rng: source of the initial parameters.

    Reference:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998. Kernels of 3x3
        and stride 1 run as in Lavin & Gray, Fast Algorithms for Convolutional Neural Networks,
        2016.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            rng,
        )

    _activates = True

    def forward(self, x: Operand, activation: str = "identity") -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, O, OH, OW]``; ``activation`` as in :func:`ops.linear`."""
        padding: Sizes | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(x), 0
        return ops.conv2d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, activation
        )

    def _make_stage(self) -> Stage | None:
        if self.padding_mode != "zeros":
            return None
        options = self.stride, self.padding, self.dilation, self.groups
        return (
            "conv2d",
            self.weight,
            self.bias,
            conv_options("Conv2d", 2, self.weight.shape[2:], *options),
        )


class ConvTranspose1d(_Conv):
    """Transpose of :class:`Conv1d`: each input adds its multiple of the kernel to the output.

    Parameters:
        weight: ``[C, O / groups, K]``. bias: ``[O]``.
        Both uniform on ``[-1/sqrt(O K / groups), 1/sqrt(O K / groups)]``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K.
        stride: step of the kernel over the output.
        padding: what is cut off at either end.
        output_padding: what is added at the end.
        groups: parts into which the channels are cut.
        bias: whether the layer has a bias.
        dilation: step between the taps of the kernel.
        padding_mode: ``"zeros"``.
        rng: source of the initial parameters.

    Reference:
        Zeiler et al., Deconvolutional Networks, 2010.
    """

    axes = 1
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            sizes("ConvTranspose1d", "padding", padding, 1, 0),
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            rng,
        )

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, L]`` to ``[N, O, OL]``."""
        return ops.conv_transpose1d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )


class ConvTranspose2d(_Conv):
    """Transpose of :class:`Conv2d`: each input adds its multiple of the kernel to the output.

    Parameters:
        weight: ``[C, O / groups, KH, KW]``. bias: ``[O]``.
        Both uniform on ``[-b, b]`` with ``b = 1 / sqrt(O KH KW / groups)``.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: KH and KW; one number is both, as for the options.
        stride: step of the kernel over the output.
        padding: what is cut off at either end.
        output_padding: what is added at the end.
        groups: parts into which the channels are cut.
        bias: whether the layer has a bias.
        dilation: step between the taps of the kernel.
        padding_mode: ``"zeros"``.
        rng: source of the initial parameters.

    Reference:
        Zeiler et al., Deconvolutional Networks, 2010.
    """

    axes = 2
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            sizes("ConvTranspose2d", "padding", padding, 2, 0),
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            rng,
        )

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, O, OH, OW]``."""
        return ops.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )
