"""Recurrent layers over whole sequences, batch first, and their single steps."""

from collections.abc import Callable, Sequence

import numpy as np

from lamina import ops
from lamina.nn import init
from lamina.nn.module import Module, Parameter
from lamina.ops.conv import count, integer
from lamina.tensor import Operand, Tensor, as_tensor

Rng = np.random.Generator | None


class _Recurrent(Module):
    """What the three layers share: parameters, layout of the input, first states."""

    # Blocks of rows in the weights, and how many states run from step to step.
    gates: int
    num_states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__()
        input_size, hidden_size = _sizes(type(self).__name__, input_size, hidden_size)
        num_layers = count(type(self).__name__, "num_layers", num_layers)
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{type(self).__name__}: dropout: expected 0 to 1, got {dropout}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self._rng = rng
        self._names: list[str] = []
        rows = self.gates * hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size * self._directions
            for suffix in ("", "_reverse")[: self._directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, columns),
                    "weight_hh": (rows, hidden_size),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    self._names.append(f"{name}_l{layer}{suffix}")
                    setattr(self, self._names[-1], _uniform(shape, hidden_size, rng))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _run(
        self, function: Callable[..., tuple[Tensor, ...]], x: Operand, state: Sequence[Operand]
    ) -> tuple[Tensor, ...]:
        """Outputs and last states, without the axis of the batch where ``x`` has none."""
        x = as_tensor(x)
        name = type(self).__name__
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            order = "[N, L, D]" if self.batch_first else "[L, N, D]"
            raise ValueError(
                f"{name}: x: expected {order} or [L, D] with D {self.input_size}, "
                f"got shape {list(x.shape)}"
            )
        batched = x.ndim == 3
        axis = 0 if self.batch_first else 1
        states = [as_tensor(s) for s in state]
        for s in states:
            if s.ndim != x.ndim:
                raise ValueError(
                    f"{name}: state: expected {x.ndim} axes like x, got shape {list(s.shape)}"
                )
        if not batched:
            x, states = x.unsqueeze(axis), [s.unsqueeze(1) for s in states]
        if not states:
            rows = self.num_layers * self._directions
            zeros = np.zeros((rows, x.shape[axis], self.hidden_size), x.dtype)
            states = [Tensor(zeros)] * self.num_states
        y, *last = function(
            x,
            states if self.num_states > 1 else states[0],
            [getattr(self, name) for name in self._names],
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first,
            rng=self._rng,
        )
        if batched:
            return (y, *last)
        return (y.squeeze(axis), *(s.squeeze(1) for s in last))

    def extra_repr(self) -> str:
        """Sizes and the options that differ from their defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if not self.bias:
            parts.append("bias=False")
        if not self.batch_first:
            parts.append("batch_first=False")
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional:
            parts.append("bidirectional=True")
        return ", ".join(parts)


class RNN(_Recurrent):
    """Plain recurrent layers.

    At each step, from the output ``h`` of the one before::

        h = tanh(x W_ih' + b_ih + h W_hh' + b_hh)      or max(0, the same)

    Parameters:
        weight_ih_l0: ``[H, D]``; in later layers ``[H, directions * H]``. weight_hh_l0: ``[H, H]``.
        bias_ih_l0, bias_hh_l0: ``[H]``. Those of the reverse direction end in ``_reverse``.
        All uniform on ``[-1/sqrt(H), 1/sqrt(H)]``.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: layers, each over the outputs of the one before.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether there are biases.
        batch_first: whether sequences are ``[N, L, D]`` rather than ``[L, N, D]``.
        dropout: probability with which, in training, outputs of all layers but the last become
            zero.
        bidirectional: whether each layer also runs backwards; outputs are then ``2 H`` wide.
        rng: source of the initial parameters and of the dropout.

    Reference:
        Elman, Finding Structure in Time, 1990.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, rng=rng
        )
        _check_nonlinearity("RNN", nonlinearity)
        self.nonlinearity = nonlinearity

    def forward(self, x: Operand, state: Operand | None = None) -> tuple[Tensor, Tensor]:
        """Map ``x [N, L, D]`` to all outputs ``[N, L, directions * H]`` and the last ones.

        Args:
            x: sequences, or one ``[L, D]``.
            state: first states ``[num_layers * directions, N, H]``, zero where there are none;
                without N for a single sequence. The last ones have the same shape.
        """
        function = ops.rnn_relu if self.nonlinearity == "relu" else ops.rnn_tanh
        y, h = self._run(function, x, () if state is None else (state,))
        return y, h

    def extra_repr(self) -> str:
        """Sizes and the options that differ from their defaults."""
        relu = ", nonlinearity='relu'" if self.nonlinearity == "relu" else ""
        return super().extra_repr() + relu


