"""Pooling: the largest number or the mean of each window.

A function for signals ``[N, C, L]`` is that for images with a height of one. Both also take one
sample without the first axis.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, overload

import numpy as np

from lamina import _kernels
from lamina.ops.conv import Sizes, count, integers, on_image, sizes
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, as_tensor, wrap

_Pair = tuple[int, int]
OutputSize = int | Sequence[int | None] | None


@overload
def max_pool1d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = ...,
    padding: Sizes = ...,
    dilation: Sizes = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Tensor: ...
@overload
def max_pool1d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = ...,
    padding: Sizes = ...,
    dilation: Sizes = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: bool,
) -> Tensor | tuple[Tensor, Tensor]: ...
def max_pool1d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest number of each window of a signal; :func:`max_pool2d` on one axis."""
    op = "max_pool1d"
    x = _input(op, 1, input)
    windows = pool_options(op, 1, kernel_size, stride, padding, dilation, ceil_mode)
    return _moving_max(x, 1, windows, return_indices)


@overload
def max_pool2d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = ...,
    padding: Sizes = ...,
    dilation: Sizes = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Tensor: ...
@overload
def max_pool2d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = ...,
    padding: Sizes = ...,
    dilation: Sizes = ...,
    ceil_mode: bool = ...,
    *,
    return_indices: bool,
) -> Tensor | tuple[Tensor, Tensor]: ...
def max_pool2d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest number of each window; a NaN is larger than any number.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``.
        kernel_size: lengths of the window, one number or one for each axis; so are the next three.
        stride: step of the window; ``kernel_size`` where it is ``None``.
        padding: ``-inf`` at either end, at most half of ``kernel_size``.
        dilation: step between the numbers of a window.
        ceil_mode: whether a last window may reach over the end.
        return_indices: whether the indices in the plane ``H x W``, int64, come too.

    Returns:
        ``[N, C, OH, OW]`` with ``OH = (H + 2 padding - dilation (K - 1) - 1) // stride + 1``.
    """
    op = "max_pool2d"
    x = _input(op, 2, input)
    windows = pool_options(op, 2, kernel_size, stride, padding, dilation, ceil_mode)
    return _moving_max(x, 2, windows, return_indices)


@overload
def adaptive_max_pool2d(
    input: Operand, output_size: OutputSize, return_indices: Literal[False] = ...
) -> Tensor: ...
@overload
def adaptive_max_pool2d(
    input: Operand, output_size: OutputSize, return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]: ...
def adaptive_max_pool2d(
    input: Operand, output_size: OutputSize, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest number of each of ``output_size`` windows that cover the image.

    Window ``i`` of ``OH`` spans ``floor(i H / OH)`` to ``ceil((i + 1) H / OH)``.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``.
        output_size: OH and OW; ``None`` for that of the input.
        return_indices: whether the indices in the plane, int64, come too.
    """
    op = "adaptive_max_pool2d"
    x = _input(op, 2, input)
    planes = _planes(x.data, 2)
    plane = planes.shape[1], planes.shape[2]
    out = _output_size(op, 2, output_size, x.shape)
    if (step := _even_step(plane, out)) is not None:
        return _moving_max(x, 2, pool_options(op, 2, step, step), return_indices)
    y, indices = _kernels.adaptive_max_pool2d_forward(planes, out)
    return _max(
        x,
        2,
        y,
        lambda dy: _kernels.max_pool2d_index_backward(dy, indices, plane),
        indices if return_indices else None,
    )


