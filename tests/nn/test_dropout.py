import numpy as np
import pytest

import lamina
from lamina import Tensor, nn


def test_training_drops_and_evaluation_does_not():
    lamina.manual_seed(0)
    layer = nn.Dropout(0.25)
    x = Tensor(np.ones((100, 100), np.float32))
    assert 0.2 < (layer(x).data == 0).mean() < 0.3
    assert layer.eval()(x) is x
    assert repr(layer) == "Dropout(p=0.25)"


def test_a_given_source_is_used():
    x = Tensor(np.ones(50))
    a, b = (nn.Dropout(rng=np.random.default_rng(4))(x).data for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_whole_channels():
    x = Tensor(np.ones((8, 16, 3, 3)))
    layer = nn.Dropout2d(0.5, rng=np.random.default_rng(0))
    assert set(layer(x).data.sum((2, 3)).ravel().tolist()) == {0.0, 18.0}
    assert layer.eval()(x) is x


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"Dropout: p: expected 0 to 1, got -0\.1"):
        nn.Dropout(-0.1)
    with pytest.raises(ValueError, match="Dropout2d: p: expected 0 to 1, got 2"):
        nn.Dropout2d(2)
