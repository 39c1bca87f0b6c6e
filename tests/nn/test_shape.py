import numpy as np
import pytest

from lamina import nn, ops


def test_flatten():
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.reshape(2, 12))
    np.testing.assert_array_equal(nn.Flatten(0, 1)(x).data, x.reshape(6, 4))
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"


def test_unflatten():
    x = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(nn.Unflatten(1, (3, -1))(x).data, x.reshape(2, 3, 4))
    np.testing.assert_array_equal(nn.Unflatten(-2, [2, 1])(x).data, x.reshape(2, 1, 12))
    assert repr(nn.Unflatten(1, (3, 4))) == "Unflatten(dim=1, unflattened_size=(3, 4))"
    with pytest.raises(ValueError, match="Unflatten: unflattened_size: expected lengths"):
        nn.Unflatten(1, ())
    with pytest.raises(ValueError, match=r"Unflatten: dim: expected an axis of \(2, 12\), got 2"):
        nn.Unflatten(2, (3, 4))(x)


def test_zero_pad():
    x = np.ones((1, 2, 3))
    assert nn.ZeroPad2d(1)(x).shape == (1, 4, 5)
    expected = np.pad(x, [(0, 0), (3, 0), (1, 2)])
    np.testing.assert_array_equal(nn.ZeroPad2d((1, 2, 3, 0))(x).data, expected)
    assert repr(nn.ZeroPad2d(2)) == "ZeroPad2d((2, 2, 2, 2))"
    with pytest.raises(ValueError, match="ZeroPad2d: padding: expected 1 or 4 numbers"):
        nn.ZeroPad2d((1, 2))


def test_upsample(rng):
    x = rng.standard_normal((1, 2, 3, 4))
    layer = nn.Upsample(scale_factor=2)
    np.testing.assert_array_equal(layer(x).data, ops.interpolate(x, scale_factor=2).data)
    layer = nn.Upsample((5, 6), mode="bilinear", align_corners=True)
    expected = ops.interpolate(x, (5, 6), None, "bilinear", True)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    assert repr(layer) == "Upsample(size=(5, 6), mode='bilinear')"
    with pytest.raises(ValueError, match="Upsample: expected size or scale_factor, not both"):
        nn.Upsample()
    with pytest.raises(ValueError, match="Upsample: mode: expected 'nearest', 'linear' or 'bilin"):
        nn.Upsample(2, mode="cubic")


def test_cosine_similarity(rng):
    a, b = rng.standard_normal((2, 3, 4))
    layer = nn.CosineSimilarity(dim=0)
    np.testing.assert_array_equal(layer(a, b).data, ops.cosine_similarity(a, b, 0).data)
    assert repr(layer) == "CosineSimilarity(dim=0, eps=1e-08)"
