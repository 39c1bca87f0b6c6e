"""Pooling layers."""

from typing import Any

from lamina import ops
from lamina.nn.module import Module, Stage
from lamina.ops.conv import Sizes, count, sizes
from lamina.ops.pooling import OutputSize, pool_options
from lamina.tensor import Operand, Tensor


class _Pool(Module):
    """What the layers with a window share."""

    axes: int

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None,
        padding: Sizes,
        ceil_mode: bool,
    ) -> None:
        super().__init__()
        name, axes = type(self).__name__, self.axes
        self.kernel_size = sizes(name, "kernel_size", kernel_size, axes, 1)
        self.stride = self.kernel_size if stride is None else sizes(name, "stride", stride, axes, 1)
        self.padding = sizes(name, "padding", padding, axes, 0)
        if any(
            2 * pad > kernel for pad, kernel in zip(self.padding, self.kernel_size, strict=True)
        ):
            raise ValueError(
                f"{name}: padding: expected at most half of kernel_size {kernel_size}, "
                f"got {padding}"
            )
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """The window."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"ceil_mode={self.ceil_mode}"
        )


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = sizes(type(self).__name__, "dilation", dilation, self.axes, 1)
        self.return_indices = return_indices


class MaxPool1d(_MaxPool):
    """Largest number of each window of signals ``[N, C, L]``.

    Args:
        kernel_size: length of the window.
        stride: step of the window; ``kernel_size`` where it is ``None``.
        padding: ``-inf`` at either end, at most half of ``kernel_size``.
        dilation: step between the numbers of a window.
        return_indices: whether the indices come too.
        ceil_mode: whether a last window may reach over the end.
    """

    axes = 1

    def forward(self, x: Operand) -> Tensor | tuple[Tensor, Tensor]:
        """Map ``[N, C, L]`` to ``[N, C, OL]``."""
        return ops.max_pool1d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            return_indices=self.return_indices,
        )


class MaxPool2d(_MaxPool):
    """Largest number of each window of images ``[N, C, H, W]``.

    Args:
        kernel_size: lengths of the window; one number is both, as for the next three.
        stride: step of the window; ``kernel_size`` where it is ``None``.
        padding: ``-inf`` at either end, at most half of ``kernel_size``.
        dilation: step between the numbers of a window.
        return_indices: whether the indices come too.
        ceil_mode: whether a last window may reach over the end.
    """

    axes = 2

    def forward(self, x: Operand) -> Tensor | tuple[Tensor, Tensor]:
        """Map ``[N, C, H, W]`` to ``[N, C, OH, OW]``."""
        return ops.max_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            return_indices=self.return_indices,
        )

    def _make_stage(self) -> Stage | None:
        if self.return_indices:
            return None
        window = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        return "max_pool2d", None, None, pool_options("MaxPool2d", 2, *window)


class AvgPool1d(_Pool):
    """Mean of each window of signals ``[N, C, L]``.

    Args:
        kernel_size: length of the window.
        stride: step of the window; ``kernel_size`` where it is ``None``.
        padding: zeros at either end, at most half of ``kernel_size``.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether the mean counts the zeros.
    """

    axes = 1

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, L]`` to ``[N, C, OL]``."""
        return ops.avg_pool1d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class AvgPool2d(_Pool):
    """Mean of each window of images ``[N, C, H, W]``.

    Args:
        kernel_size: lengths of the window; one number is both, as for the next two.
        stride: step of the window; ``kernel_size`` where it is ``None``.
        padding: zeros at either end, at most half of ``kernel_size``.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether the mean counts the zeros.
        divisor_override: what to divide the sum by instead.
    """

    axes = 2

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        if divisor_override is not None:
            divisor_override = count("AvgPool2d", "divisor_override", divisor_override)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C, OH, OW]``."""
        return ops.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class _AdaptivePool(Module):
    def __init__(self, output_size: OutputSize) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The size of the output."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """Mean of each of ``output_size`` windows that cover the signal.

    Args:
        output_size: OL.
    """

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, L]`` to ``[N, C, OL]``."""
        return ops.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Mean of each of ``output_size`` windows that cover the image.

    Args:
        output_size: OH and OW; one number is both, ``None`` is that of the input.
    """

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C, OH, OW]``."""
        return ops.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool2d(_AdaptivePool):
    """Largest number of each of ``output_size`` windows that cover the image.

    Args:
        output_size: OH and OW; one number is both, ``None`` is that of the input.
        return_indices: whether the indices come too.
    """

    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Operand) -> Any:
        """Map ``[N, C, H, W]`` to ``[N, C, OH, OW]``."""
        return ops.adaptive_max_pool2d(x, self.output_size, self.return_indices)
