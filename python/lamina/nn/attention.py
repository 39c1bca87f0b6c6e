"""Multi-head attention."""

from typing import Any

import numpy as np

from lamina import ops
from lamina.nn import init
from lamina.nn.linear import Linear
from lamina.nn.module import Module, Parameter
from lamina.ops.conv import integer
from lamina.tensor import Operand, Tensor, as_tensor, empty


class MultiheadAttention(Module):
    """Several attentions side by side, between learned projections.

    With the features of query, key and value cut into heads::

        head_i = softmax(q_i k_i' / sqrt(D) + mask) v_i
        output = concat(head_1, ..., head_H) W_out' + b_out

    Parameters:
        in_proj_weight: ``[3E, E]``, rows of query, key, value; uniform after Glorot.
            Where ``kdim`` or ``vdim`` differ from E, q_proj_weight ``[E, E]``, k_proj_weight
            ``[E, kdim]`` and v_proj_weight ``[E, vdim]`` instead.
        in_proj_bias: ``[3E]``, zero.
        out_proj.weight: ``[E, E]``, as in :class:`Linear`. out_proj.bias: ``[E]``, zero.

    Args:
        embed_dim: E.
        num_heads: H, which divides E.
        dropout: probability with which a weight is dropped in training.
        bias: whether the projections have biases.
        kdim: features of the key, E by default.
        vdim: features of the value, E by default.
        batch_first: whether inputs are ``[N, L, E]``, else ``[L, N, E]``.
        rng: source of the initial parameters.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017.
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
        *,
        rng: init.Rng = None,
    ) -> None:
        super().__init__()
        name = "MultiheadAttention"
        embed_dim = integer(name, "embed_dim", embed_dim)
        num_heads = integer(name, "num_heads", num_heads)
        kdim = embed_dim if kdim is None else integer(name, "kdim", kdim)
        vdim = embed_dim if vdim is None else integer(name, "vdim", vdim)
        if min(embed_dim, num_heads, kdim, vdim) < 1 or embed_dim % num_heads:
            raise ValueError(
                "MultiheadAttention: expected positive sizes and heads that divide embed_dim, "
                f"got embed_dim {embed_dim}, num_heads {num_heads}, kdim {kdim}, vdim {vdim}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"MultiheadAttention: dropout: expected 0 to 1, got {dropout}")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim, self.batch_first = kdim, vdim, batch_first

        def weight(rows: int, columns: int) -> Parameter:
            parameter = Parameter(empty((rows, columns), init.FLOAT))
            init.xavier_uniform_(parameter, rng=rng)
            return parameter

        same = kdim == vdim == embed_dim
        self.register_parameter(
            "in_proj_weight", weight(3 * embed_dim, embed_dim) if same else None
        )
        self.register_parameter("q_proj_weight", None if same else weight(embed_dim, embed_dim))
        self.register_parameter("k_proj_weight", None if same else weight(embed_dim, kdim))
        self.register_parameter("v_proj_weight", None if same else weight(embed_dim, vdim))
        zeros = Parameter(np.zeros(3 * embed_dim, init.FLOAT)) if bias else None
        self.register_parameter("in_proj_bias", zeros)
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng)
        if bias:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Operand,
        key: Operand,
        value: Operand,
        key_padding_mask: Operand | None = None,
        need_weights: bool = True,
        attn_mask: Operand | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Output ``[N, L, E]`` and weights ``[N, L, S]``.

        Args:
            query: ``[N, L, E]``, or ``[L, E]`` for a single sequence.
            key: ``[N, S, kdim]``.
            value: ``[N, S, vdim]``.
            key_padding_mask: ``[N, S]``: true for keys to ignore, or numbers added to their scores.
            need_weights: whether to return the weights; it is faster without.
            attn_mask: ``[L, S]`` or ``[N * H, L, S]``: true where a query must not see a key, or
                numbers added to the scores.
            average_attn_weights: whether the weights are the mean over the heads, else
                ``[N, H, L, S]``.
            is_causal: whether query l sees only keys 0 to l, whatever ``attn_mask`` says.
        """
        # The same object three times means that one product can project all three.
        packed = self.in_proj_weight if query is key and key is value else None
        query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
        single = query.ndim == 2
        if single:
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        for name, x, width in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if x.ndim != 3 or x.shape[2] != width or x.shape[0] != query.shape[0]:
                raise ValueError(
                    f"MultiheadAttention: {name}: expected {query.shape[0]} sequences of "
                    f"{width} features, got shape {x.shape}"
                )
        n, length = query.shape[:2]
        mask = self._mask(n, length, key.shape[1], key_padding_mask, attn_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if packed is not None and not need_weights and dropout == 0.0:
            qkv = ops.linear(query, packed, self.in_proj_bias)
            y = ops.self_attention(qkv, self.num_heads, None, mask, is_causal)
        else:
            q, k, v = self._project(query, key, value)
            if need_weights:
                weights = ops.attention_weights(q, k, mask, dropout, is_causal)
                heads = ops.matmul(weights, v)
            else:
                heads = ops.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
            y = heads.transpose(1, 2).reshape(n, length, self.embed_dim)
        y = self.out_proj(y)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if single:
            return y.squeeze(0), None if weights is None else weights.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values ``[N, H, L, D]``."""
        e = self.embed_dim
        weight = self.in_proj_weight
        weights: list[Any] = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        if weight is not None:
            weights = [weight[:e], weight[e : 2 * e], weight[2 * e :]]
        projected = []
        for i, (x, weight) in enumerate(zip((query, key, value), weights, strict=True)):
            bias = None if self.in_proj_bias is None else self.in_proj_bias[i * e : (i + 1) * e]
            y = ops.linear(x, weight, bias)
            heads = y.reshape(*y.shape[:2], self.num_heads, e // self.num_heads)
            projected.append(heads.transpose(1, 2))
        return tuple(projected)

    def _mask(
        self,
        n: int,
        length: int,
        keys: int,
        key_padding_mask: Operand | None,
        attn_mask: Operand | None,
    ) -> Tensor | None:
        """Both masks as one that broadcasts to ``[N, H, L, S]``, true where a key is seen."""
        masks: list[Tensor] = []
        if key_padding_mask is not None:
            mask = as_tensor(key_padding_mask)
            if mask.shape not in ((n, keys), (keys,)):
                raise ValueError(
                    f"MultiheadAttention: key_padding_mask: expected shape {(n, keys)}, "
                    f"got {mask.shape}"
                )
            masks.append(mask.reshape(n if mask.ndim == 2 else 1, 1, 1, keys))
        if attn_mask is not None:
            mask = as_tensor(attn_mask)
            heads = n * self.num_heads, length, keys
            if mask.shape not in (heads, heads[1:]):
                raise ValueError(
                    f"MultiheadAttention: attn_mask: expected shape {heads[1:]} or {heads}, "
                    f"got {mask.shape}"
                )
            batch = (n, self.num_heads) if mask.ndim == 3 else (1, 1)
            masks.append(mask.reshape(*batch, length, keys))
        if not masks:
            return None
        for mask in masks:
            if mask.dtype.kind not in "bf":
                raise TypeError(
                    f"MultiheadAttention: mask: expected booleans or floats, got {mask.dtype}"
                )
        if all(mask.dtype.kind == "b" for mask in masks):
            return Tensor(~(masks[0].data | masks[-1].data))
        added = [
            Tensor(np.where(mask.data, -np.inf, 0.0).astype(init.FLOAT))
            if mask.dtype.kind == "b"
            else mask
            for mask in masks
        ]
        return added[0] + added[1] if len(added) == 2 else added[0]

    def extra_repr(self) -> str:
        """Sizes."""
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}"
