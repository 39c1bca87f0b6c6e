import numpy as np
import pytest

import lamina
from lamina import Tensor, num_threads, ops, set_num_threads
from lamina.testing import check_grads


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_mean(dtype, p):
    lamina.manual_seed(1)
    x = np.ones((400, 500), dtype)
    y = ops.dropout(x, p).data
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / x.size)
    # Rows and columns are as good as independent.
    assert abs(kept.mean(0) - (1 - p)).max() < 6 * np.sqrt(p * (1 - p) / 400)
    assert abs(kept.mean(1) - (1 - p)).max() < 6 * np.sqrt(p * (1 - p) / 500)


def test_the_seed_decides():
    x = np.ones(1000, np.float32)
    lamina.manual_seed(3)
    first, second = ops.dropout(x).data, ops.dropout(x).data
    lamina.manual_seed(3)
    np.testing.assert_array_equal(ops.dropout(x).data, first)
    assert (first != second).any()
    given = [ops.dropout(x, rng=np.random.default_rng(8)).data for _ in range(2)]
    np.testing.assert_array_equal(*given)


def test_same_mask_for_any_number_of_threads_and_any_type():
    x = np.ones(100_003, np.float32)
    before = num_threads()
    masks = []
    for n in (1, 2, 3):
        set_num_threads(n)
        masks.append(ops.dropout(x, 0.3, rng=np.random.default_rng(0)).data)
    set_num_threads(before)
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    double = ops.dropout(x.astype(float), 0.3, rng=np.random.default_rng(0)).data
    np.testing.assert_array_equal(double != 0, masks[0] != 0)


def test_gradients(rng):
    x = Tensor(rng.standard_normal((7, 9)), requires_grad=True)
    check_grads(lambda x: ops.dropout(x, 0.4, rng=np.random.default_rng(2)), x)
    x = Tensor(rng.standard_normal((3, 4, 5)), requires_grad=True)
    check_grads(lambda x: ops.dropout2d(x, 0.4, rng=np.random.default_rng(2)), x)


def test_identity_without_training_or_at_zero(rng):
    x = Tensor(rng.standard_normal((3, 4)))
    assert ops.dropout(x, 0.5, training=False) is x
    assert ops.dropout(x, 0.0) is x


def test_nothing_is_left_at_one_and_dropped_numbers_are_zero_whatever_they_were():
    x = np.array([np.nan, np.inf, 1.0])
    np.testing.assert_array_equal(ops.dropout(x, 1.0).data, np.zeros(3))
    y = ops.dropout(np.full(1000, np.inf, np.float32), 0.5).data
    assert set(y.tolist()) == {0.0, np.inf}


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (17,)])
def test_shapes(shape):
    assert ops.dropout(np.ones(shape)).shape == shape


def test_any_strides(rng):
    x = rng.standard_normal((6, 5)).T
    a, b = (ops.dropout(x, rng=np.random.default_rng(1)).data for x in (x, x.copy()))
    np.testing.assert_array_equal(a, b)


def test_whole_channels():
    y = ops.dropout2d(np.ones((20, 30, 4, 5)), 0.5, rng=np.random.default_rng(0)).data
    sums = y.sum((2, 3))
    assert set(sums.ravel().tolist()) == {0.0, 40.0}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"dropout: p: expected 0 to 1, got 1\.5"):
        ops.dropout(np.ones(2), 1.5)
    with pytest.raises(ValueError, match="dropout: p: expected 0 to 1, got nan"):
        ops.dropout(np.ones(2), float("nan"))
    with pytest.raises(ValueError, match="input: expected at least 3 axes"):
        ops.dropout2d(np.ones((2, 2)))
    with pytest.raises(TypeError, match="input: expected float32 or float64 array, got int64"):
        ops.dropout(np.ones(2, np.int64))


def test_a_seed_is_no_generator():
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, got int"):
        ops.dropout(np.ones(3, np.float32), rng=3)
