import os
from pathlib import Path

import numpy as np
import pytest

from lamina import Tensor, num_threads, ops, set_num_threads
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def error(got, expected):
    return np.abs(got - expected).max() / (np.abs(expected).max() + 1e-30)


def check_golden(name, op, parameters="wb"):
    case = np.load(GOLDEN / f"{name}.npz")
    tensors = {"x": Tensor(case["in_x"], requires_grad=True)}
    tensors |= {key: Tensor(case[f"p_{key}"], requires_grad=True) for key in parameters}
    y = op(*tensors.values())
    assert error(y.data, case["out_y"]) <= 1e-5
    y.backward(case["cot_y"])
    for key, tensor in tensors.items():
        assert error(tensor.grad, case[f"g_{key}"]) <= 1e-5, key
    return case


def test_layer_norm_golden():
    check_golden("layer_norm_0", lambda x, w, b: ops.layer_norm(x, (10,), w, b))


def test_rms_norm_golden():
    check_golden("rms_norm_0", lambda x, w: ops.rms_norm(x, (10,), w, 1e-6), "w")


def test_group_norm_golden():
    check_golden("group_norm_0", lambda x, w, b: ops.group_norm(x, 3, w, b))


def test_batch_norm_train_golden():
    mean, var = np.zeros(6, np.float32), np.ones(6, np.float32)
    case = check_golden(
        "batch_norm_train_0", lambda x, w, b: ops.batch_norm(x, mean, var, w, b, training=True)
    )
    assert error(mean, case["out_running_mean"]) <= 1e-5
    assert error(var, case["out_running_var"]) <= 1e-5


def test_batch_norm_eval_golden():
    case = np.load(GOLDEN / "batch_norm_eval_0.npz")
    mean, var = case["in_rm"].copy(), case["in_rv"].copy()
    check_golden("batch_norm_eval_0", lambda x, w, b: ops.batch_norm(x, mean, var, w, b))
    np.testing.assert_array_equal(mean, case["in_rm"])
    np.testing.assert_array_equal(var, case["in_rv"])


def normalised(x, axes, eps=1e-5):
    mean = x.mean(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + eps)


