import numpy as np
import pytest

import lamina
from lamina import Tensor, ops
from lamina.testing import check_grads

X = np.arange(24.0).reshape(2, 3, 4)
MASK = np.array([True, False, True])
# Indices and what PyTorch gives for them, written with axes one after the other.
MIXED = {
    "apart": ((0, slice(None), [0, 1]), X[0][:, [0, 1]]),
    "new_axis": ((1, None, [0, 2]), X[1][None, [0, 2]]),
    "mask": ((-1, None, MASK), X[-1][None, MASK]),
    "behind": ((slice(None), [0, 1], 1), X[:, :, 1][:, [0, 1]]),
    "between": (([0, 1], 0, [1, 2]), X[:, 0][[0, 1], [1, 2]]),
    "ellipsis": ((..., 0, [0, 1, 1]), X[:, 0][:, [0, 1, 1]]),
    "numpy_integer": ((np.int64(1), slice(None), [0, 0]), X[1][:, [0, 0]]),
    "tensor_integer": ((Tensor(1), slice(None), Tensor([0, 0])), X[1][:, [0, 0]]),
    "arrays_apart": (([0, 1], slice(None), [0, 1]), X[[0, 1], :, [0, 1]]),
    "mask_of_two": ((np.ones((2, 3), bool), 0), X[..., 0].reshape(-1)),
    "empty": ([], X[:0]),
    "list": ([1, 1, 0], X[[1, 1, 0]]),
}


@pytest.mark.parametrize("name", MIXED)
def test_integers_are_applied_first(name):
    index, expected = MIXED[name]
    np.testing.assert_array_equal(Tensor(X)[index].data, expected)
    check_grads(lambda x: x[index] * 2, Tensor(X.copy(), requires_grad=True))
    x = Tensor(X.copy())
    x[index] = -1
    assert (x.data == -1).sum() == np.unique(expected).size


def test_bad_indices_are_named():
    x = Tensor(X)
    with pytest.raises(IndexError, match="index: expected at most 3 axes, got 4"):
        x[0, 0, 0, [0]]
    with pytest.raises(IndexError, match="index 5 is out of bounds"):
        x[5, [0]]
    with pytest.raises(IndexError, match="must be of integer"):
        x[[0.5]]


def test_assignment():
    x = Tensor(np.zeros((2, 3)))
    x[0, [0, 2]] = Tensor([1.0, 2.0])
    x[1:] = 7
    x[x == 7] = 8
    np.testing.assert_array_equal(x.data, [[1, 0, 2], [8, 8, 8]])
    w = Tensor(np.zeros(2), requires_grad=True)
    for target, value in ((w, 1), (w * 1, 1), (x, (w * 1).sum())):
        with pytest.raises(RuntimeError, match="requires a gradient cannot be assigned to"):
            target[0] = value
    computed = w * 1
    with lamina.no_grad():
        w[0] = 3
        with pytest.raises(RuntimeError, match="requires a gradient cannot be assigned to"):
            computed[0] = 3
    np.testing.assert_array_equal(w.data, [3, 0])
    with pytest.raises(ValueError, match="read-only"):
        Tensor(np.zeros(1)).expand(3)[0] = 1


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_orders_match_numpy(rng, dtype, dim):
    x = rng.integers(0, 4, (5, 4, 6)).astype(dtype)
    for descending in (False, True):
        # Equal ones keep their order, which the second key sees to.
        key = -x.astype(float) if descending else x.astype(float)
        order = np.argsort(key, dim, kind="stable")
        values, indices = ops.sort(x, dim, descending)
        np.testing.assert_array_equal(indices.data, order)
        np.testing.assert_array_equal(values.data, np.take_along_axis(x, order, dim))
        assert values.dtype == dtype
        np.testing.assert_array_equal(Tensor(x).argsort(dim, descending).data, order)
        top = Tensor(x).topk(np.int64(3), dim, descending)
        np.testing.assert_array_equal(top.indices.data, np.take(order, range(3), dim))
        np.testing.assert_array_equal(top.values.data, np.take(values.data, range(3), dim))


def test_nan_is_the_largest():
    x = Tensor([1.0, np.nan, 3.0])
    np.testing.assert_array_equal(x.sort().indices.data, [0, 2, 1])
    np.testing.assert_array_equal(x.sort(descending=True).indices.data, [1, 2, 0])
    assert ops.sort(2.0).values.shape == ()
    with pytest.raises(ValueError, match="topk: k: expected 0 to 3, got 4"):
        x.topk(4)


def test_gather(rng):
    x = rng.standard_normal((3, 4, 5))
    index = rng.integers(0, 4, (2, 6, 5))
    expected = np.take_along_axis(x[:2], index, 1)
    np.testing.assert_array_equal(Tensor(x).gather(1, index).data, expected)
    with pytest.raises(IndexError, match="gather: index: expected 0 to 3, got -1 to 0"):
        ops.gather(x, 1, [[[-1, 0]]])
    with pytest.raises(ValueError, match=r"expected a shape within \(3, 4, 5\), got \(4, 1, 1\)"):
        ops.gather(x, 1, np.zeros((4, 1, 1), int))
    with pytest.raises(TypeError, match="gather: index: expected integers, got float64 array"):
        ops.gather(x, 1, np.zeros((1, 1, 1)))


def test_masks_and_triangles(rng):
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    y = Tensor(x).masked_fill(x > 0, -1)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, np.where(x > 0, np.float32(-1), x))
    for k in (-2, 0, 1):
        np.testing.assert_array_equal(ops.tril(x, k).data, np.tril(x, k))
        np.testing.assert_array_equal(ops.triu(x, k).data, np.triu(x, k))
    assert ops.tril(x).dtype == np.float32
    with pytest.raises(ValueError, match="tril: input: expected at least 2 axes"):
        ops.tril(np.ones(3))
