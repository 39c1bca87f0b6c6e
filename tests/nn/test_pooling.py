import numpy as np
import pytest

from lamina import nn, ops


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MaxPool1d(3, 2, 1), lambda x: ops.max_pool1d(x[0], 3, 2, 1)),
        (nn.MaxPool2d(3, ceil_mode=True), lambda x: ops.max_pool2d(x, 3, ceil_mode=True)),
        (nn.AvgPool1d(2, padding=1), lambda x: ops.avg_pool1d(x[0], 2, padding=1)),
        (nn.AvgPool2d((3, 2), 1), lambda x: ops.avg_pool2d(x, (3, 2), 1)),
        (nn.AdaptiveAvgPool1d(2), lambda x: ops.adaptive_avg_pool1d(x[0], 2)),
        (nn.AdaptiveAvgPool2d(1), lambda x: ops.adaptive_avg_pool2d(x, 1)),
        (nn.AdaptiveMaxPool2d((2, None)), lambda x: ops.adaptive_max_pool2d(x, (2, None))),
    ],
)
def test_is_the_op(rng, layer, expected):
    x = rng.standard_normal((2, 3, 7, 8))
    got = layer(x[0] if type(layer).__name__.endswith("1d") else x)
    np.testing.assert_array_equal(got.data, expected(x).data)
    assert "size" in repr(layer)


def test_indices(rng):
    x = rng.standard_normal((1, 2, 6, 6))
    y, indices = nn.MaxPool2d(2, return_indices=True)(x)
    assert indices.shape == y.shape
    y, indices = nn.AdaptiveMaxPool2d(3, return_indices=True)(x)
    assert indices.shape == y.shape


def test_bad_options_are_named():
    with pytest.raises(
        ValueError, match="MaxPool2d: padding: expected at most half of kernel_size"
    ):
        nn.MaxPool2d(2, padding=2)
    with pytest.raises(ValueError, match="AvgPool2d: divisor_override: expected at least 1, got 0"):
        nn.AvgPool2d(2, divisor_override=0)
