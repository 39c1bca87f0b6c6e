import numpy as np
import pytest

from lamina import Tensor, ops
from lamina.testing import check_grads


def softmax_numpy(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("shape", [(1,), (3, 1), (2, 3, 37), (4, 1000), (0, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matches_numpy(rng, shape, dtype):
    x = rng.standard_normal(shape).astype(dtype)
    tol = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(ops.softmax(x).data, softmax_numpy(x), rtol=0, atol=tol)
    expected = np.log(softmax_numpy(x))
    np.testing.assert_allclose(ops.log_softmax(x).data, expected, rtol=5 * tol, atol=5 * tol)


def test_any_axis_and_any_strides(rng):
    x = rng.standard_normal((4, 5, 6)).transpose(2, 0, 1)[::-1]
    for dim in (-3, 0, 1, 2):
        np.testing.assert_allclose(ops.softmax(x, dim).data, softmax_numpy(x, dim), atol=1e-15)


@pytest.mark.parametrize("shape", [(3, 5, 70), (2, 300, 16), (4, 3, 5, 6), (2, 3, 0), (3, 0, 20)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_side_by_side(rng, shape, dtype):
    x = rng.standard_normal(shape).astype(dtype)
    tol = 1e-6 if dtype == np.float32 else 1e-14
    for dim in (0, 1):
        if not x.size:
            assert ops.softmax(x, dim).shape == ops.log_softmax(x, dim).shape == shape
            continue
        y, log = ops.softmax(x, dim).data, ops.log_softmax(x, dim).data
        np.testing.assert_allclose(y, softmax_numpy(x, dim), rtol=0, atol=tol)
        np.testing.assert_allclose(log, np.log(softmax_numpy(x, dim)), rtol=5 * tol, atol=5 * tol)


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax])
def test_gradients_of_columns(rng, op):
    x = Tensor(rng.standard_normal((2, 3, 17)), requires_grad=True)
    check_grads(lambda x: op(x, 1), x)
    check_grads(lambda x: op(x, 0), x)


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax])
def test_gradients(rng, op):
    x = Tensor(rng.standard_normal((3, 4, 5)), requires_grad=True)
    check_grads(op, x)
    check_grads(lambda x: op(x, 0), x)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="softmax: dim: expected -1 to 0, got 3"):
        ops.softmax(np.ones(2), 3)
    with pytest.raises(TypeError, match="x: expected float32 or float64 array, got int64"):
        ops.softmax(np.array([1, 2]))
