import numpy as np
import pytest

from lamina import generation, models, ops
from lamina.testing import check_grads

CELLS = ["rnn", "lstm", "gru"]


def make(rng, **options):
    sizes = {"vocab_size": 7, "dim": 4, "hidden": 5, "num_layers": 2}
    return models.RecurrentLM(models.RecurrentConfig(**{**sizes, **options}), rng=rng)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrent_numpy(model, ids):
    """Textbook forward pass, one token at a time, in float64."""
    state = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    cell = model.config.cell
    x = state["encoder.weight"][ids]
    for layer in range(model.config.num_layers):
        w_ih, w_hh, b_ih, b_hh = (
            state[f"rnn.{name}_l{layer}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h = c = np.zeros((len(ids), model.config.hidden))
        outputs = []
        for t in range(ids.shape[1]):
            a, b = x[:, t] @ w_ih.T + b_ih, h @ w_hh.T + b_hh
            if cell == "rnn":
                h = np.tanh(a + b)
            elif cell == "lstm":
                i, f, g, o = np.split(a + b, 4, axis=-1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                (ra, za, na), (rb, zb, nb) = np.split(a, 3, axis=-1), np.split(b, 3, axis=-1)
                n = np.tanh(na + sigmoid(ra + rb) * nb)
                z = sigmoid(za + zb)
                h = (1 - z) * n + z * h
            outputs.append(h)
        x = np.stack(outputs, axis=1)
    return x @ state["decoder.weight"].T + state["decoder.bias"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 6)])
def test_matches_numpy(rng, cell, rows, length):
    model = make(rng, cell=cell)
    ids = rng.integers(0, 7, (rows, length))
    np.testing.assert_allclose(model(ids).data, recurrent_numpy(model, ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients(rng, cell):
    model = make(rng, cell=cell, dim=3, hidden=3, vocab_size=4, tie_weights=True).double()
    ids, targets = rng.integers(0, 4, (2, 2, 3))

    def loss(*_):
        return ops.cross_entropy(model(ids).reshape(-1, 4), targets.reshape(-1))

    check_grads(loss, *model.parameters())


def test_weights_are_tied(rng):
    model = make(rng, hidden=4, tie_weights=True)
    assert model.decoder.weight is model.encoder.weight
    assert model.num_parameters() + 7 * 4 == make(rng, hidden=4).num_parameters()


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_carries_the_text(rng, cell):
    model = make(rng, cell=cell)
    ids = rng.integers(0, 7, (2, 9))
    expected = model(ids).data
    first, state = model.step(ids[:, :4])
    rest, state = model.step(ids[:, 4:8], state)
    last, _ = model.step(ids[:, 8:], state, last_only=True)
    logits = np.concatenate([first.data, rest.data, last.data], axis=1)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_cached_generation_equals_uncached(rng, cell):
    model = make(rng, cell=cell)
    expected = generation.generate(
        lambda ids: model(ids).data[:, -1], [[1, 2]], rng=np.random.default_rng(1)
    )
    ids = model.generate([[1, 2]], rng=np.random.default_rng(1))
    np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"cell": "tree"},
            ValueError,
            "RecurrentConfig: cell: expected one of rnn, lstm, gru, got",
        ),
        ({"hidden": -1}, ValueError, "RecurrentConfig: hidden: expected an integer from 1"),
        ({"tie_weights": True}, ValueError, r"hidden: expected dim \(4\) with tied weights, got 5"),
        ({"dropout": float("nan")}, ValueError, "dropout: expected a number in .* got nan"),
    ],
)
def test_bad_sizes_are_named(rng, options, error, message):
    with pytest.raises(error, match=message):
        make(rng, **options)


def test_bad_ids_are_named(rng):
    with pytest.raises(ValueError, match=r"RecurrentLM: ids: expected integers \[N, L\]"):
        make(rng)(np.zeros((0,), int))
