"""Matrix products and the fully connected layer."""

import math
from collections.abc import Callable

import numpy as np

from lamina import _kernels
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, sum_to, wrap


def matmul(input: Operand, other: Operand) -> Tensor:
    """Matrix product as in NumPy: the last two axes multiply, the others broadcast.

    Vectors count as a row on the left and as a column on the right, and lose that axis after.

    Raises:
        ValueError: the inner lengths differ or the other axes do not broadcast.
    """
    # What needs no gradient the kernel tells from the rest faster than a look at it.
    if type(input) is np.ndarray and type(other) is np.ndarray:
        product = _kernels.matmul_ready(input, other)
        if product is not None:
            return wrap(product)
    input = input if isinstance(input, Tensor) else Tensor(input)
    other = other if isinstance(other, Tensor) else Tensor(other)
    if not state.recording:
        product = _kernels.matmul_ready(input.data, other.data)
        if product is not None:
            return wrap(product)
    return _of_any_axes(input, other)


def _of_any_axes(input: Tensor, other: Tensor) -> Tensor:
    a, b = input.data, other.data
    if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and a.dtype == b.dtype:
        return _matrices(input, other)
    row = a.ndim == 1 and b.ndim == 2 and a.size == b.shape[0] and a.dtype == b.dtype
    if row and not state.recording:
        return wrap(_kernels.matmul_matrices(a[None], b)[0])
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: expected at least 1 axis each, got {a.shape} and {b.shape}")
    left = a[np.newaxis, :] if a.ndim == 1 else a
    right = b[:, np.newaxis] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            f"matmul: other: expected {left.shape[-1]} rows, got shape {b.shape} (input {a.shape})"
        )
    y = _product(left, right)
    shape = y.shape
    if b.ndim == 1:
        y = y[..., 0]
    if a.ndim == 1:
        y = y[0] if b.ndim == 1 else y[..., 0, :]
    needs = input.requires_grad, other.requires_grad

    def vjp(dy: Array) -> Gradients:
        dy = np.asarray(dy).reshape(shape)
        da = sum_to(_product_like(left, dy, _turned(right)), left.shape) if needs[0] else None
        db = sum_to(_product_like(right, _turned(left), dy), right.shape) if needs[1] else None
        return (
            None if da is None else da.reshape(a.shape),
            None if db is None else db.reshape(b.shape),
        )

    return Tensor.record(np.asarray(y), (input, other), vjp)


def _matrices(input: Tensor, other: Tensor) -> Tensor:
    """The product of two matrices, which most products are."""
    a, b = input.data, other.data
    needs = input.requires_grad, other.requires_grad

    def vjp(dy: Array) -> Gradients:
        return (
            _product_like(a, dy, b.T) if needs[0] else None,
            _product_like(b, a.T, dy) if needs[1] else None,
        )

    return Tensor.record(_kernels.matmul_matrices(a, b), (input, other), vjp)


def _turned(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def _product_like(x: Array, a: Array, b: Array) -> Array:
    """``a b``, the gradient of ``x``, its columns in order where those of ``x`` are.

    What ``x`` was turned from then has its gradient in order, without a copy.
    """
    product = _kernels.matmul_matrices if a.ndim == b.ndim == 2 else _product
    if x.strides[-1] > x.strides[-2]:
        return _turned(product(_turned(b), _turned(a)))
    return product(a, b)


def _product(a: Array, b: Array) -> Array:
    """``a b`` for arrays of at least two axes."""
    if a.dtype != b.dtype:
        kind = np.result_type(a, b)
        a, b = a.astype(kind), b.astype(kind)
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:
        # One right-hand matrix for all: the rows of the left ones form a single matrix.
        rows = a.reshape(1, math.prod(a.shape[:-1]), a.shape[-1])
        y = _kernels.matmul_batched(rows, b[np.newaxis])
        return y.reshape(*a.shape[:-1], b.shape[-1])
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not broadcast") from None
    y = _kernels.matmul_batched(_stack(a, batch), _stack(b, batch))
    return y.reshape(*batch, a.shape[-2], b.shape[-1])


def _stack(x: Array, batch: tuple[int, ...]) -> Array:
    if not batch:
        return x[np.newaxis]
    if x.ndim == 3 and x.shape[:-2] == batch:
        return x
    count = int(np.prod(batch))
    if x.ndim == 2:
        return np.broadcast_to(x, (count, *x.shape))
    return np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(count, *x.shape[-2:])


def linear(
    input: Operand, weight: Operand, bias: Operand | None = None, activation: str = "identity"
) -> Tensor:
    """``activation(input @ weight.T + bias)`` in one pass over the output.

    Args:
        input: ``[..., I]``.
        weight: ``[O, I]``.
        bias: ``[O]`` or ``None``.
        activation: ``identity``, ``relu``, ``gelu``, ``gelu_tanh``, ``silu``, ``tanh`` or
            ``sigmoid``.

    Returns:
        ``[..., O]``.
    """
    if not isinstance(input, Tensor):
        input = Tensor(input)
    if not isinstance(weight, Tensor):
        weight = Tensor(weight)
    if bias is not None and not isinstance(bias, Tensor):
        bias = Tensor(bias)
    x, w = input.data, weight.data
    shape = x.shape
    if not shape or w.ndim != 2 or shape[-1] != w.shape[1]:
        raise ValueError(
            f"linear: input: expected its last axis to match a weight [O, I] of shape {w.shape}, "
            f"got {shape}"
        )
    if len(shape) != 2:
        x = x.reshape(math.prod(shape[:-1]), shape[-1])
    needs = False, False, False
    if state.recording:
        bias_needs = bias is not None and bias.requires_grad
        needs = input.requires_grad, weight.requires_grad, bias_needs
    y, before = _kernels.linear_forward(
        x, w, None if bias is None else bias.data, activation, True in needs
    )
    out = y if len(shape) == 2 else y.reshape(*shape[:-1], w.shape[0])
    if True not in needs:
        return wrap(out)
    kept = None if activation == "identity" else (y if before is None else before)
    return Tensor.record(
        out, (input, weight, bias), _linear_vjp(x, w, activation, kept, needs, shape)
    )


def _linear_vjp(
    x: Array,
    w: Array,
    activation: str,
    kept: Array | None,
    needs: tuple[bool, bool, bool],
    shape: tuple[int, ...],
) -> Callable[[Array], Gradients]:
    """The gradients of ``input`` of the given shape, whose rows are ``x``, weight and bias."""

    def vjp(dy: Array) -> Gradients:
        dy = dy.reshape(x.shape[0], w.shape[0])
        dx, dw, db = _kernels.linear_backward(dy, x, w, activation, kept, needs)
        return None if dx is None else dx.reshape(shape), dw, db

    return vjp
