"""Transformer encoders."""

import copy
from collections.abc import Callable

import numpy as np

from lamina import ops
from lamina.nn import init
from lamina.nn.attention import MultiheadAttention
from lamina.nn.container import ModuleList
from lamina.nn.dropout import Dropout
from lamina.nn.linear import Linear
from lamina.nn.module import Module
from lamina.nn.norm import LayerNorm
from lamina.ops.conv import count
from lamina.tensor import Operand, Tensor, as_tensor

Activation = str | Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": ops.relu, "gelu": ops.gelu}


class TransformerEncoderLayer(Module):
    """Self-attention, then two linear layers, each added to its input and normalised.

    The norm comes after the sum or, with ``norm_first``, before the attention and the layers::

        x = norm1(x + attention(x))      x = x + attention(norm1(x))
        x = norm2(x + layers(x))         x = x + layers(norm2(x))

    Parameters:
        self_attn: as in :class:`MultiheadAttention`. linear1.weight: ``[F, E]``.
        linear2.weight: ``[E, F]``. norm1, norm2: as in :class:`LayerNorm`.

    Args:
        d_model: E.
        nhead: heads, which divide E.
        dim_feedforward: F, the width between the linear layers.
        dropout: share dropped, in training, of the weights of the attention, between the linear
            layers and of both sums.
        activation: between the linear layers: ``"relu"``, ``"gelu"`` or a function of a tensor.
        layer_norm_eps: added to the variances.
        batch_first: whether inputs are ``[N, L, E]``, else ``[L, N, E]``.
        norm_first: whether the norms come first.
        bias: whether the linear layers and the norms have biases.
        rng: source of the initial parameters and of the dropout outside the attention.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017; Xiong et al., On Layer Normalization in the
        Transformer Architecture, 2020 (norm first).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        *,
        rng: init.Rng = None,
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise ValueError(
                "TransformerEncoderLayer: activation: expected 'relu', 'gelu' or a function, "
                f"got {activation!r}"
            )
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, rng=rng
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, rng=rng)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)
        self.norm_first = norm_first
        self.activation = _ACTIVATIONS[activation] if isinstance(activation, str) else activation

    def forward(
        self,
        src: Operand,
        src_mask: Operand | None = None,
        src_key_padding_mask: Operand | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Map ``[N, L, E]``, or ``[L, E]`` for a single sequence, to the same shape.

        Args:
            src: the sequences.
            src_mask: ``[L, L]`` or ``[N * H, L, L]``: true where a token must not see another, or
                numbers added to the scores.
            src_key_padding_mask: ``[N, L]``: true for tokens to ignore, or numbers added.
            is_causal: whether a token sees only itself and those before it.
        """
        x = as_tensor(src)

        def attend(x: Tensor) -> Tensor:
            y, _ = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )
            return self.dropout1(y)

        def widen(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + widen(self.norm2(x))
        x = self.norm1(x + attend(x))
        return self.norm2(x + widen(x))


class TransformerEncoder(Module):
    """Encoder layers one after the other.

    Parameters:
        layers: copies of ``encoder_layer``, which all start from its values, ``layers.0`` first.
        norm: that of ``norm``.

    Args:
        encoder_layer: the layer to copy, such as :class:`TransformerEncoderLayer`.
        num_layers: how many copies.
        norm: what the output of the last one passes through.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017.
    """

    norm: Module | None

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.num_layers = count("TransformerEncoder", "num_layers", num_layers)
        # Copies of a source of randomness would all draw the same masks.
        sources = {
            id(value): value
            for module in encoder_layer.modules()
            for value in vars(module).values()
            if isinstance(value, np.random.Generator)
        }
        self.layers = ModuleList(
            copy.deepcopy(encoder_layer, dict(sources)) for _ in range(self.num_layers)
        )
        self.add_module("norm", norm)

    def forward(
        self,
        src: Operand,
        mask: Operand | None = None,
        src_key_padding_mask: Operand | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Map ``[N, L, E]`` to the same shape; the masks are those of each layer."""
        x = as_tensor(src)
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)
