import warnings

import numpy as np
import pytest

from lamina import Tensor, ops
from lamina.testing import check_grads

REFERENCES = {
    "sum": np.sum,
    "mean": np.mean,
    "amax": np.max,
    "amin": np.min,
    "var": lambda x, axis, keepdims: np.var(x, axis, ddof=1, keepdims=keepdims),
    "std": lambda x, axis, keepdims: np.std(x, axis, ddof=1, keepdims=keepdims),
    "norm": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
    "logsumexp": lambda x, axis, keepdims: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)),
}
REDUCTIONS = pytest.mark.parametrize("name", REFERENCES)


@REDUCTIONS
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2), [1, -1], np.int64(1)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_matches_numpy(rng, name, dim, keepdim):
    x = rng.standard_normal((3, 4, 5)).transpose(2, 0, 1)
    axis = tuple(dim) if isinstance(dim, list) else dim
    expected = REFERENCES[name](x, axis=axis, keepdims=keepdim)
    y = getattr(ops, name)(x, dim=dim, keepdim=keepdim)
    np.testing.assert_allclose(y.data, expected, rtol=1e-13)
    single = getattr(Tensor(x.astype(np.float32)), name)(dim=dim, keepdim=keepdim)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.data, expected, rtol=1e-5)
    function = getattr(ops, name)
    check_grads(lambda x: function(x, dim=dim, keepdim=keepdim), Tensor(x, requires_grad=True))


@pytest.mark.parametrize("dim", [None, 0, 1, 2, -1, (0, 1), (1, 2), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(3, 700, 33), (20000, 1, 2), (1, 3, 9000)])
def test_sums_of_large_arrays_match_numpy(rng, dim, shape):
    x = rng.standard_normal(shape)
    for keepdim in (False, True):
        expected = x.sum(axis=dim, keepdims=keepdim)
        y = ops.sum(x, dim, keepdim)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y.data, expected, rtol=1e-10, atol=1e-10)
        single = ops.sum(x.astype(np.float32), dim, keepdim).data
        np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-3)
    across = x.transpose(2, 0, 1)
    np.testing.assert_allclose(ops.sum(across, dim).data, across.sum(dim), rtol=1e-10, atol=1e-10)


# Large enough for the kernels, in every position of the reduced axes.
LARGE = pytest.mark.parametrize("shape", [(3, 700, 33), (20000, 1, 2), (1, 3, 9000)])


# NumPy warns of the variance of one number.
@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:invalid value")
@LARGE
@REDUCTIONS
@pytest.mark.parametrize("dim", [None, 0, 1, -1, (0, 1), (1, 2), (0, 2)])
def test_reductions_of_large_arrays_match_numpy(rng, name, dim, shape):
    x = rng.standard_normal(shape)
    function = getattr(ops, name)
    for keepdim in (False, True):
        expected = REFERENCES[name](x, axis=dim, keepdims=keepdim)
        for data, rtol in ((x, 1e-10), (x.astype(np.float32), 1e-4)):
            y = function(data, dim=dim, keepdim=keepdim)
            assert y.shape == expected.shape
            assert y.dtype == data.dtype
            np.testing.assert_allclose(y.data, expected, rtol=rtol, atol=rtol * 100)


@pytest.mark.parametrize("name", [*REFERENCES, "prod"])
@pytest.mark.parametrize("dim", [None, 0, 1, 2])
def test_gradients_of_large_arrays_are_those_of_strided_ones(rng, name, dim):
    """What is not contiguous goes through NumPy; a few equal numbers share gradients."""
    data = 1 + rng.integers(-40, 40, (30, 40, 20)) / 1000
    wide = np.zeros((30, 40, 40))
    wide[..., ::2] = data
    results = []
    for numbers in (data, wide[..., ::2]):
        x = Tensor(numbers, requires_grad=True)
        y = getattr(ops, name)(x, dim=dim)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        y.backward(dy)
        assert x.grad.shape == data.shape
        results.append((y.data, x.grad))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-10)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-8, atol=1e-12)


