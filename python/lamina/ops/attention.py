"""Scaled dot-product attention."""

import math

import numpy as np

from lamina import _kernels
from lamina.ops.conv import integer
from lamina.ops.dropout import dropout
from lamina.ops.linear import matmul
from lamina.ops.softmax import softmax
from lamina.tape import Gradients, state
from lamina.tensor import Array, Operand, Tensor, as_tensor, empty, wrap


def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(scale * query key' + mask) value``.

    Args:
        query: ``[..., H, T, D]``, with any number of leading axes and any strides.
        key: ``[..., H, S, D]``.
        value: ``[..., H, S, Dv]``.
        attn_mask: broadcastable to ``[..., H, T, S]``: booleans, true where a query sees a key, or
            numbers added to the scores. A query that sees no key gives zeros.
        dropout_p: probability with which a weight is dropped, in any mode; above zero, the matrix
            of weights is held in memory.
        is_causal: whether query t sees only keys 0 to t; together with ``attn_mask`` both hold.
        scale: factor of the scores, ``1 / sqrt(D)`` by default.
        enable_gqa: whether key and value may have fewer heads, each for as many of the query's.

    Returns:
        ``[..., H, T, Dv]``, a view of an array in the order ``[..., T, H, Dv]`` where there are
        heads.

    Raises:
        ValueError: shapes do not agree, or ``dropout_p`` is no probability.
        TypeError: ``attn_mask`` is neither boolean nor floating.
    """
    _check_dropout("scaled_dot_product_attention", dropout_p)
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    mask = None if attn_mask is None else as_tensor(attn_mask)
    if dropout_p > 0 or (mask is not None and mask.requires_grad):
        weights = attention_weights(query, key, mask, dropout_p, is_causal, scale, enable_gqa)
        return matmul(weights, _repeat_heads(value, query))
    shape = query.data.shape
    _check("scaled_dot_product_attention", query, key, value, enable_gqa)
    q, k, v = _four_axes(query.data), _four_axes(key.data), _four_axes(value.data)
    kept = None if mask is None else _mask(mask.data, shape, k.shape[2], q.dtype)
    factor = _scale(scale, shape[-1])
    y, lse = _kernels.attention_forward(q, k, v, kept, is_causal, factor)
    y = y.transpose(0, 2, 1, 3)
    shapes = query.data.shape, key.data.shape, value.data.shape

    def vjp(dy: Array) -> Gradients:
        dy = dy.reshape(y.shape)
        grads = _kernels.attention_backward(dy, q, k, v, kept, is_causal, factor, y, lse)
        return tuple(
            grad.transpose(0, 2, 1, 3).reshape(shape)
            for grad, shape in zip(grads, shapes, strict=True)
        )

    out = y if len(shape) == 4 else y.reshape(*shape[:-1], v.shape[-1])
    return Tensor.record(out, (query, key, value), vjp)


def self_attention(
    qkv: Operand,
    num_heads: int,
    num_kv_heads: int | None = None,
    attn_mask: Operand | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """:func:`scaled_dot_product_attention` of what one projection gave, without copies.

    Args:
        qkv: ``[N, L, (H + 2 Hk) * D]``: for each token the queries of all heads, then the keys,
            then the values.
        num_heads: H.
        num_kv_heads: Hk, which divides H; H by default.
        attn_mask: as there, broadcastable to ``[N, H, L, L]``.
        is_causal: whether a token sees only itself and those before it.
        scale: factor of the scores, ``1 / sqrt(D)`` by default.

    Returns:
        ``[N, L, H * D]``.

    Raises:
        ValueError: shapes do not agree.
    """
    qkv = as_tensor(qkv)
    x = qkv.data
    num_heads = integer("self_attention", "num_heads", num_heads)
    kv_heads = num_heads
    if num_kv_heads is not None:
        kv_heads = integer("self_attention", "num_kv_heads", num_kv_heads)
    if num_heads < 1 or kv_heads < 1 or num_heads % kv_heads:
        raise ValueError(
            f"self_attention: num_kv_heads: expected a divisor of {num_heads} heads, got {kv_heads}"
        )
    if x.ndim != 3 or x.shape[2] % (num_heads + 2 * kv_heads):
        raise ValueError(
            f"self_attention: qkv: expected [N, L, ({num_heads} + 2 * {kv_heads}) * D], "
            f"got shape {x.shape}"
        )
    n, length, width = x.shape
    d = width // (num_heads + 2 * kv_heads)
    mask = None
    if attn_mask is not None:
        given = as_tensor(attn_mask)
        if given.requires_grad:
            # The kernel over the packed projection has no gradient of the mask.
            heads = qkv.reshape(n, length, num_heads + 2 * kv_heads, d).transpose(1, 2)
            q, k, v = heads[:, :num_heads], heads[:, num_heads:-kv_heads], heads[:, -kv_heads:]
            y = scaled_dot_product_attention(q, k, v, given, 0.0, is_causal, scale, True)
            return y.transpose(1, 2).reshape(n, length, num_heads * d)
        mask = _mask(given.data, (n, num_heads, length, d), length, x.dtype)
    args = num_heads, kv_heads, mask, is_causal, _scale(scale, d)
    out, lse = _kernels.self_attention_forward(x, *args)
    merged = out.reshape(n, length, num_heads * d)
    if not (state.recording and qkv.requires_grad):
        return wrap(merged)

    def vjp(dy: Array) -> Gradients:
        return (_kernels.self_attention_backward(dy.reshape(out.shape), x, *args, out, lse),)

    return Tensor.record(merged, (qkv,), vjp)


def attention_weights(
    query: Operand,
    key: Operand,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights ``[..., H, T, S]`` of :func:`scaled_dot_product_attention`, to look at.

    Arguments are as there. Gradients flow also to ``attn_mask`` where it is an added tensor.
    """
    _check_dropout("attention_weights", dropout_p)
    query, key = as_tensor(query), as_tensor(key)
    _check("attention_weights", query, key, key, enable_gqa)
    shape = query.data.shape
    length = key.data.shape[-2]
    scores = matmul(query * _scale(scale, shape[-1]), _repeat_heads(key, query).transpose(-1, -2))
    hidden = np.zeros(scores.shape[-2:], bool)
    if attn_mask is not None:
        mask = as_tensor(attn_mask)
        _mask(mask.data, shape, length, query.data.dtype)
        if mask.data.dtype.kind == "b":
            hidden = hidden | ~mask.data
        else:
            hidden = hidden | np.isneginf(mask.data)
            # Infinities would spoil a query that sees nothing.
            scores = scores + mask.clamp(min=float(np.finfo(mask.dtype).min) / 2).to(scores.dtype)
    if is_causal:
        hidden = hidden | (np.arange(length) > np.arange(shape[-2])[:, np.newaxis])
    if hidden.any():
        blind = hidden.all(-1, keepdims=True)
        bias = empty(hidden.shape, scores.dtype)
        bias.fill(0)
        np.copyto(bias, -np.inf, where=hidden & ~blind)
        weights = softmax(scores + bias) * (~blind).astype(scores.dtype)
    else:
        weights = softmax(scores)
    return dropout(weights, dropout_p)


def _check_dropout(op: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{op}: dropout_p: expected 0 to 1, got {p}")


def _check(op: str, query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    q, k, v = query.data, key.data, value.data
    if q.ndim < 2 or not q.ndim == k.ndim == v.ndim or q.shape[:-3] != k.shape[:-3]:
        raise ValueError(
            f"{op}: expected query, key and value [..., length, features] with the same leading "
            f"axes, got shapes {q.shape}, {k.shape} and {v.shape}"
        )
    if not enable_gqa and q.shape[:-2] != k.shape[:-2]:
        raise ValueError(
            f"{op}: key: expected as many heads as the query of shape {q.shape}, got {k.shape}; "
            "enable_gqa=True lets heads share keys"
        )


def _four_axes(x: Array) -> Array:
    """``x`` ``[..., H, T, D]`` as ``[B, H, T, D]``."""
    if x.ndim == 4:
        return x
    if x.ndim < 4:
        return x.reshape((1,) * (4 - x.ndim) + x.shape)
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])


def _scale(scale: float | None, d: int) -> float:
    return float(max(d, 1) ** -0.5 if scale is None else scale)


def _mask(mask: Array, shape: tuple[int, ...], keys: int, dtype: np.dtype[np.generic]) -> Array:
    """``mask`` as ``[B or 1, H or 1, T, S]`` for queries of the given shape."""
    scores = (*shape[:-1], keys)
    if mask.dtype.kind not in "bf":
        raise TypeError(
            f"scaled_dot_product_attention: attn_mask: expected booleans or floats, "
            f"got {mask.dtype}"
        )
    try:
        fits = np.broadcast_shapes(mask.shape, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"scaled_dot_product_attention: attn_mask: expected a shape that broadcasts to "
            f"{scores}, got {mask.shape}"
        )
    if mask.dtype.kind == "f" and mask.dtype != dtype:
        mask = mask.astype(dtype)
    if mask.ndim > 4:
        mask = _four_axes(np.broadcast_to(mask, (*shape[:-3], *mask.shape[-3:])))
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    if mask.shape[2:] != scores[-2:]:
        mask = np.broadcast_to(mask, (*mask.shape[:2], *scores[-2:]))
    return mask


def _repeat_heads(x: Tensor, query: Tensor) -> Tensor:
    """``x`` ``[..., Hk, S, D]`` with each head repeated for the query's heads that share it."""
    if x.ndim < 3 or x.shape[-3] == query.shape[-3]:
        return x
    *lead, heads, length, d = x.shape
    if query.shape[-3] % max(heads, 1):
        raise ValueError(
            f"attention: key: expected a number of heads that divides {query.shape[-3]}, "
            f"got {heads}"
        )
    wide = x.unsqueeze(-3).expand(*lead, heads, query.shape[-3] // heads, length, d)
    return wide.reshape(*lead, query.shape[-3], length, d)
