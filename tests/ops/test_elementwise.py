import numpy as np
import pytest

from lamina import Tensor, ops

REFERENCES = {"abs": np.abs, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("shape", [(), (7,), (3, 5, 2), (0,), (150, 150)])
def test_matches_numpy(rng, name, shape):
    x = np.asarray(rng.random(shape))
    for dtype in (np.float32, np.float64):
        for y in (getattr(ops, name)(x.astype(dtype)), getattr(Tensor(x.astype(dtype)), name)()):
            assert y.dtype == dtype
            assert y.shape == shape
            np.testing.assert_allclose(y.data, REFERENCES[name](x.astype(dtype)), rtol=1e-6)


@pytest.mark.parametrize("name", ["sqrt", "sin", "cos", "exp", "log", "tanh", "sigmoid"])
def test_integers_become_single(name):
    for dtype in (np.int64, np.uint8, bool):
        x = np.array([1, 1], dtype)
        y = getattr(Tensor(x), name)()
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.data, getattr(ops, name)(x.astype(np.float32)).data)


def test_integers_are_clamped_by_integers_and_by_floats():
    x = Tensor([1, 5])
    assert x.clamp(2).dtype == np.int64
    np.testing.assert_array_equal(x.clamp(max=2.5).data, np.array([1, 2.5], np.float32))
    assert x.clamp(max=2.5).dtype == np.float32


def test_outside_their_range_they_are_nan_without_a_warning():
    for y in (ops.sqrt([-1.0]), ops.sin([np.inf]), ops.cos([np.inf])):
        assert np.isnan(y.data).all()


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_turns_near_and_far_side_by_side(name):
    exact = getattr(np, name)
    near = np.linspace(-8200, 8200, 4001).astype(np.float32)
    mixed = np.array([0.5, 1e8, -3.0, 3e38, 8191.99, -8192.01, 1e-40, np.nan, -1e5], np.float32)
    for x in (near, mixed, mixed[::-1].copy(), mixed[:1]):
        y = getattr(ops, name)(x).data
        np.testing.assert_allclose(y, exact(x.astype(np.float64)), rtol=3e-7, atol=1e-44)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays_and_single_numbers(rng, dtype):
    x = rng.standard_normal((130, 129)).astype(dtype)
    a, number = Tensor(x), x.dtype.type(3)
    for got, expected in [
        (a + 3, x + number),
        (3 + a, x + number),
        (a - 3, x - number),
        (3 - a, number - x),
        (a * 3, x * number),
        (3 * a, x * number),
        (a / 3, x / number),
        (3 / a, number / x),
        (a / Tensor(np.abs(x) + 1), x / (np.abs(x) + 1)),
        (a / Tensor(x[0]), x / x[0]),
    ]:
        assert got.dtype == dtype
        np.testing.assert_array_equal(got.data, expected)
    assert np.isinf((a / 0).data).all()
