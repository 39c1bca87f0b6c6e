"""GPT-2: a decoder-only transformer language model.

Reference: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import numpy.typing as npt

from lamina import generation, nn, ops
from lamina.models import config as check
from lamina.nn import init
from lamina.tape import no_grad
from lamina.tensor import Array, Tensor

_ACTIVATIONS = ("gelu", "gelu_tanh")


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Sizes of a GPT; the defaults are those of GPT-2 with 124M parameters.

    Args:
        vocab_size: number of tokens, V.
        context: longest text the model sees at once.
        dim: width, D; a multiple of ``num_heads``.
        num_heads: attention heads of each layer.
        num_layers: number of blocks.
        bias: whether linear layers and layer norms add a bias.
        dropout: share of numbers dropped after embeddings, attention and each branch.
        activation: ``"gelu_tanh"`` as in GPT-2 or the exact ``"gelu"``.
        tie_weights: whether the token table is also the output projection.
    """

    vocab_size: int = 50257
    context: int = 1024
    dim: int = 768
    num_heads: int = 12
    num_layers: int = 12
    bias: bool = True
    dropout: float = 0.0
    activation: str = "gelu_tanh"
    tie_weights: bool = True

    def __post_init__(self) -> None:
        check.check_sizes(self, "vocab_size", "context", "dim", "num_heads", "num_layers")
        check.check_flags(self, "bias", "tie_weights")
        check.check_dropout(self, "dropout")
        check.check_choice(self, "activation", _ACTIVATIONS)
        if self.dim % self.num_heads:
            raise ValueError(
                f"GPTConfig: dim: expected a multiple of num_heads ({self.num_heads}), "
                f"got {self.dim}"
            )


class Window:
    """What a GPT keeps of a text: the last ids, and their keys and values in every layer."""

    def __init__(self, config: GPTConfig, rows: int, dtype: npt.DTypeLike) -> None:
        head_dim = config.dim // config.num_heads
        shape = (config.num_layers, 2, rows, config.num_heads, config.context, head_dim)
        self.ids = np.empty((rows, config.context), np.int64)
        self.cache = np.empty(shape, dtype)
        self.length = 0