@LARGE
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_sums_and_products_up_to_each_of_large_arrays(rng, dim, shape):
    data = rng.standard_normal(shape)
    x = Tensor(data, requires_grad=True)
    y = x.cumsum(dim)
    np.testing.assert_allclose(y.data, data.cumsum(dim), rtol=1e-9, atol=1e-9)
    single = ops.cumsum(data.astype(np.float32), dim)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.data, data.cumsum(dim), rtol=1e-3, atol=1e-2)
    dy = rng.standard_normal(shape)
    y.backward(dy)
    expected = np.flip(np.flip(dy, dim).cumsum(dim), dim)
    np.testing.assert_allclose(x.grad, expected, rtol=1e-9, atol=1e-9)
    near_one = 1 + data / 1000
    np.testing.assert_allclose(ops.prod(near_one, dim).data, near_one.prod(dim), rtol=1e-10)


def test_large_products_with_zeros_or_beyond_range_have_gradients(rng):
    data = 1 + rng.standard_normal((300, 80)) / 10
    data[0, 3] = data[1, [2, 7]] = 0
    data[2, :2] = 1e-200, 1e-200
    for dim in (1, 0):
        x = Tensor(data if dim else np.ascontiguousarray(data.T), requires_grad=True)
        x.prod(dim).sum().backward()
        grad = x.grad if dim else x.grad.T
        for row in (0, 1, 2, 3):
            others = [np.prod(np.delete(data[row], i)) for i in range(80)]
            np.testing.assert_allclose(grad[row], others, rtol=1e-10)


def test_extremes_of_large_arrays_have_values_and_first_indices(rng):
    data = rng.integers(-30, 30, (30, 50, 20)).astype(np.float32)
    data[3, [7, 9], 2] = np.nan
    for name in ("max", "min"):
        for dim in (0, 1, 2, -1):
            for keepdim in (False, True):
                x = Tensor(data, requires_grad=True)
                values, indices = getattr(x, name)(dim, keepdim)
                places = getattr(np, f"arg{name}")(data, dim, keepdims=keepdim)
                assert indices.dtype == np.int64
                np.testing.assert_array_equal(indices.data, places)
                alone = getattr(x, f"arg{name}")(dim, keepdim)
                np.testing.assert_array_equal(alone.data, places)
                expected = getattr(np, name)(data, dim, keepdims=keepdim)
                np.testing.assert_array_equal(values.data, expected)
                values.sum().backward()
                assert x.grad.sum() == values.data.size
                at = np.argmax(x.grad, dim, keepdims=keepdim)
                np.testing.assert_array_equal(at, places)
        place = getattr(Tensor(np.nan_to_num(data)), f"arg{name}")()
        assert place.item() == getattr(np, f"arg{name}")(np.nan_to_num(data))


def test_nan_and_infinities_of_large_arrays(rng):
    data = rng.standard_normal((400, 50))
    data[0, 7] = data[1, [3, 4]] = np.nan
    data[2, 5], data[3, 5] = np.inf, -np.inf
    data[4] = -np.inf
    data[5] = 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (data, data.astype(np.float32)):
            for dim in (0, 1):
                given = np.ascontiguousarray(x.T) if dim == 0 else x
                np.testing.assert_array_equal(ops.amax(given, dim).data, given.max(dim))
                np.testing.assert_array_equal(ops.amin(given, dim).data, given.min(dim))
                y = ops.logsumexp(given, dim).data
                assert np.isnan(y[:2]).all()
                assert (y[2], y[4]) == (np.inf, -np.inf)
                np.testing.assert_allclose(y[5], 1000 + np.log(50), rtol=1e-6)
                assert np.isfinite(y[3])
                for name in ("var", "std"):
                    y = getattr(ops, name)(given, dim).data
                    assert np.isnan(y[:5]).all()
                    assert np.isfinite(y[5:]).all()
                y = ops.norm(given, 2, dim).data
                assert np.isnan(y[:2]).all()
                assert np.isinf(y[2:5]).all()
            grown = Tensor(x, requires_grad=True)
            grown.amax(1).sum().backward()
            np.testing.assert_array_equal(grown.grad[1].nonzero()[0], [3, 4])
            np.testing.assert_allclose(grown.grad.sum(1), np.ones(400), rtol=1e-5)
            np.testing.assert_allclose(grown.grad[5], np.full(50, 0.02), rtol=1e-6)


