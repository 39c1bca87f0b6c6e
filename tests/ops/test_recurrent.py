import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import Tensor, _kernels, ops
from lamina.testing import check_grads

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_numpy(op, x, h, c, w_ih, w_hh, b_ih=0.0, b_hh=0.0):
    a, s = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if op == "lstm":
        i, f, g, o = np.split(a + s, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if op == "gru":
        (ar, az, an), (sr, sz, sn) = np.split(a, 3, axis=-1), np.split(s, 3, axis=-1)
        r, z = sigmoid(ar + sr), sigmoid(az + sz)
        return (1 - z) * np.tanh(an + r * sn) + z * h, c
    return (np.tanh(a + s) if op == "rnn_tanh" else np.maximum(a + s, 0)), c


def layers_numpy(op, x, h0, c0, params, biases, layers, directions):
    """Outputs, last h and last c of sequences ``[N, L, D]``."""
    each, last = 4 if biases else 2, ([], [])
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            h, c = h0[index], c0[index]
            steps, y = range(x.shape[1]), np.empty((*x.shape[:2], h.shape[-1]), x.dtype)
            for t in steps if direction == 0 else reversed(steps):
                h, c = step_numpy(op, x[:, t], h, c, *params[index * each : (index + 1) * each])
                y[:, t] = h
            outputs.append(y)
            last[0].append(h)
            last[1].append(c)
        x = np.concatenate(outputs, axis=-1)
    return x, np.stack(last[0]), np.stack(last[1])


def make(rng, op, n, length, d, h, layers=1, directions=1, biases=True, dtype=np.float64):
    def normal(*shape):
        return (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(dtype)

    params = []
    for layer in range(layers):
        columns = d if layer == 0 else directions * h
        for _ in range(directions):
            rows = GATES[op] * h
            params += [normal(rows, columns), normal(rows, h)]
            params += [normal(rows), normal(rows)] if biases else []
    states = normal(layers * directions, n, h), normal(layers * directions, n, h)
    return normal(n, length, d), *states, params


def run(op, x, h0, c0, params, biases=True, layers=1, directions=1, batch_first=True):
    hx = (h0, c0) if op == "lstm" else h0
    options = {"num_layers": layers, "bidirectional": directions == 2, "batch_first": batch_first}
    return getattr(ops, op)(x, hx, params, biases, **options)


SIZES = [(1, 1, 1, 1), (1, 7, 3, 5), (3, 5, 4, 2), (2, 3, 5, 17), (13, 4, 3, 33), (70, 3, 2, 20)]


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(("n", "length", "d", "h"), SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matches_numpy(rng, op, n, length, d, h, dtype):
    tol = 2e-6 if dtype == np.float32 else 1e-13
    for layers, directions, biases in [(1, 1, True), (2, 2, True), (1, 2, False), (3, 1, False)]:
        x, h0, c0, params = make(rng, op, n, length, d, h, layers, directions, biases, dtype)
        expected = layers_numpy(op, x, h0, c0, params, biases, layers, directions)
        for batch_first in (True, False):
            given = x if batch_first else x.swapaxes(0, 1)
            y, *last = run(op, given, h0, c0, params, biases, layers, directions, batch_first)
            assert y.dtype == dtype
            got = y.data if batch_first else y.data.swapaxes(0, 1)
            for a, b in zip((got, *(s.data for s in last)), expected, strict=False):
                np.testing.assert_allclose(a, b, rtol=0, atol=tol * max(1, np.abs(b).max()))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(
    ("n", "length", "d", "h", "layers", "directions", "biases", "batch_first"),
    [
        (2, 4, 3, 2, 1, 1, True, True),
        (3, 3, 2, 3, 2, 2, True, False),
        (2, 3, 2, 3, 2, 2, False, True),
        (1, 1, 2, 3, 1, 2, True, True),
        (1, 5, 1, 9, 1, 1, True, False),
        (14, 2, 2, 2, 1, 2, True, True),
    ],
)
def test_gradients(rng, op, n, length, d, h, layers, directions, biases, batch_first):
    x, h0, c0, params = make(rng, op, n, length, d, h, layers, directions, biases)
    x = x if batch_first else x.swapaxes(0, 1)
    x, h0, c0, *params = (Tensor(a, requires_grad=True) for a in (x, h0, c0, *params))
    c0.requires_grad = op == "lstm"

    def joined(x, h0, c0, *params):
        y, *last = run(op, x, h0, c0, params, biases, layers, directions, batch_first)
        total = (y * y).sum() + (y * np.cos(np.arange(y.size)).reshape(y.shape)).sum()
        for state in last:
            total = total + (state * np.sin(np.arange(state.size)).reshape(state.shape)).sum()
        return total

    check_grads(joined, x, h0, c0, *params)


@pytest.mark.parametrize("op", GATES)
def test_any_one_output_may_be_used(rng, op):
    for index in range(3 if op == "lstm" else 2):
        x, h0, c0, params = make(rng, op, 2, 3, 2, 3, 2, 2)
        x, h0, c0, *params = (Tensor(a, requires_grad=True) for a in (x, h0, c0, *params))
        c0.requires_grad = op == "lstm"
        check_grads(
            lambda x, h0, c0, *p, i=index: run(op, x, h0, c0, p, True, 2, 2)[i], x, h0, c0, *params
        )


@pytest.mark.parametrize("op", GATES)
def test_only_what_requires_a_gradient_gets_one(rng, op):
    x, h0, c0, params = make(rng, op, 2, 3, 2, 3)
    full = [Tensor(a, requires_grad=True) for a in (x, *params)]
    run(op, full[0], h0, c0, full[1:])[0].sum().backward()
    only_x = Tensor(x, requires_grad=True)
    run(op, only_x, h0, c0, params)[0].sum().backward()
    np.testing.assert_array_equal(only_x.grad, full[0].grad)
    only_weights = [Tensor(a, requires_grad=True) for a in params]
    run(op, x, h0, c0, only_weights)[0].sum().backward()
    for a, b in zip(only_weights, full[1:], strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(("n", "length", "h"), [(1, 6, 300), (33, 5, 130), (100, 3, 40)])
def test_same_bits_for_any_number_of_threads(rng, op, n, length, h):
    x, h0, c0, params = make(rng, op, n, length, 20, h, 1, 2, dtype=np.float32)
    before = _kernels.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            _kernels.set_num_threads(threads)
            leaves = [Tensor(a, requires_grad=True) for a in (x, h0, c0, *params)]
            y, *last = run(op, *leaves[:3], leaves[3:], directions=2)
            (y.sum() + last[0].sum()).backward()
            grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
            results.append([y.data, *(s.data for s in last), *grads])
    finally:
        _kernels.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op", GATES)
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 26), st.integers(1, 4), st.integers(1, 40), st.booleans())
def test_any_size(op, n, length, h, reverse):
    rng = np.random.default_rng(n * h)
    x, h0, c0, params = make(rng, op, n, length, 3, h, 1, 1 + reverse)
    expected = layers_numpy(op, x, h0, c0, params, True, 1, 1 + reverse)
    got = run(op, x, h0, c0, params, directions=1 + reverse)
    for a, b in zip(got, expected, strict=False):
        np.testing.assert_allclose(a.data, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("op", GATES)
def test_sequence_is_its_pieces_in_order(rng, op):
    x, h0, c0, params = make(rng, op, 2, 6, 3, 4)
    y, *last = run(op, x, h0, c0, params)
    y1, *state = run(op, x[:, :2], h0, c0, params)
    y2, *state = run(op, x[:, 2:], *state, *([c0] if op != "lstm" else []), params)
    np.testing.assert_allclose(np.concatenate([y1.data, y2.data], 1), y.data, rtol=0, atol=1e-14)
    for a, b in zip(state, last, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=0, atol=1e-14)


@pytest.mark.parametrize("op", GATES)
def test_cell_is_one_step(rng, op):
    for biases in (True, False):
        x, h0, c0, params = make(rng, op, 3, 1, 2, 5, biases=biases)
        cell = getattr(ops, f"{op}_cell")
        x, h, c, *params = (Tensor(a, requires_grad=True) for a in (x[:, 0], h0[0], c0[0], *params))
        c.requires_grad = op == "lstm"
        expected = step_numpy(op, x.data, h.data, c.data, *(p.data for p in params))

        def next_state(x, h, c, *params, cell=cell):
            if op == "lstm":
                h, c = cell(x, (h, c), *params)
                return h + c * 0.5
            return cell(x, h, *params)

        got = next_state(x, h, c, *params).data
        wanted = expected[0] + expected[1] * 0.5 if op == "lstm" else expected[0]
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)
        check_grads(next_state, x, h, c, *params)


@pytest.mark.parametrize("op", GATES)
def test_no_sequences_and_strided_input(rng, op):
    x, h0, c0, params = make(rng, op, 0, 3, 2, 4)
    leaves = [Tensor(p, requires_grad=True) for p in params]
    y, *last = run(op, x, h0, c0, leaves)
    assert y.shape == (0, 3, 4)
    assert last[0].shape == (1, 0, 4)
    y.sum().backward()
    assert all(not leaf.grad.any() for leaf in leaves)
    x, h0, c0, params = make(rng, op, 4, 3, 2, 4)
    expected = run(op, x, h0, c0, params)
    strided = [np.repeat(p, 2, axis=0)[::2] for p in params]
    wide = np.repeat(x, 3, axis=2)[..., ::3]
    got = run(op, wide, np.asfortranarray(h0), c0[:, ::-1][:, ::-1], strided)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_extremes_saturate_and_nan_spreads(rng):
    for op in GATES:
        x, h0, c0, params = make(rng, op, 2, 3, 2, 3, dtype=np.float32)
        y = run(op, x * 1e30, h0, c0, params)[0].data
        assert op == "rnn_relu" or np.isfinite(y).all()
        x[0, 1] = np.nan
        y = run(op, x, h0, c0, params)[0].data
        assert np.isfinite(y[0, 0]).all()
        assert np.isnan(y[0, 1:]).all()
        assert np.isfinite(y[1]).all()


def test_dropout_between_layers(rng):
    x, h0, _, params = make(rng, "gru", 4, 5, 3, 40, layers=2)
    leaves = [Tensor(a, requires_grad=True) for a in (x, h0, *params)]

    def dropped(x, h0, *params, p=0.5, train=True):
        seed = np.random.default_rng(5)
        return ops.gru(x, h0, params, True, 2, p, train, rng=seed)[0]

    plain = dropped(*leaves, train=False).data
    np.testing.assert_array_equal(plain, dropped(*leaves, p=0.0).data)
    assert np.abs(dropped(*leaves).data - plain).max() > 1e-3
    assert np.isfinite(dropped(*leaves, p=1.0).data).all()
    small = make(rng, "gru", 2, 3, 2, 3, layers=2)
    check_grads(dropped, *(Tensor(a, requires_grad=True) for a in (*small[:2], *small[3])))


def test_bad_input_is_named(rng):
    x, h0, c0, params = make(rng, "lstm", 2, 3, 4, 5)
    bad = [
        (r"lstm: hx: expected the pair \(h, c\), got 1", lambda: ops.lstm(x, (h0,), params)),
        (
            r"lstm: hx: expected shape \[1, N, H\], got \[2, 5\]",
            lambda: ops.lstm(x, (h0[0], c0), params),
        ),
        (
            "lstm: params: expected 8 arrays for 2 layers, got 4",
            lambda: ops.lstm(x, (h0.repeat(2, 0), c0.repeat(2, 0)), params, num_layers=2),
        ),
        ("num_layers: expected at least 1, got 0", lambda: ops.lstm(x, (h0, c0), params, True, 0)),
        (
            "dropout: expected 0 to 1, got 1.5",
            lambda: ops.lstm(x, (h0, c0), params, True, 1, 1.5),
        ),
        (
            r"\[lstm_forward\] weight_ih: expected shape \[20, 3\], got \[20, 4\]",
            lambda: ops.lstm(x[..., :3], (h0, c0), params),
        ),
        (
            r"\[lstm_forward\] h0: expected shape \[1, 2, 5\], got \[1, 1, 5\]",
            lambda: ops.lstm(x, (h0[:, :1], c0), params),
        ),
        (
            r"\[lstm_forward\] c0: expected shape \[1, 2, 5\], got \[1, 2, 4\]",
            lambda: ops.lstm(x, (h0, c0[..., :4]), params),
        ),
        (
            r"\[lstm_forward\] weight_hh: expected shape \[20, 5\], got \[15, 5\]",
            lambda: ops.lstm(x, (h0, c0), [params[0], params[1][:15], *params[2:]]),
        ),
        (
            r"\[lstm_forward\] bias_hh: expected shape \[20\], got \[19\]",
            lambda: ops.lstm(x, (h0, c0), [*params[:3], params[3][:19]]),
        ),
        (
            r"\[lstm_forward\] x: expected length, features and units above zero, got 0",
            lambda: ops.lstm(x[:, :0], (h0, c0), params),
        ),
        ("gru_cell: input: expected 2 axes", lambda: ops.gru_cell(x, h0[0], *params[:2])),
        (
            "expected both biases or none, got one",
            lambda: ops.gru_cell(x[0], h0[0], *params[:3]),
        ),
    ]
    for message, call in bad:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="x: expected 3-d float64 array, got 2-d float64"):
        ops.lstm(x[0], (h0, c0), params)
    with pytest.raises(TypeError, match="h0: expected 3-d float64 array, got 3-d float32"):
        ops.lstm(x, (h0.astype(np.float32), c0), params)


def test_every_order_of_arguments_of_the_kernel_is_checked(rng):
    x, h0, _, params = make(rng, "gru", 2, 3, 4, 5)
    y, (h,), gates, extra = _kernels.gru_forward(x, [h0], params, True)
    kept, needs = (y, gates, extra), (True, True)
    arrays = {"dy": y, "dh": h, "y": y, "gates": gates, "extra": extra}
    for name, axis in itertools.product(arrays, range(3)):
        shorter = np.take(arrays[name], range(arrays[name].shape[axis] - 1), axis)
        given = arrays | {name: shorter}
        kept = given["y"], given["gates"], given["extra"]
        with pytest.raises(ValueError, match=rf"\[gru_backward\] {name}: expected shape"):
            _kernels.gru_backward(given["dy"], [given["dh"]], x, [h0], params, kept, True, needs)
