import numpy as np

from lamina import nn


def test_flatten():
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.reshape(2, 12))
    np.testing.assert_array_equal(nn.Flatten(0, 1)(x).data, x.reshape(6, 4))
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"
