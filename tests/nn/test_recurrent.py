import json
import os
from pathlib import Path

import numpy as np
import pytest

from lamina import Tensor, nn, no_grad

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"
LAYERS = [nn.RNN, nn.LSTM, nn.GRU]
CELLS = [(nn.RNNCell, nn.RNN), (nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU)]
CASES = [
    "gru_0_tanh",
    "gru_1_tanh",
    "lstm_0_tanh",
    "lstm_1_tanh",
    "rnn_0_relu",
    "rnn_0_tanh",
    "rnn_1_tanh",
]


def first(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    with np.load(GOLDEN / f"{case}.npz") as file:
        golden = dict(file)
    spec = json.loads(str(golden["spec"]))
    kind = getattr(nn, case.split("_")[0].upper())
    options = {k: spec[k] for k in ("num_layers", "bidirectional", "nonlinearity") if k in spec}
    layer = kind(spec["I"], spec["H"], batch_first=False, **options)
    layer.load_state_dict({k[2:]: v for k, v in golden.items() if k.startswith("p_")})
    ins = {k[3:]: Tensor(v, requires_grad=True) for k, v in golden.items() if k[:3] == "in_"}
    state = (ins["h0"], ins["c0"]) if kind is nn.LSTM else ins["h0"]
    y, last = layer(ins["x"], state)
    outs = {"y": y} | dict(zip("hc", last if kind is nn.LSTM else (last,), strict=False))

    def assert_near(got, expected):
        error = np.abs(got - expected).max() / (np.abs(expected).max() + 1e-30)
        assert error <= 1e-5

    for name, out in outs.items():
        assert_near(out.data, golden[f"out_{name}"])
    total = sum((out * golden[f"cot_{name}"]).sum() for name, out in outs.items())
    total.backward()
    for name, tensor in (*ins.items(), *layer.named_parameters()):
        assert_near(tensor.grad, golden[f"g_{name}"])


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters_are_those_of_pytorch(kind):
    gates = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3}[kind]
    layer = kind(3, 5, num_layers=2, bidirectional=True, rng=np.random.default_rng(1))
    shapes = {name: p.shape for name, p in layer.named_parameters()}
    expected = {}
    for suffix, columns in [("l0", 3), ("l0_reverse", 3), ("l1", 10), ("l1_reverse", 10)]:
        expected[f"weight_ih_{suffix}"] = (gates * 5, columns)
        expected[f"weight_hh_{suffix}"] = (gates * 5, 5)
        expected[f"bias_ih_{suffix}"] = expected[f"bias_hh_{suffix}"] = (gates * 5,)
    assert shapes == expected
    assert list(shapes) == list(expected)
    values = np.concatenate([p.data.ravel() for p in layer.parameters()])
    assert values.dtype == np.float32
    assert np.abs(values).max() <= 5**-0.5
    assert np.abs(values).max() > 0.9 * 5**-0.5
    assert "bias_ih_l0" not in kind(3, 5, bias=False).state_dict()
    again = kind(3, 5, num_layers=2, bidirectional=True, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(again.weight_hh_l1.data, layer.weight_hh_l1.data)


@pytest.mark.parametrize("kind", LAYERS)
def test_layouts_agree(rng, kind):
    layer = kind(3, 4, num_layers=2, bidirectional=True, rng=rng)
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    y, last = layer(x)
    assert y.shape == (2, 5, 8)
    assert first(last).shape == (4, 2, 4)
    layer.batch_first = False
    swapped, last_swapped = layer(x.swapaxes(0, 1))
    np.testing.assert_allclose(swapped.data.swapaxes(0, 1), y.data, rtol=0, atol=1e-6)
    np.testing.assert_allclose(first(last_swapped).data, first(last).data, rtol=0, atol=1e-6)
    for layer.batch_first in (True, False):
        single, last_single = layer(x[1], None)
        assert single.shape == (5, 8)
        np.testing.assert_allclose(single.data, y.data[1], rtol=0, atol=1e-6)
        assert first(last_single).shape == (4, 4)
        resumed, _ = layer(x[1], last_single)
        assert resumed.shape == (5, 8)


@pytest.mark.parametrize(("cell", "layer"), CELLS)
def test_cells_make_up_a_layer(rng, cell, layer):
    cell, layer = cell(3, 4, rng=rng), layer(3, 4, rng=rng)
    layer.load_state_dict({f"{k}_l0": v for k, v in cell.state_dict().items()})
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    y, _ = layer(x)
    state, alone = None, None
    for t in range(5):
        state, alone = cell(x[:, t], state), cell(x[0, t], alone)
        np.testing.assert_allclose(first(state).data, y.data[:, t], rtol=0, atol=1e-6)
        np.testing.assert_allclose(first(alone).data, y.data[0, t], rtol=0, atol=1e-6)
    assert cell.bias_hh.grad is None
    first(state).sum().backward()
    assert all(p.grad is not None for p in cell.parameters())


@pytest.mark.parametrize("kind", LAYERS)
def test_learns_to_remember_the_first_number(rng, kind):
    layer, read = kind(1, 16, rng=rng), nn.Linear(16, 1, rng=rng)
    x = rng.choice([-1.0, 1.0], (64, 6, 1)).astype(np.float32)
    target = x[:, 0]
    losses = []
    for _ in range(500):
        y, _ = layer(x)
        error = read(y[:, -1]) - target
        loss = (error * error).mean()
        loss.backward()
        for parameter in (*layer.parameters(), *read.parameters()):
            parameter.data -= 0.1 * parameter.grad
            parameter.grad = None
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_dropout_follows_the_mode(rng):
    layer = nn.LSTM(3, 8, num_layers=2, dropout=0.5, rng=rng)
    x = rng.standard_normal((2, 4, 3)).astype(np.float32)
    assert np.abs(layer(x)[0].data - layer(x)[0].data).max() > 0
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].data, layer(x)[0].data)
    with no_grad():
        assert not layer(x)[0].requires_grad