def spread(p, ndim):
    return p.reshape(-1, *[1] * (ndim - 2))


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 3, 5), (4, 100), (9, 5000), (17,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_norm_matches_numpy(rng, shape, dtype):
    x = (rng.standard_normal(shape) * 2 + 1).astype(dtype)
    w, b = rng.standard_normal((2, shape[-1])).astype(dtype)
    expected = normalised(x.astype(float), -1)
    tol = 2e-6 if dtype == np.float32 else 1e-13
    for weight, bias in ((None, None), (w, None), (None, b), (w, b)):
        y = ops.layer_norm(x, shape[-1], weight, bias)
        assert y.dtype == dtype
        scaled = expected * (1 if weight is None else weight) + (0 if bias is None else bias)
        np.testing.assert_allclose(y.data, scaled, rtol=tol, atol=tol)
    mean_square = (x.astype(float) ** 2).mean(-1, keepdims=True)
    expected = x / np.sqrt(mean_square + 1e-6) * w
    np.testing.assert_allclose(ops.rms_norm(x, shape[-1], w, 1e-6).data, expected, tol, tol)


def test_layer_norm_over_several_axes(rng):
    x, w = rng.standard_normal((5, 2, 3, 4)), rng.standard_normal((3, 4))
    y = ops.layer_norm(x, (3, 4), w)
    np.testing.assert_allclose(y.data, normalised(x, (2, 3)) * w, atol=1e-13)
    x = Tensor(x, requires_grad=True)
    w = Tensor(w, requires_grad=True)
    check_grads(lambda x, w: ops.layer_norm(x, (3, 4), w), x, w)


@pytest.mark.parametrize("shape", [(4, 1), (3, 17), (2, 3, 10)])
def test_row_norm_gradients(rng, shape):
    x = Tensor(rng.exponential(size=shape), requires_grad=True)
    w, b = (Tensor(p, requires_grad=True) for p in rng.standard_normal((2, shape[-1])))
    d = shape[-1]
    check_grads(lambda x: ops.layer_norm(x, d), x)
    check_grads(lambda x, w: ops.layer_norm(x, d, w), x, w)
    check_grads(lambda x, b: ops.layer_norm(x, d, None, b), x, b)
    check_grads(lambda x, w, b: ops.layer_norm(x, d, w, b), x, w, b)
    check_grads(lambda x: ops.rms_norm(x, d), x)
    check_grads(lambda x, w: ops.rms_norm(x, d, w, 1e-3), x, w)


CHANNELS = [(7, 4), (2, 4, 3), (2, 4, 5, 3), (3, 4, 20), (40, 4, 1), (1, 4, 33)]


@pytest.mark.parametrize("shape", CHANNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_channel_norms_match_numpy(rng, shape, dtype):
    x = (rng.standard_normal(shape) * 2 + 1).astype(dtype)
    w, b = rng.standard_normal((2, 4)).astype(dtype)
    ndim, exact = x.ndim, x.astype(float)
    tol = 3e-6 if dtype == np.float32 else 1e-12
    affine = lambda y: y * spread(w, ndim) + spread(b, ndim)  # noqa: E731
    axes = (0, *range(2, ndim))
    y = ops.batch_norm(x, None, None, w, b, training=True)
    np.testing.assert_allclose(y.data, affine(normalised(exact, axes)), rtol=tol, atol=tol)
    mean, var = rng.standard_normal(4).astype(dtype), rng.random(4).astype(dtype) + dtype(0.5)
    y = ops.batch_norm(x, mean, var, w, b)
    expected = affine((exact - spread(mean, ndim)) / np.sqrt(spread(var, ndim) + 1e-5))
    np.testing.assert_allclose(y.data, expected, rtol=tol, atol=tol)
    grouped = exact.reshape(shape[0], 2, -1)
    expected = affine(normalised(grouped, -1).reshape(shape))
    np.testing.assert_allclose(ops.group_norm(x, 2, w, b).data, expected, rtol=tol, atol=tol)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3), (2, 4, 1, 17)])
def test_channel_norm_gradients(rng, shape):
    x = Tensor(rng.exponential(size=shape), requires_grad=True)
    w, b = (Tensor(p, requires_grad=True) for p in rng.standard_normal((2, 4)))
    mean, var = rng.standard_normal(4), rng.random(4) + 0.5
    check_grads(lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True), x, w, b)
    check_grads(lambda x, w, b: ops.batch_norm(x, mean, var, w, b), x, w, b)
    check_grads(lambda x: ops.batch_norm(x, mean, var), x)
    check_grads(lambda x, w, b: ops.group_norm(x, 2, w, b), x, w, b)
    check_grads(lambda x, w: ops.group_norm(x, 4, w), x, w)
    if len(shape) > 2:
        check_grads(lambda x, w: ops.instance_norm(x, weight=w), x, w)


@pytest.mark.parametrize("shape", [(600, 70, 1), (300, 33, 3), (257, 9, 15), (2, 200, 1)])
def test_batch_norm_of_short_runs_equals_one_of_long_runs(rng, shape):
    n, c, length = shape
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    x += 100
    w, b = (Tensor(p, requires_grad=True) for p in rng.standard_normal((2, c)).astype(np.float32))
    found = []
    for arrange in (lambda a: a, lambda a: a.swapaxes(0, 1).reshape(1, c, n * length)):
        short = Tensor(arrange(x), requires_grad=True)
        w.grad = b.grad = None
        y = ops.batch_norm(short, None, None, w, b, training=True)
        y.backward(arrange(dy))
        found.append([y.data, short.grad, w.grad, b.grad])
    for i, (one, other) in enumerate(zip(*found, strict=True)):
        if i < 2:
            one = one.swapaxes(0, 1).reshape(other.shape)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_running_statistics(rng):
    x = rng.standard_normal((6, 3, 5))
    mean, var = np.full(3, 0.5), np.full(3, 2.0)
    ops.batch_norm(x, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.75 * 0.5 + 0.25 * x.mean((0, 2)))
    np.testing.assert_allclose(var, 0.75 * 2.0 + 0.25 * x.var((0, 2), ddof=1))