class LSTM(_Recurrent):
    """Layers of long short-term memory.

    At each step, with gates in the order i, f, g, o::

        i, f, o = sigmoid(x W_ih' + b_ih + h W_hh' + b_hh)    g = tanh(the same)
        c = f * c + i * g                                     h = o * tanh(c)

    Parameters:
        weight_ih_l0: ``[4H, D]``; in later layers ``[4H, directions * H]``.
        weight_hh_l0: ``[4H, H]``. bias_ih_l0, bias_hh_l0: ``[4H]``. Those of the reverse direction
        end in ``_reverse``. All uniform on ``[-1/sqrt(H), 1/sqrt(H)]``.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: layers, each over the outputs of the one before.
        bias: whether there are biases.
        batch_first: whether sequences are ``[N, L, D]`` rather than ``[L, N, D]``.
        dropout: probability with which, in training, outputs of all layers but the last become
            zero.
        bidirectional: whether each layer also runs backwards; outputs are then ``2 H`` wide.
        rng: source of the initial parameters and of the dropout.

    Reference:
        Hochreiter & Schmidhuber, Long Short-Term Memory, 1997; Gers et al., Learning to Forget,
        2000.
    """

    gates = 4
    num_states = 2

    def forward(
        self, x: Operand, state: tuple[Operand, Operand] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ``x [N, L, D]`` to all outputs ``[N, L, directions * H]`` and the last ``(h, c)``.

        Args:
            x: sequences, or one ``[L, D]``.
            state: first ``(h, c)``, each ``[num_layers * directions, N, H]``, zero where there are
                none; without N for a single sequence. The last ones have the same shape.
        """
        if state is not None and len(state) != 2:
            raise ValueError(f"LSTM: state: expected the pair (h, c), got {len(state)} arrays")
        y, h, c = self._run(ops.lstm, x, () if state is None else state)
        return y, (h, c)


class GRU(_Recurrent):
    """Layers of gated recurrent units.

    At each step, with gates in the order r, z, n::

        r, z = sigmoid(x W_ih' + b_ih + h W_hh' + b_hh)
        n = tanh(x W_in' + b_in + r * (h W_hn' + b_hn))       h = (1 - z) * n + z * h

    Parameters:
        weight_ih_l0: ``[3H, D]``; in later layers ``[3H, directions * H]``.
        weight_hh_l0: ``[3H, H]``. bias_ih_l0, bias_hh_l0: ``[3H]``. Those of the reverse direction
        end in ``_reverse``. All uniform on ``[-1/sqrt(H), 1/sqrt(H)]``.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: layers, each over the outputs of the one before.
        bias: whether there are biases.
        batch_first: whether sequences are ``[N, L, D]`` rather than ``[L, N, D]``.
        dropout: probability with which, in training, outputs of all layers but the last become
            zero.
        bidirectional: whether each layer also runs backwards; outputs are then ``2 H`` wide.
        rng: source of the initial parameters and of the dropout.

    Reference:
        Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014.
    """

    gates = 3

    def forward(self, x: Operand, state: Operand | None = None) -> tuple[Tensor, Tensor]:
        """Map ``x [N, L, D]`` to all outputs ``[N, L, directions * H]`` and the last ones.

        Args:
            x: sequences, or one ``[L, D]``.
            state: first states ``[num_layers * directions, N, H]``, zero where there are none;
                without N for a single sequence. The last ones have the same shape.
        """
        y, h = self._run(ops.gru, x, () if state is None else (state,))
        return y, h


class _Cell(Module):
    """What the three cells share: parameters and an input with or without a batch."""

    gates: int
    num_states = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, rng: Rng = None
    ) -> None:
        super().__init__()
        input_size, hidden_size = _sizes(type(self).__name__, input_size, hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        rows = self.gates * hidden_size
        self.weight_ih = _uniform((rows, input_size), hidden_size, rng)
        self.weight_hh = _uniform((rows, hidden_size), hidden_size, rng)
        for name in ("bias_ih", "bias_hh"):
            parameter = _uniform((rows,), hidden_size, rng) if bias else None
            self.register_parameter(name, parameter)

    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def _run(
        self,
        function: Callable[..., Tensor | tuple[Tensor, ...]],
        x: Operand,
        state: Sequence[Operand],
    ) -> tuple[Tensor, ...]:
        x = as_tensor(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: x: expected [N, D] or [D] with D {self.input_size}, "
                f"got shape {list(x.shape)}"
            )
        states = [as_tensor(s) for s in state]
        for s in states:
            if s.ndim != x.ndim:
                raise ValueError(
                    f"{type(self).__name__}: state: expected {x.ndim} axes like x, "
                    f"got shape {list(s.shape)}"
                )
        batched = x.ndim == 2
        if not batched:
            x, states = x.unsqueeze(0), [s.unsqueeze(0) for s in states]
        if not states:
            zeros = Tensor(np.zeros((len(x), self.hidden_size), x.dtype))
            states = [zeros] * self.num_states
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        after = function(x, states if self.num_states > 1 else states[0], *weights)
        after = after if isinstance(after, tuple) else (after,)
        return after if batched else tuple(s.squeeze(0) for s in after)

    def extra_repr(self) -> str:
        """Sizes and the options that differ from their defaults."""
        bias = "" if self.bias_ih is not None else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}"


class RNNCell(_Cell):
    """One step of :class:`RNN`.

    Parameters:
        weight_ih: ``[H, D]``. weight_hh: ``[H, H]``. bias_ih, bias_hh: ``[H]``.
        All uniform on ``[-1/sqrt(H), 1/sqrt(H)]``.

    Args:
        input_size: D.
        hidden_size: H.
        bias: whether there are biases.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        rng: source of the initial parameters.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        rng: Rng = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, rng=rng)
        _check_nonlinearity("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity

    def forward(self, x: Operand, state: Operand | None = None) -> Tensor:
        """Map ``x [N, D]`` and the state ``[N, H]``, zero where there is none, to the next."""
        function = ops.rnn_relu_cell if self.nonlinearity == "relu" else ops.rnn_tanh_cell
        return self._run(function, x, () if state is None else (state,))[0]


class LSTMCell(_Cell):
    """One step of :class:`LSTM`.

    Parameters:
        weight_ih: ``[4H, D]``. weight_hh: ``[4H, H]``. bias_ih, bias_hh: ``[4H]``.
        All uniform on ``[-1/sqrt(H), 1/sqrt(H)]``.

    Args:
        input_size: D.
        hidden_size: H.
        bias: whether there are biases.
        rng: source of the initial parameters.
    """

    gates = 4
    num_states = 2

    def forward(
        self, x: Operand, state: tuple[Operand, Operand] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map ``x [N, D]`` and the pair ``(h, c)``, each ``[N, H]`` or zero, to the next pair."""
        if state is not None and len(state) != 2:
            raise ValueError(f"LSTMCell: state: expected the pair (h, c), got {len(state)} arrays")
        h, c = self._run(ops.lstm_cell, x, () if state is None else state)
        return h, c


class GRUCell(_Cell):
    """One step of :class:`GRU`.

    Parameters:
        weight_ih: ``[3H, D]``. weight_hh: ``[3H, H]``. bias_ih, bias_hh: ``[3H]``.
        All uniform on ``[-1/sqrt(H), 1/sqrt(H)]``.

    Args:
        input_size: D.
        hidden_size: H.
        bias: whether there are biases.
        rng: source of the initial parameters.
    """

    gates = 3

    def forward(self, x: Operand, state: Operand | None = None) -> Tensor:
        """Map ``x [N, D]`` and the state ``[N, H]``, zero where there is none, to the next."""
        return self._run(ops.gru_cell, x, () if state is None else (state,))[0]


def _uniform(shape: tuple[int, ...], hidden_size: int, rng: Rng) -> Parameter:
    bound = hidden_size**-0.5
    parameter = Parameter(np.empty(shape, np.float32))
    init.uniform_(parameter, -bound, bound, rng=rng)
    return parameter


def _sizes(layer: str, input_size: int, hidden_size: int) -> tuple[int, int]:
    input_size = integer(layer, "input_size", input_size)
    hidden_size = integer(layer, "hidden_size", hidden_size)
    if input_size < 1 or hidden_size < 1:
        raise ValueError(
            f"{layer}: expected sizes of at least 1, got input_size {input_size} and "
            f"hidden_size {hidden_size}"
        )
    return input_size, hidden_size


def _check_nonlinearity(layer: str, nonlinearity: str) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{layer}: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