def test_large_norms_and_deviations_of_equal_numbers_have_gradient_zero():
    x = Tensor(np.zeros((400, 50)), requires_grad=True)
    x.data[0] = np.arange(50)
    x.norm(2, 1).sum().backward()
    np.testing.assert_allclose(x.grad[0], x.data[0] / np.linalg.norm(x.data[0]))
    assert not x.grad[1:].any()
    x.grad = None
    x.std(1).sum().backward()
    assert x.grad[0].any()
    assert not x.grad[1:].any()


def test_prod_and_cumsum_match_numpy(rng):
    x = rng.standard_normal((3, 4, 5))
    for dim in (0, 1, -1):
        np.testing.assert_allclose(ops.prod(x, dim).data, np.prod(x, dim))
        np.testing.assert_allclose(Tensor(x).cumsum(dim).data, np.cumsum(x, dim))
    np.testing.assert_allclose(Tensor(x).prod().data, np.prod(x))
    for op in (ops.sum, ops.prod, lambda x: ops.cumsum(x, 0)):
        assert op(np.ones(3, np.uint8)).dtype == np.int64
        assert op(np.ones(3, bool)).dtype == np.int64
    assert Tensor(np.ones(3, np.int32)).mean().dtype == np.float32


def test_products_with_zeros_have_gradients():
    for zeros in ([0], [0, 2]):
        x = np.arange(1.0, 7).reshape(2, 3)
        x[0, zeros] = 0
        check_grads(lambda x: ops.prod(x, 1), Tensor(x, requires_grad=True))
        check_grads(ops.prod, Tensor(x[0].copy(), requires_grad=True))


@pytest.mark.parametrize("p", [1, 1.5, 3, float("inf"), -float("inf"), 0, "fro"])
def test_norms(rng, p):
    x = rng.standard_normal((3, 4))
    x[0, 0] = 0
    order = 2 if p == "fro" else p
    expected = np.linalg.norm(x.reshape(-1), order)
    np.testing.assert_allclose(Tensor(x).norm(p).data, expected)
    np.testing.assert_allclose(ops.norm(x, p, 1).data, np.linalg.norm(x, order, 1))


def test_the_norm_of_zeros_has_gradient_zero():
    for p in (1, 2, 3):
        x = Tensor(np.zeros((2, 3)), requires_grad=True)
        x.norm(p, 1).sum().backward()
        np.testing.assert_array_equal(x.grad, np.zeros((2, 3)))


def test_the_deviation_of_equal_numbers_has_gradient_zero():
    x = Tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 3.0]], requires_grad=True)
    x.std(1).sum().backward()
    np.testing.assert_allclose(x.grad, [[0, 0, 0], [-0.5, 0, 0.5]], atol=1e-7)


def test_extremes_of_nan_are_nan_and_have_its_gradient():
    for name in ("max", "min", "amax", "amin"):
        x = Tensor([[1.0, np.nan, 3.0], [5.0, 5.0, 5.0]], requires_grad=True)
        y = getattr(x, name)()
        assert np.isnan(y.data)
        y.backward()
        np.testing.assert_array_equal(x.grad, [[0, 1, 0], [0, 0, 0]])
    x.grad = None
    x.amax(1).sum().backward()
    np.testing.assert_allclose(x.grad, [[0, 1, 0], [1 / 3, 1 / 3, 1 / 3]])
    a = Tensor([np.nan, 1.0], requires_grad=True)
    ops.maximum(a, [2.0, 2.0]).sum().backward()
    np.testing.assert_array_equal(a.grad, [1, 0])


