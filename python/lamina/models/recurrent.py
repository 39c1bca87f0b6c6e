"""A language model of recurrent layers over token vectors.

Reference: Mikolov et al., Recurrent Neural Network Based Language Model, 2010.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from lamina import generation, nn
from lamina.models import config as check
from lamina.nn import init
from lamina.tape import no_grad
from lamina.tensor import Array, Tensor

_CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

State = Any
"""What the recurrent layers carry on: ``h``, or ``(h, c)`` of an LSTM, each ``[layers, N, H]``."""


class Carry:
    """The state that one piece of a text leaves to the next, without gradients."""

    def __init__(self) -> None:
        self.state: State = None


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Sizes of a recurrent language model.

    Args:
        vocab_size: number of tokens, V.
        cell: ``"rnn"``, ``"lstm"`` or ``"gru"``.
        dim: length of the token vectors, D.
        hidden: numbers in the state of a layer, H.
        num_layers: recurrent layers.
        dropout: share of numbers dropped before, between and after the layers.
        tie_weights: whether the token table is also the output projection; needs ``hidden == dim``.
    """

    vocab_size: int
    cell: str = "lstm"
    dim: int = 256
    hidden: int = 256
    num_layers: int = 2
    dropout: float = 0.0
    tie_weights: bool = False

    def __post_init__(self) -> None:
        check.check_sizes(self, "vocab_size", "dim", "hidden", "num_layers")
        check.check_flags(self, "tie_weights")
        check.check_dropout(self, "dropout")
        check.check_choice(self, "cell", _CELLS)
        if self.tie_weights and self.hidden != self.dim:
            raise ValueError(
                f"RecurrentConfig: hidden: expected dim ({self.dim}) with tied weights, "
                f"got {self.hidden}"
            )


class RecurrentLM(nn.Pretrained, nn.Module):
    """Token ids in, logits of the next token out; the state carries the text so far.

    Parameters:
        Names are those of PyTorch's example of a word language model.
        encoder.weight: ``[V, D]``, uniform on ``[-0.1, 0.1]``. rnn.*: those of the layers.
        decoder.weight: ``[V, H]``, uniform on ``[-0.1, 0.1]``, or that of ``encoder``.
        decoder.bias: ``[V]``, zero.

    Args:
        config: sizes.
        rng: source of the initial parameters.
    """

    config_class = RecurrentConfig
    context = None

    def __init__(self, config: RecurrentConfig, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.drop = nn.Dropout(config.dropout)
        self.encoder = nn.Embedding(config.vocab_size, config.dim, rng=rng)
        self.rnn = _CELLS[config.cell](
            config.dim,
            config.hidden,
            config.num_layers,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
            rng=rng,
        )
        self.decoder = nn.Linear(config.hidden, config.vocab_size, rng=rng)
        if config.tie_weights:
            self.decoder.weight = self.encoder.weight
        init.uniform_(self.encoder.weight, -0.1, 0.1, rng=rng)
        if not config.tie_weights:
            init.uniform_(self.decoder.weight, -0.1, 0.1, rng=rng)
        init.zeros_(self.decoder.bias)

    def forward(self, ids: npt.ArrayLike, carry: Carry | None = None) -> Tensor:
        """Map ids ``[N, L]`` to logits ``[N, L, V]`` of the tokens that follow each.

        With ``carry``, the ids continue those of the call before that had the same; gradients
        stay within the call.
        """
        hidden, state = self._hidden(ids, None if carry is None else carry.state)
        if carry is not None:
            carry.state = _detached(state)
        return self.decoder(hidden)

    @no_grad()
    def step(
        self, ids: npt.ArrayLike, state: State = None, *, last_only: bool = False
    ) -> tuple[Tensor, State]:
        """Read more of a text, of any length; each token costs one token.

        Args:
            ids: the next tokens ``[N, L]``, at least one.
            state: what the call before returned; none at the beginning.
            last_only: return the logits after the last token alone.

        Returns:
            Logits ``[N, L, V]``, or ``[N, 1, V]``, and the state to go on from.
        """
        hidden, state = self._hidden(ids, state)
        return self.decoder(hidden[:, -1:] if last_only else hidden), state

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

    def _hidden(self, ids: npt.ArrayLike, state: State) -> tuple[Tensor, State]:
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.dtype.kind not in "iu" or ids.shape[1] == 0:
            raise ValueError(
                f"RecurrentLM: ids: expected integers [N, L] with L at least 1, "
                f"got {ids.dtype} of shape {ids.shape}"
            )
        hidden, state = self.rnn(self.drop(self.encoder(ids)), state)
        return self.drop(hidden), state


def _detached(state: State) -> State:
    return tuple(map(_detached, state)) if isinstance(state, tuple) else state.detach()
