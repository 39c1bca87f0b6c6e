"""Signals and images in another resolution."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.ops.conv import Sizes, sizes
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor

Scales = float | Sequence[float]
# Axes of which a mode makes a new resolution; nearest takes any number.
_AXES = {"nearest": None, "linear": 1, "bilinear": 2}
_Taps = list[tuple[Array, Array | None]]


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
    for axis, (n, m, step) in enumerate(zip(before, lengths, steps, strict=True), 2):
        if mode == "nearest":
            # Rounded in single precision, as in PyTorch, which decides where a product is whole.
            places = np.arange(m, dtype=np.float32) * np.float32(step)
            taps: _Taps = [(np.minimum(places.astype(np.intp), n - 1), None)]
        else:
            taps = _neighbours(n, m, step, bool(align_corners), x.dtype)
        x = _resample(x, axis, taps)
    return x


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


def _neighbours(n: int, m: int, step: float, aligned: bool, dtype: np.dtype[np.generic]) -> _Taps:
    if aligned:
        places = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        places = np.maximum((np.arange(m) + 0.5) * step - 0.5, 0.0)
    low = np.minimum(places.astype(np.intp), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = np.minimum(places - low, 1.0)
    return [(low, (1.0 - share).astype(dtype)), (high, share.astype(dtype))]


def _resample(x: Tensor, axis: int, taps: _Taps) -> Tensor:
    """The sum over ``taps`` of the numbers at its places along ``axis``, times its weights."""
    shape = x.shape
    tail = [1] * (x.ndim - axis - 1)
    weights = [None if weight is None else weight.reshape(-1, *tail) for _, weight in taps]

    taken = [x.data.take(places, axis) for places, _ in taps]
    y, *rest = [t if w is None else t * w for t, w in zip(taken, weights, strict=True)]
    for part in rest:
        y += part

    def vjp(dy: Array) -> Gradients:
        dx = np.zeros(shape, dy.dtype)
        for (places, _), weight in zip(taps, weights, strict=True):
            part = dy if weight is None else dy * weight
            # Places never fall, so that each stretch of equal ones is one sum.
            starts = np.flatnonzero(np.diff(places, prepend=-1))
            where: tuple[Any, ...] = (*[slice(None)] * axis, places[starts])
            dx[where] += np.add.reduceat(part, starts, axis=axis)
        return (dx,)

    return Tensor.record(y, (x,), vjp)