class CausalSelfAttention(nn.Module):
    """Each token looks at itself and those before it.

    Parameters:
        c_attn: queries, keys and values, ``[3D, D]``. c_proj: output, ``[D, D]``.
    """

    def __init__(self, config: GPTConfig, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.dim, 3 * config.dim, bias=config.bias, rng=rng)
        self.c_proj = nn.Linear(config.dim, config.dim, bias=config.bias, rng=rng)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: Array | None = None, start: int = 0) -> Tensor:
        """Map ``[N, L, D]`` to ``[N, L, D]``.

        With ``cache`` ``[2, N, heads, context, D / heads]``, which holds keys and values of
        ``start`` earlier tokens, those of ``x`` are added to it.
        """
        qkv = self.c_attn(x)
        if cache is not None:
            self._extend(cache, qkv.data, start)
        if cache is not None and start:
            y = self._attend(cache, qkv.data, start)
        elif self.training and self.dropout:
            y = self._attend_dropping(qkv)
        else:
            y = ops.self_attention(qkv, self.num_heads, is_causal=True)
        return self.resid_dropout(self.c_proj(y))

    def _attend_dropping(self, qkv: Tensor) -> Tensor:
        rows, length, width = qkv.shape
        heads = qkv.reshape(rows, length, 3, self.num_heads, width // (3 * self.num_heads))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        y = ops.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, is_causal=True)
        return y.transpose(1, 2).reshape(rows, length, width // 3)

    def _split(self, qkv: Array) -> Array:
        rows, length, width = qkv.shape
        heads = qkv.reshape(rows, length, 3, self.num_heads, width // (3 * self.num_heads))
        return heads.transpose(2, 0, 3, 1, 4)

    def _extend(self, cache: Array, qkv: Array, start: int) -> None:
        cache[:, :, :, start : start + qkv.shape[1]] = self._split(qkv)[1:]

    def _attend(self, cache: Array, qkv: Array, start: int) -> Tensor:
        rows, length, _ = qkv.shape
        queries = self._split(qkv)[0]
        keys, values = cache[:, :, :, : start + length]
        scores = queries @ keys.swapaxes(2, 3) * queries.dtype.type(queries.shape[-1] ** -0.5)
        if length > 1:
            future = np.arange(start + length) > np.arange(start, start + length)[:, None]
            scores[..., future] = -np.inf
        y = ops.softmax(scores).data @ values
        return Tensor(y.transpose(0, 2, 1, 3).reshape(rows, length, -1))


class MLP(nn.Module):
    """Two linear layers, four times as wide in between.

    Parameters:
        c_fc: ``[4D, D]``. c_proj: ``[D, 4D]``.
    """

    def __init__(self, config: GPTConfig, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.c_fc = nn.Linear(config.dim, 4 * config.dim, bias=config.bias, rng=rng)
        self.c_proj = nn.Linear(4 * config.dim, config.dim, bias=config.bias, rng=rng)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, L, D]`` to ``[N, L, D]``."""
        return self.dropout(self.c_proj(ops.gelu(self.c_fc(x), self.approximate)))


class Block(nn.Module):
    """Attention and a two-layer network, each on normalised input and added to the stream."""

    def __init__(self, config: GPTConfig, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.dim, bias=config.bias)
        self.attn = CausalSelfAttention(config, rng=rng)
        self.ln_2 = nn.LayerNorm(config.dim, bias=config.bias)
        self.mlp = MLP(config, rng=rng)

    def forward(self, x: Tensor, cache: Array | None = None, start: int = 0) -> Tensor:
        """Map ``[N, L, D]`` to ``[N, L, D]``; the cache is that of the attention."""
        x = x + self.attn(self.ln_1(x), cache, start)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Pretrained, nn.Module):
    """Token ids in, logits of the next token out.

    Each block, with ``x`` the sum of token and position vectors::

        x = x + attention(norm(x))      x = x + mlp(norm(x))      logits = norm(x) W'

    Parameters:
        Names are Hugging Face's of GPT-2 without their ``transformer.``; linear weights are
        ``[out, in]``, the transpose of what those files hold.
        wte.weight: tokens ``[V, D]``. wpe.weight: positions ``[context, D]``. h.*: blocks.
        ln_f: last norm. lm_head.weight: ``[V, D]``, unless it is ``wte.weight``.
        Weights are normal with deviation 0.02, those that end a branch (``c_proj``)
        0.02 / sqrt(2 layers); biases are zero.

    Args:
        config: sizes.
        rng: source of the initial parameters.
    """

    config_class = GPTConfig

    def __init__(self, config: GPTConfig, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.dim, rng=rng)
        self.wpe = nn.Embedding(config.context, config.dim, rng=rng)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config, rng=rng) for _ in range(config.num_layers))
        self.ln_f = nn.LayerNorm(config.dim, bias=config.bias)
        if not config.tie_weights:
            self.lm_head = nn.Linear(config.dim, config.vocab_size, bias=False, rng=rng)
        self._initialise(rng)

    def _initialise(self, rng: np.random.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                ends_branch = name.endswith("c_proj.weight")
                std = 0.02 * ((2 * self.config.num_layers) ** -0.5 if ends_branch else 1)
                init.normal_(parameter, 0.0, std, rng=rng)
            elif name.endswith("bias"):
                init.zeros_(parameter)

    @property
    def context(self) -> int:
        """Longest text the model sees at once."""
        return self.config.context

    def forward(self, ids: npt.ArrayLike) -> Tensor:
        """Map ids ``[N, L]`` to logits ``[N, L, V]`` of the tokens that follow each.

        Raises:
            ValueError: ``L`` exceeds the context.
        """
        ids = self._checked(ids)
        if ids.shape[1] > self.config.context:
            raise ValueError(
                f"GPT: ids: expected at most {self.config.context} tokens, got {ids.shape[1]}"
            )
        return self._logits(self._hidden(ids))

    @no_grad()
    def step(
        self, ids: npt.ArrayLike, state: Window | None = None, *, last_only: bool = False
    ) -> tuple[Tensor, Window]:
        """Read more of a text, of any length; each token costs one token.

        When the context is full, its older half is forgotten and the rest read again, so that a
        token is always predicted from at least half a context, if there is as much before it.

        Args:
            ids: the next tokens ``[N, L]``, at least one.
            state: what the call before returned, which this call uses up; none at the beginning.
            last_only: return the logits after the last token alone.

        Returns:
            Logits ``[N, L, V]``, or ``[N, 1, V]``, and the state to go on from.
        """
        ids = self._checked(ids)
        if state is None:
            state = Window(self.config, len(ids), self.wte.weight.dtype)
        if last_only:
            return self._logits(self._advance(ids, state)[:, -1:]), state
        logits = []
        while ids.shape[1]:
            room = self.config.context - state.length or self._stride
            piece, ids = ids[:, :room], ids[:, room:]
            hidden = self._advance(piece, state)[:, -piece.shape[1] :]
            logits.append(self._logits(hidden).data)
        return Tensor(np.concatenate(logits, axis=1)), state

    def generate(
        self,
        ids: npt.ArrayLike,
        *,
        on_token: Callable[[Array], object] | None = None,
        **options: Unpack[generation.Options],
    ) -> Array:
        """Prolong prompts ``[N, L]``; see :func:`lamina.generation.generate`."""
        training = self.training
        self.eval()
        try:
            next_scores = generation.Incremental(self.step)
            return generation.generate(next_scores, ids, on_token=on_token, **options)
        finally:
            self.train(training)

    @property
    def _stride(self) -> int:
        return max(1, self.config.context // 2)

    def _checked(self, ids: npt.ArrayLike) -> Array:
        array = np.asarray(ids)
        if array.ndim != 2 or array.dtype.kind not in "iu" or array.shape[1] == 0:
            raise ValueError(
                f"GPT: ids: expected integers [N, L] with L at least 1, "
                f"got {array.dtype} of shape {array.shape}"
            )
        return array

    def _advance(self, ids: Array, state: Window) -> Tensor:
        """Hidden states of at least ``ids``, the last of them at the end."""
        excess = state.length + ids.shape[1] - self.config.context
        if excess > 0:
            forgotten = -(-excess // self._stride) * self._stride
            ids = np.concatenate([state.ids[:, : state.length], ids], axis=1)[:, forgotten:]
            state.length = 0
        return self._hidden(ids, state)

    def _hidden(self, ids: Array, state: Window | None = None) -> Tensor:
        start = 0 if state is None else state.length
        end = start + ids.shape[1]
        x = self.drop(self.wte(ids) + self.wpe(np.arange(start, end)))
        for i, block in enumerate(self.h):
            x = block(x) if state is None else block(x, state.cache[i], start)
        if state is not None:
            state.ids[:, start:end] = ids
            state.length = end
        return self.ln_f(x)

    def _logits(self, hidden: Tensor) -> Tensor:
        weight = self.wte.weight if self.config.tie_weights else self.lm_head.weight
        return ops.linear(hidden, weight)
