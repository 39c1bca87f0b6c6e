import itertools

import numpy as np
import pytest

from lamina import Tensor, nn, no_grad, ops, optim
from lamina.testing import check_grads


def scores(emissions, start, end, pairs):
    """Score of every labelling of one sequence ``[L, C]``."""
    length, tags = emissions.shape
    found = {}
    for y in itertools.product(range(tags), repeat=length):
        score = start[y[0]] + end[y[-1]]
        score += sum(emissions[t, tag] for t, tag in enumerate(y))
        found[y] = score + sum(pairs[a, b] for a, b in itertools.pairwise(y))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tags", [1, 2, 5])
def test_likelihood_and_decoding_equal_brute_force(rng, tags, dtype):
    x = rng.standard_normal((3, 4, tags)).astype(dtype)
    start, end = rng.standard_normal((2, tags)).astype(dtype)
    pairs = rng.standard_normal((tags, tags)).astype(dtype)
    y = rng.integers(0, tags, (3, 4))
    lengths = [4, 1, 3]
    mask = np.arange(4) < np.array(lengths)[:, None]
    got = ops.crf_log_likelihood(x, y, start, end, pairs, mask)
    assert got.dtype == dtype
    layer = nn.CRF(tags)
    for name, value in (("start_transitions", start), ("end_transitions", end)):
        getattr(layer, name).data = value
    layer.transitions.data = pairs
    best = layer.decode(x, mask)
    for n, length in enumerate(lengths):
        every = scores(x[n, :length].astype(float), start, end, pairs)
        expected = every[tuple(y[n, :length])] - np.logaddexp.reduce(list(every.values()))
        assert got.data[n] == pytest.approx(expected, rel=1e-6 if dtype == np.float32 else 1e-12)
        assert every[tuple(best[n])] == pytest.approx(max(every.values()), rel=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "token_mean"])
def test_gradients(rng, reduction):
    layer = nn.CRF(3, rng=rng)
    for parameter in layer.parameters():
        parameter.data = parameter.data.astype(np.float64)
    x = Tensor(rng.standard_normal((3, 4, 3)), requires_grad=True)
    y = rng.integers(0, 3, (3, 4))
    mask = np.arange(4) < np.array([4, 1, 2])[:, None]
    check_grads(lambda x, *_: layer(x, y, mask, reduction), x, *layer.parameters())


def test_reductions_and_layout(rng):
    layer = nn.CRF(4, rng=rng)
    x = rng.standard_normal((2, 5, 4)).astype(np.float32)
    y = rng.integers(0, 4, (2, 5))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], np.uint8)
    each = layer(x, y, mask, "none").data
    assert layer(x, y, mask).item() == pytest.approx(each.sum(), rel=1e-6)
    assert layer(x, y, mask, "mean").item() == pytest.approx(each.mean(), rel=1e-6)
    assert layer(x, y, mask, "token_mean").item() == pytest.approx(each.sum() / 7, rel=1e-6)
    turned = nn.CRF(4, batch_first=False)
    turned.load_state_dict(layer.state_dict())
    steps = x.transpose(1, 0, 2), y.T, mask.T
    np.testing.assert_array_equal(turned(*steps, "none").data, each)
    assert turned.decode(steps[0], steps[2]) == layer.decode(x, mask)
    assert set(layer.state_dict()) == {"start_transitions", "end_transitions", "transitions"}
    with no_grad():
        np.testing.assert_array_equal(layer(x, y, mask, "none").data, each)


def test_empty_batches_and_sequences(rng):
    layer = nn.CRF(3, rng=rng)
    x = rng.standard_normal((2, 3, 3)).astype(np.float32)
    mask = np.array([[0, 0, 0], [1, 0, 0]])
    x = Tensor(x, requires_grad=True)
    values = layer(x, np.zeros((2, 3), int), mask, "none")
    assert values.data[0] == 0
    values.sum().backward()
    assert (x.grad[0] == 0).all()
    assert layer.decode(x, mask)[0] == []
    assert layer(np.zeros((0, 3, 3), np.float32), np.zeros((0, 3), int)).item() == 0
    assert layer.decode(np.zeros((0, 3, 3), np.float32)) == []


def test_it_learns_which_tag_follows(rng):
    # Emissions say nothing; tags alternate.
    layer = nn.CRF(2, rng=rng)
    optimizer = optim.Adam(layer.parameters(), lr=0.1)
    x, y = np.zeros((4, 6, 2), np.float32), np.tile([0, 1, 0, 1, 0, 1], (4, 1))
    for _ in range(40):
        optimizer.zero_grad()
        (-layer(x, y, reduction="mean")).backward()
        optimizer.step()
    assert layer.decode(x)[0] == [0, 1, 0, 1, 0, 1]


def test_bad_input_is_named(rng):
    layer = nn.CRF(3, rng=rng)
    x, y = np.zeros((2, 4, 3), np.float32), np.zeros((2, 4), int)
    with pytest.raises(ValueError, match="num_tags: expected a positive number, got 0"):
        nn.CRF(0)
    with pytest.raises(ValueError, match="reduction: expected one of none"):
        layer(x, y, reduction="all")
    with pytest.raises(ValueError, match="emissions: expected 3 tags, got 2"):
        layer(x[..., :2], y)
    with pytest.raises(ValueError, match="emissions: expected 3 axes, got 2"):
        layer(x[0], y)
    with pytest.raises(ValueError, match=r"tags: expected shape \[2, 4\], got \[2, 3\]"):
        layer(x, y[:, :3])
    with pytest.raises(ValueError, match="tags: expected 0 to 2, got 3 in sequence 1"):
        layer(x, y + np.array([[0], [3]]))
    with pytest.raises(TypeError, match="tags: expected integers, got float64"):
        layer(x, y * 1.0)
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 4\), got \(2, 3\)"):
        layer(x, y, np.ones((2, 3)))
    with pytest.raises(ValueError, match="mask: expected the items of a sequence before"):
        layer(x, y, np.array([[1, 0, 1, 1]] * 2))