def test_extremes_over_an_axis_have_values_and_indices(rng):
    x = rng.integers(0, 3, (4, 5, 6)).astype(np.float32)
    for name in ("max", "min"):
        for dim in (0, 1, -1):
            values, indices = getattr(Tensor(x), name)(dim)
            np.testing.assert_array_equal(values.data, getattr(x, name)(dim))
            np.testing.assert_array_equal(indices.data, getattr(x, f"arg{name}")(dim))
            assert getattr(ops, name)(x, dim, keepdim=True).indices.ndim == 3
    first = Tensor([1.0, 1.0], requires_grad=True)
    first.max(0).values.backward()
    np.testing.assert_array_equal(first.grad, [1, 0])
    shared = Tensor([1.0, 1.0], requires_grad=True)
    shared.max().backward()
    np.testing.assert_array_equal(shared.grad, [0.5, 0.5])


def test_truth(rng):
    x = rng.integers(0, 2, (3, 4, 2))
    for dim in (None, 1, (0, 2)):
        np.testing.assert_array_equal(Tensor(x).any(dim).data, x.any(dim))
        np.testing.assert_array_equal(Tensor(x).all(dim, True).data, x.all(dim, keepdims=True))


def test_logsumexp_of_infinities():
    x = np.array([[-np.inf, -np.inf], [np.inf, 0], [1000, 1000], [-np.inf, 2]])
    np.testing.assert_allclose(
        ops.logsumexp(x, 1).data, [-np.inf, np.inf, 1000 + np.log(2), 2], rtol=1e-15
    )


def test_without_axes_dims_are_checked_but_reduce_nothing():
    x = Tensor(2.0)
    for name in ("sum", "mean", "amax", "amin", "prod", "logsumexp", "norm"):
        for dim in (0, -1):
            assert getattr(x, name)(dim=dim).item() == pytest.approx(2)
        with pytest.raises(IndexError, match=f"{name}: dim: expected -1 to 0, got 1"):
            getattr(x, name)(dim=1)
    assert x.argmax(0).item() == 0
    assert x.cumsum(0).item() == 2


def test_names_of_numpy(rng):
    x = rng.standard_normal((3, 4))
    tensor = Tensor(x)
    for function in (np.sum, np.mean, np.std, np.var, np.prod, np.any):
        np.testing.assert_allclose(np.asarray(function(tensor)), function(x), rtol=1e-12)
        y = function(tensor, axis=1, keepdims=True)
        assert isinstance(y, Tensor)
        np.testing.assert_allclose(y.data, function(x, axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(np.max(tensor).data, x.max())
    np.testing.assert_array_equal(tensor.amin(axis=0, keepdims=True).data, x.min(0, keepdims=True))
    with pytest.raises(TypeError, match="unexpected argument where="):
        np.sum(tensor, where=x > 0)


def test_other_words_for_correction(rng):
    x = Tensor(rng.standard_normal((3, 4)))
    plain = x.data.var(0)
    for y in (x.var(0, False), x.var(0, unbiased=False), x.var(0, correction=0), x.var(0, ddof=0)):
        np.testing.assert_allclose(y.data, plain)
    np.testing.assert_allclose(x.std(False).data, x.data.std())
    np.testing.assert_allclose(x.var(unbiased=True).data, x.data.var(ddof=1))


def test_undefined_results_come_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = Tensor([1.0], requires_grad=True)
        for y in (one.var(), one.std(), Tensor(np.zeros(0)).mean(), Tensor(np.zeros(0)).var()):
            assert np.isnan(y.item())
        one.std().backward()
        assert np.isnan(Tensor([np.inf, 1.0]).var().item())
        assert np.isnan(Tensor([np.inf, -np.inf]).sum().item())
        empty = Tensor(np.zeros((0, 3)), requires_grad=True)
        empty.mean().backward()
        assert empty.grad.shape == (0, 3)


def test_bad_dims_are_named():
    x = np.zeros((2, 3))
    for name in ("sum", "mean", "amax", "var", "std", "norm", "argmax", "any"):
        with pytest.raises(IndexError, match=f"{name}: dim: expected -2 to 1, got 2"):
            getattr(Tensor(x), name)(dim=2)
    with pytest.raises(ValueError, match="sum: dim: expected each axis once"):
        ops.sum(x, (0, -2))
    with pytest.raises(TypeError, match="prod: dim: expected one axis or none"):
        ops.prod(x, (0, 1))
