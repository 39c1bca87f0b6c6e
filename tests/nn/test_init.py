import math

import numpy as np
import pytest

from lamina import Tensor
from lamina.nn import init


def filled(function, *args, shape=(400, 300), **kwargs):
    return function(Tensor(np.empty(shape)), *args, **kwargs).data


def truncated_quantiles(mean, std, a, b, at):
    """Quantiles of the truncated normal, by summing its density over a fine grid."""
    low, high = max(a, mean - 12 * std), min(b, mean + 12 * std)
    if low > mean:
        high = min(high, low + 12 * std)
    if a > high or a >= mean + 12 * std:
        low, high = a, min(b, a + 12 * std)
    x = np.linspace(low, high, 200_001)
    nearest = min(max(mean, low), high)
    density = np.exp((nearest - mean) ** 2 / (2 * std**2) - (x - mean) ** 2 / (2 * std**2))
    return np.interp(at, np.cumsum(density) / density.sum(), x)


BOUNDS = [
    (0.0, 1.0, -2.0, 2.0),
    (0.0, 1.0, -0.1, 0.1),
    (0.0, 1.0, 0.05, 0.4),
    (0.0, 1.0, 1.0, math.inf),
    (3.0, 0.5, 4.5, 4.6),
    (0.0, 1.0, 100.0, 101.0),
]


@pytest.mark.parametrize(("mean", "std", "a", "b"), BOUNDS)
def test_truncated_normal_has_its_quantiles(rng, mean, std, a, b):
    at = [0.05, 0.25, 0.5, 0.75, 0.95]
    expected = truncated_quantiles(mean, std, a, b, at)
    x = filled(init.trunc_normal_, mean, std, a, b, rng=rng)
    assert x.min() >= a
    assert x.max() <= b
    np.testing.assert_allclose(np.quantile(x, at), expected, atol=0.03 * x.std(), rtol=0)
    # The mirror image takes the same path below the mean.
    x = filled(init.trunc_normal_, -mean, std, -b, -a, rng=rng)
    np.testing.assert_allclose(np.quantile(-x, at), expected, atol=0.03 * x.std(), rtol=0)


def test_truncated_normal_without_spread_lies_next_to_the_mean():
    for mean, std, expected in [(0, 0, 100), (100.5, 0, 100.5), (200, 0, 101), (0, 1e-320, 100)]:
        np.testing.assert_array_equal(filled(init.trunc_normal_, mean, std, 100, 101), expected)


def test_kaiming_modes_and_gains(rng):
    normal = filled(init.kaiming_normal_, mode="fan_out", nonlinearity="relu", rng=rng)
    assert normal.std() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    uniform = filled(init.kaiming_uniform_, math.sqrt(5), "fan_in", "leaky_relu", rng=rng)
    assert abs(uniform).max() == pytest.approx(1 / math.sqrt(300), rel=0.01)
    assert init.calculate_gain("selu") == 0.75
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(1.3867504905630728)
    assert init.calculate_gain("leaky_relu") == pytest.approx(1.4141428569978354)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_empty_tensors_stay_empty(shape):
    for function in (
        init.kaiming_uniform_,
        init.kaiming_normal_,
        init.xavier_uniform_,
        init.xavier_normal_,
        init.orthogonal_,
        init.trunc_normal_,
        init.eye_,
    ):
        assert filled(function, shape=shape).shape == shape
    assert filled(init.dirac_, shape=(*shape, 1)).shape == (*shape, 1)


def test_identities():
    np.testing.assert_array_equal(filled(init.eye_, shape=(2, 3)), np.eye(2, 3))
    kernel = filled(init.dirac_, shape=(3, 2, 3))
    x = np.arange(8.0).reshape(1, 2, 4)
    passed = np.stack(
        [np.convolve(row, tap[::-1], "same") for row, tap in zip(x[0], kernel[0], strict=True)]
    )
    np.testing.assert_array_equal(passed[0], x[0, 0])
    grouped = filled(init.dirac_, 2, shape=(6, 2, 1, 3))
    assert [tuple(place) for place in np.argwhere(grouped)] == [
        (0, 0, 0, 1),
        (1, 1, 0, 1),
        (3, 0, 0, 1),
        (4, 1, 0, 1),
    ]


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="trunc_normal_: expected a < b, got 2 and 1"):
        filled(init.trunc_normal_, 0, 1, 2, 1)
    with pytest.raises(ValueError, match="finite std of at least 0, got 0 and -1"):
        filled(init.trunc_normal_, 0, -1, 1, 2)
    with pytest.raises(ValueError, match="finite mean and a finite std"):
        filled(init.trunc_normal_, math.nan, 1, 1, 2)
    with pytest.raises(ValueError, match="kaiming_normal_: mode: expected 'fan_in' or 'fan_out'"):
        filled(init.kaiming_normal_, mode="fan")
    with pytest.raises(ValueError, match="calculate_gain: nonlinearity: expected one of"):
        init.calculate_gain("sine")
    with pytest.raises(
        ValueError, match=r"orthogonal_: tensor: expected at least 2 axes, got \(\)"
    ):
        filled(init.orthogonal_, shape=())
    with pytest.raises(ValueError, match="eye_: tensor: expected 2 axes"):
        filled(init.eye_, shape=(3,))
    with pytest.raises(ValueError, match="dirac_: tensor: expected 3 to 5 axes"):
        filled(init.dirac_, shape=(3, 3))
    with pytest.raises(ValueError, match="dirac_: groups: expected a divisor of 3 channels, got 2"):
        filled(init.dirac_, 2, shape=(3, 3, 1))