def test_representation():
    layer = nn.GRU(3, 4, 2, bias=False, batch_first=False, dropout=0.1, bidirectional=True)
    assert repr(layer) == (
        "GRU(3, 4, num_layers=2, bias=False, batch_first=False, dropout=0.1, bidirectional=True)"
    )
    assert repr(nn.RNN(1, 2, nonlinearity="relu")) == "RNN(1, 2, nonlinearity='relu')"
    assert repr(nn.LSTMCell(1, 2, bias=False)) == "LSTMCell(1, 2, bias=False)"


def test_bad_input_is_named(rng):
    layer, cell = nn.LSTM(3, 4, rng=rng), nn.LSTMCell(3, 4, rng=rng)
    x, h = np.zeros((2, 5, 3), np.float32), np.zeros((1, 2, 4), np.float32)
    bad = [
        ("LSTM: expected sizes of at least 1, got input_size 0", lambda: nn.LSTM(0, 4)),
        ("GRUCell: expected sizes of at least 1", lambda: nn.GRUCell(2, 0)),
        ("GRU: num_layers: expected at least 1, got 0", lambda: nn.GRU(2, 2, 0)),
        ("RNN: dropout: expected 0 to 1, got -0.1", lambda: nn.RNN(2, 2, dropout=-0.1)),
        ("RNN: nonlinearity: expected 'tanh' or 'relu', got 'elu'", lambda: nn.RNN(2, 2, 1, "elu")),
        (
            r"LSTM: x: expected \[N, L, D\] or \[L, D\] with D 3, got shape \[2, 5, 4\]",
            lambda: layer(np.zeros((2, 5, 4), np.float32)),
        ),
        (r"LSTM: state: expected the pair \(h, c\), got 1 arrays", lambda: layer(x, (h,))),
        (r"state: expected 3 axes like x, got shape \[2, 4\]", lambda: layer(x, (h[0], h[0]))),
        (
            r"LSTMCell: x: expected \[N, D\] or \[D\] with D 3, got shape \[2, 5, 3\]",
            lambda: cell(x),
        ),
        (r"LSTMCell: state: expected 2 axes like x", lambda: cell(x[0], (h, h))),
    ]
    for message, call in bad:
        with pytest.raises(ValueError, match=message):
            call()
