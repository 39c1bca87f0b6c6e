"""Signals and images in another resolution."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lamina import _kernels
from lamina.ops.conv import Sizes, sizes
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor

Scales = float | Sequence[float]
# Axes of which a mode makes a new resolution; nearest takes any number.
_AXES = {"nearest": None, "linear": 1, "bilinear": 2}
# Longest axis whose table is kept for the next call.
_KEPT = 4096


def interpolate(
    input: Operand,
    size: Sizes | None = None,
    scale_factor: Scales | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """``input`` with other lengths of the axes behind the channels.

    Output ``i`` takes what lies at ``i s`` (nearest, rounded down) or mixes the two neighbours of
    ``(i + 0.5) s - 0.5`` (linear), with ``s`` the ratio of the lengths or one over the factor.

    Args:
        input: ``[N, C, L]``, ``[N, C, H, W]`` or, for nearest, with one more axis.
        size: lengths of the output, one number or one for each axis.
        scale_factor: in place of ``size``, what multiplies the lengths, rounded down.
        mode: ``"nearest"``, ``"linear"`` for signals, ``"bilinear"`` for images.
        align_corners: whether the first and the last numbers keep their places, which makes
            ``i (L - 1) / (OL - 1)`` of the place; not for nearest.

    Raises:
        ValueError: not one of ``size`` and ``scale_factor``, or axes that do not fit the mode.
    """
    x = as_tensor(input)
    op = "interpolate"
    axes = x.ndim - 2
    if mode not in _AXES:
        raise ValueError(f"{op}: mode: expected 'nearest', 'linear' or 'bilinear', got {mode!r}")
    if axes not in ((1, 2, 3) if _AXES[mode] is None else (_AXES[mode],)):
        expected = "3 to 5" if _AXES[mode] is None else f"{2 + (_AXES[mode] or 0)}"
        raise ValueError(
            f"{op}: input: expected {expected} axes for mode {mode!r}, got shape {x.shape}"
        )
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"{op}: align_corners: expected None for nearest, got {align_corners}")
    if mode != "nearest" and x.dtype.kind != "f":
        raise TypeError(f"{op}: input: expected floats for mode {mode!r}, got {x.dtype}")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{op}: expected size or scale_factor, not both")
    before = x.shape[2:]
    if 0 in before:
        raise ValueError(f"{op}: input: expected no empty axis to resize, got shape {x.shape}")
    if size is not None:
        lengths = sizes(op, "size", size, axes, 1)
        steps = [n / m for n, m in zip(before, lengths, strict=True)]
    else:
        factors = _factors(axes, scale_factor)
        lengths = tuple(math.floor(n * f) for n, f in zip(before, factors, strict=True))
        if min(lengths) < 1:
            raise ValueError(
                f"{op}: scale_factor: expected an output of at least 1, got {list(lengths)}"
            )
        steps = [1 / f for f in factors]
    options = mode, bool(align_corners)
    axis_sizes = list(zip(before, lengths, steps, strict=True))
    if x.dtype != np.float32 and x.dtype != np.float64:
        for axis, axis_size in enumerate(axis_sizes, 2):
            x = _resample(x, axis, *_places(*axis_size, *options))
        return x
    taps = [_kept_taps(*a, *options) if a[1] <= _KEPT else _taps(*a, *options) for a in axis_sizes]
    y = _planes(x, x.shape, taps[-2] if axes > 1 else None, taps[-1])
    if axes < 3:
        return y
    n, c, depth, height, width = y.shape
    # Planes are the rows of one more image.
    y = _planes(y, (n, c, depth, height * width), taps[0], None)
    return y.reshape(n, c, lengths[0], height, width)


def _factors(axes: int, scale_factor: Scales | None) -> list[float]:
    given = list(scale_factor) if isinstance(scale_factor, Sequence) else [scale_factor] * axes
    if len(given) == 1:
        given *= axes
    numbers = [isinstance(f, int | float | np.number) and 0 < f < math.inf for f in given]
    if len(given) != axes or not all(numbers):
        raise ValueError(
            f"interpolate: scale_factor: expected {axes} positive numbers, got {scale_factor}"
        )
    return [float(f) for f in given if f is not None]


def _places(n: int, m: int, step: float, mode: str, aligned: bool) -> tuple[Array, Array | None]:
    """Where ``m`` outputs lie among ``n`` numbers, and the share of the number behind."""
    if mode == "nearest":
        # Rounded in single precision, as in PyTorch, which decides where a product is whole.
        places = np.arange(m, dtype=np.float32) * np.float32(step)
        return np.minimum(places.astype(np.int64), n - 1), None
    if aligned:
        places = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        places = np.maximum((np.arange(m) + 0.5) * step - 0.5, 0.0)
    low = np.minimum(places.astype(np.int64), n - 1)
    return low, np.minimum(places - low, 1.0)


def _taps(n: int, m: int, step: float, mode: str, aligned: bool) -> _kernels.InterpolationTaps:
    return _kernels.InterpolationTaps(n, *_places(n, m, step, mode, aligned))


# A model asks for the same few tables at each step.
_kept_taps = lru_cache(maxsize=64)(_taps)


def _planes(
    x: Tensor,
    shape: tuple[int, ...],
    rows: _kernels.InterpolationTaps | None,
    columns: _kernels.InterpolationTaps | None,
) -> Tensor:
    """``x``, seen in ``shape``, with other rows and columns of its last two axes."""
    given = x.shape
    y = _kernels.interpolation_forward(x.data.reshape(shape), rows, columns)

    def vjp(dy: Array) -> Gradients:
        return (_kernels.interpolation_backward(dy, rows, columns).reshape(given),)

    return Tensor.record(y, (x,), vjp)


def _resample(x: Tensor, axis: int, places: Array, share: Array | None) -> Tensor:
    """``x`` at ``places`` of ``axis``, mixed with what lies behind them."""
    shape = x.shape
    taps: list[tuple[Array, Array | None]] = [(places, None)]
    if share is not None:
        share = share.reshape(-1, *[1] * (x.ndim - axis - 1))
        low, high = (1.0 - share).astype(x.dtype), share.astype(x.dtype)
        taps = [(places, low), (np.minimum(places + 1, shape[axis] - 1), high)]

    taken = [x.data.take(places, axis) for places, _ in taps]
    y, *rest = [t if w is None else t * w for t, (_, w) in zip(taken, taps, strict=True)]
    for part in rest:
        y += part

    def vjp(dy: Array) -> Gradients:
        dx = np.zeros(shape, dy.dtype)
        for places, weight in taps:
            part = dy if weight is None else dy * weight
            # Places never fall, so that each stretch of equal ones is one sum.
            starts = np.flatnonzero(np.diff(places, prepend=-1))
            where: tuple[Any, ...] = (*[slice(None)] * axis, places[starts])
            dx[where] += np.add.reduceat(part, starts, axis=axis)
        return (dx,)

    return Tensor.record(y, (x,), vjp)
