"""RNN, LSTM and GRU over whole sequences, and their single steps."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lamina import _kernels
from lamina.random import generator
from lamina.tape import Gradients
from lamina.tensor import Array, Operand, Tensor, as_tensor, empty

Rng = np.random.Generator | None


class _Kernels(NamedTuple):
    """One layer, in one or both directions, over a sequence."""

    forward: Callable[
        [Array, list[Array], list[Array], bool], tuple[Array, list[Array], Array, Array]
    ]
    backward: Callable[..., tuple[Array | None, list[Array], list[Array]]]


_RNN_TANH = _Kernels(_kernels.rnn_tanh_forward, _kernels.rnn_tanh_backward)
_RNN_RELU = _Kernels(_kernels.rnn_relu_forward, _kernels.rnn_relu_backward)
_LSTM = _Kernels(_kernels.lstm_forward, _kernels.lstm_backward)
_GRU = _Kernels(_kernels.gru_forward, _kernels.gru_backward)


def rnn_tanh(
    input: Operand,
    hx: Operand,
    params: Sequence[Operand],
    has_biases: bool = True,
    num_layers: int = 1,
    dropout: float = 0.0,
    train: bool = False,
    bidirectional: bool = False,
    batch_first: bool = True,
    *,
    rng: Rng = None,
) -> tuple[Tensor, Tensor]:
    """Layers of ``h = tanh(x W_ih' + b_ih + h W_hh' + b_hh)`` over sequences.

    Args:
        input: ``[N, L, D]``, or ``[L, N, D]`` unless ``batch_first``.
        hx: first states ``[num_layers * directions, N, H]``.
        params: ``weight_ih [H, D], weight_hh [H, H]`` and, with biases, ``bias_ih [H],
            bias_hh [H]``, for each layer and within it each direction. The input of a later layer
            has ``D = directions * H``.
        has_biases: whether ``params`` holds biases.
        num_layers: how many layers.
        dropout: probability with which outputs of all layers but the last become zero.
        train: whether to drop out.
        bidirectional: whether each layer also runs backwards.
        batch_first: order of the first two axes.
        rng: source of the dropout.

    Returns:
        The outputs of the last layer ``[N, L, directions * H]`` in the order of the input, and the
        last states in the shape of ``hx``.
    """
    options = _Options(has_biases, num_layers, dropout, train, bidirectional, batch_first)
    y, h = _run("rnn_tanh", _RNN_TANH, input, (hx,), params, options, rng)
    return y, h


def rnn_relu(
    input: Operand,
    hx: Operand,
    params: Sequence[Operand],
    has_biases: bool = True,
    num_layers: int = 1,
    dropout: float = 0.0,
    train: bool = False,
    bidirectional: bool = False,
    batch_first: bool = True,
    *,
    rng: Rng = None,
) -> tuple[Tensor, Tensor]:
    """Like :func:`rnn_tanh` with ``max(0, a)`` in place of ``tanh(a)``."""
    options = _Options(has_biases, num_layers, dropout, train, bidirectional, batch_first)
    y, h = _run("rnn_relu", _RNN_RELU, input, (hx,), params, options, rng)
    return y, h


def lstm(
    input: Operand,
    hx: Sequence[Operand],
    params: Sequence[Operand],
    has_biases: bool = True,
    num_layers: int = 1,
    dropout: float = 0.0,
    train: bool = False,
    bidirectional: bool = False,
    batch_first: bool = True,
    *,
    rng: Rng = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Layers of long short-term memory over sequences.

    Arguments are those of :func:`rnn_tanh`, but ``hx`` is the pair ``(h, c)`` and the weights have
    ``4H`` rows, gates in the order i, f, g, o.

    Returns:
        The outputs, the last ``h`` and the last ``c``.
    """
    if len(hx) != 2:
        raise ValueError(f"lstm: hx: expected the pair (h, c), got {len(hx)} arrays")
    options = _Options(has_biases, num_layers, dropout, train, bidirectional, batch_first)
    y, h, c = _run("lstm", _LSTM, input, hx, params, options, rng)
    return y, h, c