def test_a_large_mean_costs_no_digits(rng):
    x = (1e4 + 0.1 * rng.standard_normal((8, 6, 700))).astype(np.float32)
    exact = x.astype(float)
    tol = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(ops.layer_norm(x, 700).data, normalised(exact, -1), **tol)
    batch = ops.batch_norm(x, None, None, training=True)
    np.testing.assert_allclose(batch.data, normalised(exact, (0, 2)), **tol)
    groups = normalised(exact.reshape(8, 2, -1), -1).reshape(x.shape)
    np.testing.assert_allclose(ops.group_norm(x, 2).data, groups, **tol)
    dy = rng.standard_normal(x.shape)
    for op in (lambda x: ops.layer_norm(x, 700), lambda x: ops.group_norm(x, 2)):
        single, double = Tensor(x, requires_grad=True), Tensor(exact, requires_grad=True)
        op(single).backward(dy)
        op(double).backward(dy)
        np.testing.assert_allclose(single.grad, double.grad, rtol=1e-3, atol=1e-3)


def test_one_large_number_costs_no_digits(rng):
    x = rng.standard_normal((4, 300)).astype(np.float32)
    x[:, 0] = 1e4
    np.testing.assert_allclose(
        ops.layer_norm(x, 300).data, normalised(x.astype(float), -1), rtol=1e-5, atol=1e-6
    )


def test_any_strides(rng):
    x = rng.standard_normal((6, 5, 4)).transpose(1, 2, 0)[::-1]
    w = rng.standard_normal(12)[::2]
    np.testing.assert_allclose(ops.layer_norm(x, 6, w).data, normalised(x, -1) * w)
    y = ops.batch_norm(x, None, None, w[:4], training=True)
    np.testing.assert_allclose(y.data, normalised(x, (0, 2)) * spread(w[:4], 3))
    tensor, copy = Tensor(x, requires_grad=True), Tensor(x.copy(), requires_grad=True)
    dy = rng.standard_normal((6, 4, 5)).T
    for t in (tensor, copy):
        ops.group_norm(t, 2).backward(dy)
    np.testing.assert_array_equal(tensor.grad, copy.grad)


