"""Convolution and transposed convolution.

A function for signals ``[N, C, L]`` is that for images with a height of one. Both also take one
sample without the first axis.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

from lamina import _kernels
from lamina.ops.activation import apply
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, as_tensor, wrap

Sizes = SupportsIndex | Sequence[SupportsIndex]
_Pair = tuple[int, int]
_Padding = tuple[_Pair, _Pair]

# Their slope does not follow from the output, so that they are recorded on their own.
_NEEDS_INPUT = frozenset({"gelu", "gelu_tanh", "silu"})


def conv1d(
    input: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    activation: str = "identity",
) -> Tensor:
    """Cross-correlation of signals with ``weight``; :func:`conv2d` on one axis.

    Args:
        input: ``[N, C, L]`` or ``[C, L]``.
        weight: ``[O, C / groups, K]``.
        bias: ``[O]``.
        stride: step of the kernel.
        padding: zeros at either end; ``"valid"`` for none, ``"same"`` for an output as long as the
            input.
        dilation: step between the taps of the kernel.
        groups: parts into which the channels are cut.
        activation: of the output: the name of one as in :func:`linear`.

    Returns:
        ``[N, O, OL]`` with ``OL = (L + 2 padding - dilation (K - 1) - 1) // stride + 1``.
    """
    options = stride, padding, dilation, groups
    return _conv("conv1d", 1, (input, weight, bias), options, activation)


def conv2d(
    input: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    activation: str = "identity",
) -> Tensor:
    """Cross-correlation of images with ``weight``.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``.
        weight: ``[O, C / groups, KH, KW]``.
        bias: ``[O]``.
        stride: step of the kernel, one number or one for each axis; so are the next two.
        padding: zeros at either end; ``"valid"`` for none, ``"same"`` for an output as large as the
            input.
        dilation: step between the taps of the kernel.
        groups: parts into which the channels are cut.
        activation: of the output: the name of one as in :func:`linear`.

    Returns:
        ``[N, O, OH, OW]`` with ``OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1``.

    Raises:
        ValueError: sizes do not agree, or the kernel is larger than the padded input.
    """
    options = stride, padding, dilation, groups
    return _conv("conv2d", 2, (input, weight, bias), options, activation)


def conv_transpose1d(
    input: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Transpose of :func:`conv1d`; :func:`conv_transpose2d` on one axis.

    Args:
        input: ``[N, C, L]`` or ``[C, L]``.
        weight: ``[C, O / groups, K]``.
        bias: ``[O]``.
        stride: step of the kernel over the output.
        padding: what is cut off at either end.
        output_padding: what is added at the end; less than the stride or the dilation.
        groups: parts into which the channels are cut.
        dilation: step between the taps of the kernel.

    Returns:
        ``[N, O, (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1]``.
    """
    return _conv_transpose(
        "conv_transpose1d",
        1,
        (input, weight, bias),
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose2d(
    input: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Transpose of :func:`conv2d`: its gradient with respect to the input, as a function.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``.
        weight: ``[C, O / groups, KH, KW]``.
        bias: ``[O]``.
        stride: step of the kernel over the output.
        padding: what is cut off at either end.
        output_padding: what is added at the end; less than the stride or the dilation.
        groups: parts into which the channels are cut.
        dilation: step between the taps of the kernel.

    Returns:
        ``[N, O, OH, OW]``, ``OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding
        + 1``.
    """
    return _conv_transpose(
        "conv_transpose2d",
        2,
        (input, weight, bias),
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def _conv(
    op: str,
    axes: int,
    operands: tuple[Operand, Operand, Operand | None],
    options: tuple[Sizes, Sizes | str, Sizes, int],
    activation: str,
) -> Tensor:
    x, w, b = _tensors(op, axes, *operands)
    xs, ws = x.data, w.data
    if axes == 1 or xs.ndim == 3:
        xs, ws = _image(xs, axes), _image(ws, axes, weight=True)
    known = conv_options(op, axes, ws.shape[2:], *options)
    needs = False, False, False
    if state.recording:
        needs = x.requires_grad, w.requires_grad, b is not None and b.requires_grad
    if True in needs and activation in _NEEDS_INPUT:
        return apply(activation, _conv(op, axes, (x, w, b), options, "identity"))
    y = _kernels.conv2d_forward(xs, ws, None if b is None else b.data, known, activation)
    if True not in needs:
        return wrap(_output(y, axes, x.data.ndim))
    before = x.data.shape, w.data.shape

    def vjp(dy: Array) -> Gradients:
        dy = dy.reshape(y.shape)
        if activation != "identity":
            dy = _kernels.activation_backward(activation, dy, y)
        return _shaped(_kernels.conv2d_backward(dy, xs, ws, known, needs), before)

    return Tensor.record(_output(y, axes, x.ndim), (x, w, b), vjp)


def conv_options(
    op: str,
    axes: int,
    kernel: tuple[int, ...],
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> _kernels.ConvOptions:
    """How ``kernel`` moves over an image, as the kernels take it."""
    steps = sizes(op, "stride", stride, axes, 1)
    gaps = sizes(op, "dilation", dilation, axes, 1)
    return _kernels.ConvOptions(
        on_image(steps, 1),
        _padding(op, padding, kernel, steps, gaps),
        on_image(gaps, 1),
        count(op, "groups", groups),
    )


def _conv_transpose(
    op: str,
    axes: int,
    operands: tuple[Operand, Operand, Operand | None],
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    x, w, b = _tensors(op, axes, *operands)
    xs, ws = _image(x.data, axes), _image(w.data, axes, weight=True)
    pad = on_image(sizes(op, "padding", padding, axes, 0), 0)
    options = _kernels.ConvOptions(
        on_image(sizes(op, "stride", stride, axes, 1), 1),
        ((pad[0], pad[0]), (pad[1], pad[1])),
        on_image(sizes(op, "dilation", dilation, axes, 1), 1),
        count(op, "groups", groups),
    )
    more = on_image(sizes(op, "output_padding", output_padding, axes, 0), 0)
    y = _kernels.conv_transpose2d_forward(xs, ws, None if b is None else b.data, options, more)
    needs = x.requires_grad, w.requires_grad, b is not None and b.requires_grad
    before = x.data.shape, w.data.shape

    def vjp(dy: Array) -> Gradients:
        dy = dy.reshape(y.shape)
        grads = _kernels.conv_transpose2d_backward(dy, xs, ws, options, more, needs)
        return _shaped(grads, before)

    return Tensor.record(_output(y, axes, x.ndim), (x, w, b), vjp)


def sizes(op: str, arg: str, value: Sizes, axes: int, least: int) -> tuple[int, ...]:
    """``value`` as one number for each axis, checked against the least allowed."""
    # A pair is mostly a layer's own, which was checked when it was made.
    if type(value) is tuple and len(value) == 2 == axes:
        a, b = value
        if type(a) is int and type(b) is int and least <= a < 2**63 and least <= b < 2**63:
            return a, b
    values = integers(op, arg, value)
    if len(values) == 1:
        values *= axes
    if len(values) != axes or any(not least <= v < 2**63 for v in values):
        expected = f"{axes} numbers" if axes > 1 else "a number"
        raise ValueError(f"{op}: {arg}: expected {expected} of at least {least}, got {value}")
    return values


def integers(op: str, arg: str, value: Sizes) -> tuple[int, ...]:
    """One integer or several, of Python or NumPy, as a tuple."""
    if isinstance(value, int):
        return (value,)
    try:
        return tuple(map(operator.index, value))  # type: ignore[arg-type]
    except TypeError:
        pass
    try:
        return (operator.index(value),)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{op}: {arg}: expected integers, got {value!r}") from None


def integer(op: str, arg: str, value: SupportsIndex) -> int:
    """``value``, an integer of Python or NumPy, as Python's."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {arg}: expected an integer, got {value!r}") from None


def count(op: str, arg: str, value: SupportsIndex) -> int:
    """``value`` as an integer of at least one."""
    number = integer(op, arg, value)
    if not 1 <= number < 2**63:
        raise ValueError(f"{op}: {arg}: expected at least 1, got {value}")
    return number


def _padding(
    op: str,
    padding: Sizes | str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> _Padding:
    axes = len(stride)
    pads: list[_Pair]
    if not isinstance(padding, str):
        pads = [(pad, pad) for pad in sizes(op, "padding", padding, axes, 0)]
    elif padding == "valid":
        pads = [(0, 0)] * axes
    elif padding == "same":
        if any(step != 1 for step in stride):
            raise ValueError(f"{op}: padding: expected numbers where stride is not 1, got 'same'")
        totals = [d * (k - 1) for d, k in zip(dilation, kernel[-axes:], strict=True)]
        # What cannot be halved goes to the end, as in PyTorch.
        pads = [(total // 2, total - total // 2) for total in totals]
    else:
        raise ValueError(f"{op}: padding: expected numbers, 'same' or 'valid', got {padding!r}")
    return pads[0] if axes == 2 else (0, 0), pads[-1]


def _tensors(
    op: str, axes: int, input: Operand, weight: Operand, bias: Operand | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    x, w = as_tensor(input), as_tensor(weight)
    if not axes < x.data.ndim < axes + 3:
        expected = f"{axes + 1} or {axes + 2}"
        raise ValueError(f"{op}: input: expected {expected} axes, got shape {x.shape}")
    if w.data.ndim != axes + 2:
        raise ValueError(f"{op}: weight: expected {axes + 2} axes, got shape {w.shape}")
    return x, w, None if bias is None else as_tensor(bias)


def _image(x: Array, axes: int, *, weight: bool = False) -> Array:
    """``x`` with the axes of a batch of images."""
    if not weight and x.ndim == axes + 1:
        x = x[None]
    return x[:, :, None] if axes == 1 else x


def on_image(values: tuple[int, ...], height: int) -> _Pair:
    """``values`` of an image; a signal is one of this height."""
    return values if len(values) == 2 else (height, values[-1])


def _output(y: Array, axes: int, ndim: int) -> Array:
    if y.ndim == ndim:
        return y
    shape = y.shape[:2] + y.shape[4 - axes :]
    return y.reshape(shape if ndim == axes + 2 else shape[1:])


def _shaped(
    grads: tuple[Array | None, ...], shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> Gradients:
    dx, dweight, dbias = grads
    return (
        None if dx is None else dx.reshape(shapes[0]),
        None if dweight is None else dweight.reshape(shapes[1]),
        dbias,
    )