def avg_pool1d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of a signal; :func:`avg_pool2d` on one axis."""
    windows = pool_options("avg_pool1d", 1, kernel_size, stride, padding, 1, ceil_mode)
    return _avg(_input("avg_pool1d", 1, input), 1, windows, count_include_pad, None)


def avg_pool2d(
    input: Operand,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``.
        kernel_size: lengths of the window, one number or one for each axis; so are the next two.
        stride: step of the window; ``kernel_size`` where it is ``None``.
        padding: zeros at either end, at most half of ``kernel_size``.
        ceil_mode: whether a last window may reach over the end.
        count_include_pad: whether the mean counts the zeros.
        divisor_override: what to divide the sum by instead.

    Returns:
        ``[N, C, OH, OW]`` with ``OH = (H + 2 padding - K) // stride + 1``.
    """
    windows = pool_options("avg_pool2d", 2, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        divisor_override = count("avg_pool2d", "divisor_override", divisor_override)
    x = _input("avg_pool2d", 2, input)
    return _avg(x, 2, windows, count_include_pad, divisor_override)


def adaptive_avg_pool1d(input: Operand, output_size: OutputSize) -> Tensor:
    """Mean of each of ``output_size`` windows that cover the signal."""
    return _adaptive_avg("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Operand, output_size: OutputSize) -> Tensor:
    """Mean of each of ``output_size`` windows that cover the image.

    Window ``i`` of ``OH`` spans ``floor(i H / OH)`` to ``ceil((i + 1) H / OH)``.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``.
        output_size: OH and OW; ``None`` for that of the input.
    """
    return _adaptive_avg("adaptive_avg_pool2d", 2, input, output_size)


def _adaptive_avg(op: str, axes: int, input: Operand, output_size: OutputSize) -> Tensor:
    x = _input(op, axes, input)
    out = _output_size(op, axes, output_size, x.shape)
    planes = _planes(x.data, axes)
    plane = planes.shape[1], planes.shape[2]
    if out != (1, 1) and (step := _even_step(plane, out)) is not None:
        return _avg(x, axes, pool_options(op, 2, step, step), False, None)
    y = _kernels.adaptive_avg_pool2d_forward(planes, out)

    def vjp(dy: Array) -> Gradients:
        dx = _kernels.adaptive_avg_pool2d_backward(dy.reshape(y.shape), plane)
        return (dx.reshape(shape),)

    shape = x.shape
    return Tensor.record(_output(y, axes, shape), (x,), vjp)


def _avg(
    x: Tensor,
    axes: int,
    windows: _kernels.PoolOptions,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    planes = _planes(x.data, axes)
    plane = planes.shape[1], planes.shape[2]
    options = windows, count_include_pad, divisor_override
    y = _kernels.avg_pool2d_forward(planes, *options)
    shape = x.shape

    def vjp(dy: Array) -> Gradients:
        dx = _kernels.avg_pool2d_backward(dy.reshape(y.shape), plane, *options)
        return (dx.reshape(shape),)

    return Tensor.record(_output(y, axes, shape), (x,), vjp)


def _moving_max(
    x: Tensor, axes: int, windows: _kernels.PoolOptions, return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]:
    if not (return_indices or (state.recording and x.requires_grad)):
        if axes == 2:
            return wrap(_kernels.max_pool2d_values(x.data, windows))
        return wrap(_kernels.max_pool2d_values(x.data[..., None, :], windows)[..., 0, :])
    planes = _planes(x.data, axes)
    plane = planes.shape[1], planes.shape[2]
    y, places = _kernels.max_pool2d_forward(planes, windows, return_indices)

    def gradient(dy: Array) -> Array:
        if places.dtype == np.uint8:
            return _kernels.max_pool2d_backward(dy, places, plane, windows)
        return _kernels.max_pool2d_index_backward(dy, places, plane)

    return _max(x, axes, y, gradient, places if return_indices else None)


def _max(
    x: Tensor, axes: int, y: Array, gradient: Callable[[Array], Array], indices: Array | None
) -> Tensor | tuple[Tensor, Tensor]:
    shape = x.data.shape
    if indices is None and not (state.recording and x.requires_grad):
        return wrap(_output(y, axes, shape))

    def vjp(dy: Array) -> Gradients:
        return (gradient(dy.reshape(y.shape)).reshape(shape),)

    out = Tensor.record(_output(y, axes, shape), (x,), vjp)
    if indices is None:
        return out
    return out, Tensor(_output(indices, axes, shape).astype(np.int64))


def _input(op: str, axes: int, input: Operand) -> Tensor:
    x = as_tensor(input)
    if not axes < x.data.ndim < axes + 3:
        expected = f"{axes + 1} or {axes + 2}"
        raise ValueError(f"{op}: input: expected {expected} axes, got shape {x.shape}")
    return x


def pool_options(
    op: str,
    axes: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> _kernels.PoolOptions:
    """Windows of an image as the kernels take them."""
    kernel = sizes(op, "kernel_size", kernel_size, axes, 1)
    step = kernel if stride is None else sizes(op, "stride", stride, axes, 1)
    pad = sizes(op, "padding", padding, axes, 0)
    gaps = sizes(op, "dilation", dilation, axes, 1)
    return _kernels.PoolOptions(
        on_image(kernel, 1), on_image(step, 1), on_image(pad, 0), on_image(gaps, 1), ceil_mode
    )


def _output_size(op: str, axes: int, size: OutputSize, shape: tuple[int, ...]) -> _Pair:
    wanted: Sequence[int | None]
    if isinstance(size, Sequence):
        wanted = size
    else:
        wanted = (None,) * axes if size is None else integers(op, "output_size", size)
    if len(wanted) == 1:
        wanted = tuple(wanted) * axes
    if len(wanted) != axes:
        raise ValueError(f"{op}: output_size: expected {axes} numbers, got {size}")
    given = tuple(n if m is None else m for m, n in zip(wanted, shape[-axes:], strict=True))
    return on_image(sizes(op, "output_size", given, axes, 0), 1)


def _even_step(plane: _Pair, out: _Pair) -> _Pair | None:
    """The windows that cover ``plane`` without overlap, if there are such."""
    if 0 in plane or 0 in out or plane[0] % out[0] or plane[1] % out[1]:
        return None
    return plane[0] // out[0], plane[1] // out[1]


def _planes(x: Array, axes: int) -> Array:
    shape = x.shape[-2:] if axes == 2 else (1, x.shape[-1])
    return x.reshape(math.prod(x.shape[:-axes]), *shape)


def _output(y: Array, axes: int, shape: tuple[int, ...]) -> Array:
    return y.reshape(*shape[:-axes], *y.shape[3 - axes :])