def test_empty():
    for op in (
        lambda x: ops.layer_norm(x, 5),
        lambda x: ops.rms_norm(x, 5),
        lambda x: ops.group_norm(x, 3),
        lambda x: ops.batch_norm(x, np.zeros(3), np.ones(3)),
    ):
        x = Tensor(np.empty((0, 3, 5)), requires_grad=True)
        y = op(x)
        assert y.shape == (0, 3, 5)
        y.backward(np.empty((0, 3, 5)))
        assert x.grad.shape == (0, 3, 5)
    w = Tensor(np.ones(5), requires_grad=True)
    ops.layer_norm(np.empty((0, 5)), 5, w).backward(np.empty((0, 5)))
    np.testing.assert_array_equal(w.grad, np.zeros(5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_reach_only_what_shares_their_mean(rng, dtype):
    x = rng.standard_normal((3, 40)).astype(dtype)
    x[0, 3], x[1, 5] = np.nan, np.inf
    y = ops.layer_norm(x, 40).data
    assert np.isnan(y[0]).all()
    assert np.isnan(y[1]).any()
    assert np.isfinite(y[2]).all()


def test_same_bits_for_any_number_of_threads(rng):
    x = Tensor(rng.standard_normal((300, 8, 99)).astype(np.float32), requires_grad=True)
    w = Tensor(rng.standard_normal(99).astype(np.float32), requires_grad=True)
    c = Tensor(rng.standard_normal(8).astype(np.float32), requires_grad=True)
    dy = rng.standard_normal(x.shape)
    before = num_threads()
    results = []
    for n in (1, 2, 3):
        set_num_threads(n)
        arrays = []
        for op in (
            lambda: ops.layer_norm(x, 99, w, w),
            lambda: ops.rms_norm(x, 99, w),
            lambda: ops.batch_norm(x, None, None, c, c, training=True),
            lambda: ops.group_norm(x, 4, c, c),
        ):
            x.grad = w.grad = c.grad = None
            y = op()
            y.backward(dy)
            arrays += [a for a in (y.data, x.grad, w.grad, c.grad) if a is not None]
        results.append(arrays)
    set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_bad_input_is_named():
    x = np.ones((2, 4))
    with pytest.raises(ValueError, match=r"layer_norm: input: expected last axes \(3,\), got shap"):
        ops.layer_norm(x, 3)
    with pytest.raises(ValueError, match=r"rms_norm: input: expected last axes \(\), got shape"):
        ops.rms_norm(x, ())
    with pytest.raises(ValueError, match=r"weight: expected shape \[4\], got \[3\]"):
        ops.layer_norm(x, 4, np.ones(3))
    with pytest.raises(TypeError, match="bias: expected float64 array, got 1-d float32"):
        ops.layer_norm(x, 4, np.ones(4), np.ones(4, np.float32))
    with pytest.raises(ValueError, match=r"\[group_norm_forward\] groups: expected a divisor of"):
        ops.group_norm(x, 3)
    with pytest.raises(ValueError, match="num_groups: expected at least 1, got 0"):
        ops.group_norm(x, 0)
    with pytest.raises(ValueError, match="expected more than 1 value for each channel"):
        ops.batch_norm(x[:1], None, None, training=True)
    with pytest.raises(ValueError, match=r"running_mean: expected shape \[4\], got \[3\]"):
        ops.batch_norm(x, np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="input: expected at least 2 axes"):
        ops.batch_norm(x[0], None, None, training=True)


def test_running_statistics_may_be_tensors(rng):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    mean, var = Tensor(np.zeros(3, np.float32)), Tensor(np.ones(3, np.float32))
    ops.batch_norm(x, mean, var, training=True)
    np.testing.assert_allclose(mean.data, 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var.data, 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-5)
    y = ops.batch_norm(x, mean, var)
    np.testing.assert_array_equal(y.data, ops.batch_norm(x, mean.data, var.data).data)


def test_bad_running_statistics_are_named():
    x, three = np.ones((2, 3)), np.ones(3)
    for training in (False, True):
        with pytest.raises(
            TypeError, match="running_mean: expected a floating array or tensor, got"
        ):
            ops.batch_norm(x, [0, 0, 0], [1, 1, 1], training=training)
        with pytest.raises(TypeError, match=r"running_var: expected a floating array.*int64"):
            ops.batch_norm(x, three, np.ones(3, np.int64), training=training)
        with pytest.raises(ValueError, match=r"running_var: expected shape \[3\], got \[4\]"):
            ops.batch_norm(x, three, np.ones(4), training=training)
        with pytest.raises(ValueError, match="running_var: expected both running statistics or"):
            ops.batch_norm(x, three, None, training=training)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0)])
def test_an_empty_batch_changes_nothing(shape):
    x, mean, var = Tensor(np.ones(shape), requires_grad=True), np.zeros(3), np.ones(3)
    y = ops.batch_norm(x, mean, var, training=True)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert not mean.any()
    assert (var == 1).all()


def test_sizes_are_integers():
    x = np.ones((2, 3))
    assert ops.layer_norm(x, np.int64(3)).shape == (2, 3)
    with pytest.raises(TypeError, match="layer_norm: normalized_shape: expected integers, got 3"):
        ops.layer_norm(x, 3.0)
    with pytest.raises(TypeError, match="group_norm: num_groups: expected an integer, got 3"):
        ops.group_norm(x, 3.0)
    with pytest.raises(TypeError, match="rms_norm: input: expected float32 or float64, got int64"):
        ops.rms_norm(np.ones((2, 3), np.int64), 3)
