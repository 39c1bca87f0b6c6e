import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lamina
from lamina import Tensor, _kernels, ops
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


def stable_order(x, dim, descending):
    """What keeps equal ones in their order both ways, with NaN above all."""
    if not descending:
        return np.argsort(x, dim, kind="stable")
    backwards = np.argsort(np.flip(x, dim), dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(backwards, dim)


ARRAYS = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40),
        elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40])
        | st.floats(width=32),
    )
)


@settings(deadline=None)
@given(ARRAYS, st.data())
def test_orders_are_stable_sorts(x, data):
    x = x if data.draw(st.booleans()) else x.T
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    k = data.draw(st.integers(0, x.shape[dim]))
    for descending in (False, True):
        order = stable_order(x, dim, descending)
        np.testing.assert_array_equal(Tensor(x).argsort(dim, descending).data, order)
        for count, found in (
            (x.shape[dim], ops.sort(x, dim, descending)),
            (k, ops.topk(x, k, dim, descending)),
        ):
            first = np.take(order, range(count), dim)
            assert found.indices.dtype == np.int64
            np.testing.assert_array_equal(found.indices.data, first)
            # Bit by bit, so that signs of zeros count.
            values = np.take_along_axis(x, first, dim)
            assert found.values.dtype == x.dtype
            assert found.values.shape == values.shape
            assert found.values.data.tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 50, 3000, 9000])
def test_the_first_of_long_rows(rng, dtype, k):
    x = rng.standard_normal((3, 10_000)).astype(dtype).round(3)
    x[1] = np.sort(x[1])
    x[2, rng.integers(0, 10_000, 100)] = np.nan
    for largest in (False, True):
        found = ops.topk(x, k, 1, largest)
        order = stable_order(x, 1, largest)[:, :k]
        np.testing.assert_array_equal(found.indices.data, order)
        np.testing.assert_array_equal(found.values.data, np.take_along_axis(x, order, 1))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_gradients_go_to_where_elements_were(rng, dim):
    def leaf():
        return Tensor(rng.permutation(60).reshape(3, 4, 5) / 7.0, requires_grad=True)

    weights = np.arange(1, 61.0).reshape(3, 4, 5)
    top = np.take(weights, range(2), dim)
    check_grads(lambda x: x.sort(dim, True).values * weights, leaf())
    check_grads(lambda x: x.topk(2, dim).values * top, leaf())
    check_grads(lambda x: x.max(dim, keepdim=True).values * top.min(), leaf())
    x = leaf()
    found = x.topk(2, dim)
    order = found.indices.data.copy()
    # They are the caller's.
    found.indices.data[...] = 0
    found.values.backward(top)
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, order, top, dim)
    np.testing.assert_array_equal(x.grad, expected)


def test_orders_of_nothing():
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3)):
        for dim in range(len(shape)):
            x = Tensor(np.zeros(shape, np.float32), requires_grad=True)
            values, indices = x.sort(dim)
            assert values.shape == indices.shape == shape
            values.sum().backward()
            assert x.grad.shape == shape
            assert x.topk(0, dim).values.shape[dim] == 0
    x = Tensor(2.0, requires_grad=True)
    for found in (x.sort(), x.topk(1), x.topk(0)):
        assert (found.values.shape, found.indices.item()) == ((), 0)
        found.values.backward()
    assert x.grad == 3


def test_arguments_of_the_kernel_are_named():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"\[order_top\] k: expected at most 3, .* got 4"):
        _kernels.order_top(x, 4, True)
    with pytest.raises(ValueError, match="x: expected at least one axis, got none"):
        _kernels.order_top(np.asarray(1.0), 1, True)
    with pytest.raises(ValueError, match="x: expected at least 2 axes, got 1"):
        _kernels.triangle(x[0], 0, True)
    index = np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match=r"index: expected \[2, 3\] .* axes 0 to 1, got \[3, 2\]"):
        _kernels.gather_forward(x, 0, index.reshape(3, 2))
    with pytest.raises(ValueError, match=r"index: expected \[2, 3\] .*, got \[2, 3, 1\]"):
        _kernels.gather_forward(x, 0, index[..., None])
    with pytest.raises(ValueError, match="axes: expected a range of 2 axes, got 2 to 3"):
        _kernels.gather_forward(x, 2, index)
    with pytest.raises(ValueError, match=r"dy: expected \[2, 3\] .*, got \[1, 6\]"):
        _kernels.gather_backward(x.reshape(1, 6), 0, index, 4)
    with pytest.raises(TypeError, match="x: expected float32 or float64 array, got int64"):
        _kernels.order_top(x.astype(np.int64), 1, True)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("ids", [np.int64, np.int32, np.uint8])
def test_gather_along_any_axis(rng, dtype, ids):
    x = rng.integers(-9, 9, (3, 4, 5)).astype(dtype).transpose(1, 0, 2)
    for dim, n in enumerate(x.shape):
        for count in (0, 1, 7):
            index = rng.integers(0, n, (*x.shape[:dim], count, *x.shape[dim + 1 :])).astype(ids)
            expected = np.take_along_axis(x, index.astype(np.int64), dim)
            y = ops.gather(x, dim, index)
            np.testing.assert_array_equal(y.data, expected)
            assert y.dtype == dtype
    for bad in (-1, 4):
        with pytest.raises(IndexError, match=f"gather: index: expected 0 to 3, got .*{bad}"):
            ops.gather(x, 0, np.full((1, 3, 5), bad))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_gradients_of_gather_add_up(rng, dim):
    x = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    shape = list(x.shape)
    shape[dim] = 6
    index = rng.integers(0, x.shape[dim], shape)
    check_grads(lambda x: ops.gather(x, dim, index), x)
    # What the caller does to the index later is no matter.
    x = Tensor(x.data, requires_grad=True)
    y = ops.gather(x, dim, index)
    expected = np.zeros(x.shape)
    for place in np.ndindex(*shape):
        to = list(place)
        to[dim] = index[place]
        expected[tuple(to)] += 1
    index[:] = 0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, expected)


def test_triangles_of_any_shape_and_type(rng):
    for shape in [(1, 1), (5, 2, 3, 7), (2, 0, 3), (3, 0), (2, 40, 30)]:
        for dtype in (np.float32, np.float64, np.int64):
            x = rng.integers(1, 9, shape).astype(dtype)[..., ::-1]
            for k in (-100, -3, 0, 2, 100):
                np.testing.assert_array_equal(ops.tril(x, k).data, np.tril(x, k))
                np.testing.assert_array_equal(ops.triu(x, k).data, np.triu(x, k))
    x = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    check_grads(lambda x: ops.tril(x, 1), x)
    check_grads(lambda x: ops.triu(x, -(10**30)), x)


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
