import numpy as np
import pytest

from lamina import nn


def test_initial_values(rng):
    layer = nn.Embedding(400, 50, padding_idx=-1, rng=rng)
    weight = layer.weight.data
    assert weight.dtype == np.float32
    assert abs(weight.mean()) < 0.05
    assert abs(weight.std() - 1) < 0.05
    assert layer.padding_idx == 399
    assert not weight[399].any()
    assert list(layer.state_dict()) == ["weight"]
    assert repr(layer) == "Embedding(400, 50, padding_idx=399)"
    same = nn.Embedding(400, 50, padding_idx=-1, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(same.weight.data, weight)


def test_rows_and_gradient(rng):
    layer = nn.Embedding(5, 3, padding_idx=0, rng=rng)
    ids = np.array([[0, 1, 1], [4, 0, 2]])
    y = layer(ids)
    np.testing.assert_array_equal(y.data, layer.weight.data[ids])
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [0, 2, 1, 0, 1])


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="Embedding: sizes must be positive, got 0, 3"):
        nn.Embedding(0, 3)
    with pytest.raises(ValueError, match="padding_idx: expected -4 to 3, got 4"):
        nn.Embedding(4, 3, padding_idx=4)