def gru(
    input: Operand,
    hx: Operand,
    params: Sequence[Operand],
    has_biases: bool = True,
    num_layers: int = 1,
    dropout: float = 0.0,
    train: bool = False,
    bidirectional: bool = False,
    batch_first: bool = True,
    *,
    rng: Rng = None,
) -> tuple[Tensor, Tensor]:
    """Layers of gated recurrent units over sequences.

    Arguments and results are those of :func:`rnn_tanh`, but the weights have ``3H`` rows, gates in
    the order r, z, n.
    """
    options = _Options(has_biases, num_layers, dropout, train, bidirectional, batch_first)
    y, h = _run("gru", _GRU, input, (hx,), params, options, rng)
    return y, h


def rnn_tanh_cell(
    input: Operand,
    hx: Operand,
    w_ih: Operand,
    w_hh: Operand,
    b_ih: Operand | None = None,
    b_hh: Operand | None = None,
) -> Tensor:
    """One step of :func:`rnn_tanh`: ``input [N, D]``, ``hx [N, H]`` to the next ``[N, H]``."""
    return _step("rnn_tanh_cell", _RNN_TANH, input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


def rnn_relu_cell(
    input: Operand,
    hx: Operand,
    w_ih: Operand,
    w_hh: Operand,
    b_ih: Operand | None = None,
    b_hh: Operand | None = None,
) -> Tensor:
    """One step of :func:`rnn_relu`: ``input [N, D]``, ``hx [N, H]`` to the next ``[N, H]``."""
    return _step("rnn_relu_cell", _RNN_RELU, input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


def lstm_cell(
    input: Operand,
    hx: Sequence[Operand],
    w_ih: Operand,
    w_hh: Operand,
    b_ih: Operand | None = None,
    b_hh: Operand | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of :func:`lstm`: ``input [N, D]`` and ``hx``, the pair ``(h, c)``, to the next."""
    if len(hx) != 2:
        raise ValueError(f"lstm_cell: hx: expected the pair (h, c), got {len(hx)} arrays")
    h, c = _step("lstm_cell", _LSTM, input, hx, (w_ih, w_hh, b_ih, b_hh))
    return h, c


def gru_cell(
    input: Operand,
    hx: Operand,
    w_ih: Operand,
    w_hh: Operand,
    b_ih: Operand | None = None,
    b_hh: Operand | None = None,
) -> Tensor:
    """One step of :func:`gru`: ``input [N, D]``, ``hx [N, H]`` to the next ``[N, H]``."""
    return _step("gru_cell", _GRU, input, (hx,), (w_ih, w_hh, b_ih, b_hh))[0]


class _Options(NamedTuple):
    has_biases: bool = True
    num_layers: int = 1
    dropout: float = 0.0
    train: bool = False
    bidirectional: bool = False
    batch_first: bool = True


class _Layer(NamedTuple):
    """What the gradients of one layer need."""

    x: Array
    states: list[Array]
    weights: list[Array]
    kept: tuple[Array, Array, Array]
    # Factors of the dropout behind the layer.
    mask: Array | None


def _run(
    op: str,
    kernels: _Kernels,
    input: Operand,
    hx: Sequence[Operand],
    params: Sequence[Operand],
    options: _Options,
    rng: Rng,
) -> tuple[Tensor, ...]:
    biases, num_layers, dropout, train, bidirectional, batch_first = options
    x, states = as_tensor(input), [as_tensor(state) for state in hx]
    weights = [as_tensor(weight) for weight in params]
    directions = 2 if bidirectional else 1
    each = directions * (4 if biases else 2)
    if num_layers < 1:
        raise ValueError(f"{op}: num_layers: expected at least 1, got {num_layers}")
    if not 0.0 <= dropout <= 1.0:
        raise ValueError(f"{op}: dropout: expected 0 to 1, got {dropout}")
    if len(weights) != num_layers * each:
        raise ValueError(
            f"{op}: params: expected {num_layers * each} arrays for {num_layers} layers, "
            f"got {len(weights)}"
        )
    for state in states:
        if state.ndim != 3 or len(state) != num_layers * directions:
            raise ValueError(
                f"{op}: hx: expected shape [{num_layers * directions}, N, H], "
                f"got {list(state.shape)}"
            )
    layers: list[_Layer] = []
    last: list[Array] = [np.empty_like(state.data, order="C") for state in states]
    data = x.data
    for i in range(num_layers):
        rows = slice(i * directions, (i + 1) * directions)
        start = [state.data[rows] for state in states]
        of_layer = [weight.data for weight in weights[i * each : (i + 1) * each]]
        y, ends, gates, extra = kernels.forward(data, start, of_layer, batch_first)
        for to, end in zip(last, ends, strict=True):
            to[rows] = end
        mask = None
        if train and dropout > 0.0 and i + 1 < num_layers:
            mask = _dropout_mask(y, dropout, rng)
        layers.append(_Layer(data, start, of_layer, (y, gates, extra), mask))
        data = y if mask is None else y * mask
    needs_x = x.requires_grad
    needs_weights = [
        any(weight.requires_grad for weight in weights[i * each : (i + 1) * each])
        for i in range(num_layers)
    ]

    def vjp(dy: Array | None, *d_last: Array | None) -> Gradients:
        d_states: list[list[Array]] = [[] for _ in states]
        d_weights: list[Array | None] = []
        for i in reversed(range(num_layers)):
            layer = layers[i]
            if layer.mask is not None and dy is not None:
                dy = dy * layer.mask
            rows = slice(i * directions, (i + 1) * directions)
            ends = [None if d is None else d[rows] for d in d_last]
            needs = needs_x or i > 0, needs_weights[i]
            dy, starts, of_layer = kernels.backward(
                dy, ends, layer.x, layer.states, layer.weights, layer.kept, batch_first, needs
            )
            for to, start in zip(d_states, starts, strict=True):
                to.insert(0, start)
            none: list[Array | None] = [None] * each
            d_weights[:0] = of_layer or none
        joined = [d[0] if len(d) == 1 else np.concatenate(d) for d in d_states]
        return (dy, *joined, *d_weights)

    return Tensor.record_all((data, *last), (x, *states, *weights), vjp)


def _step(
    op: str,
    kernels: _Kernels,
    input: Operand,
    hx: Sequence[Operand],
    params: Sequence[Operand | None],
) -> tuple[Tensor, ...]:
    x, states = as_tensor(input), [as_tensor(state) for state in hx]
    given = [as_tensor(weight) for weight in params if weight is not None]
    if len(given) == 3:
        raise ValueError(f"{op}: expected both biases or none, got one")
    for name, value in (("input", x), *(("hx", state) for state in states)):
        if value.ndim != 2:
            raise ValueError(f"{op}: {name}: expected 2 axes, got shape {list(value.shape)}")
    options = _Options(has_biases=len(given) == 4)
    sequence, before = x.unsqueeze(1), [state.unsqueeze(0) for state in states]
    after = _run(op, kernels, sequence, before, given, options, None)[1:]
    return tuple(state.squeeze(0) for state in after)


def _dropout_mask(y: Array, p: float, rng: Rng) -> Array:
    draws = empty(y.shape, np.dtype(np.float32))
    generator(rng).random(dtype=np.float32, out=draws)
    np.greater_equal(draws, p, out=draws, casting="unsafe")
    mask = draws.astype(y.dtype, copy=False)
    mask *= 1.0 / (1.0 - p) if p < 1.0 else 0.0
    return mask
