import math
import os
from pathlib import Path

import numpy as np
import pytest

from lamina import Tensor, num_threads, ops, set_num_threads
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def error(got, expected):
    return np.abs(got - expected).max() / (np.abs(expected).max() + 1e-30)


def erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)


def sigmoid_numpy(x):
    return 1 / (1 + np.exp(-x))


def elu_numpy(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def gelu_tanh(x):
    return ops.gelu(x, "tanh")


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

REFERENCES = {
    "celu": (ops.celu, elu_numpy),
    "elu": (ops.elu, elu_numpy),
    "exp": (ops.exp, np.exp),
    "gelu": (ops.gelu, lambda x: x / 2 * (1 + erf(x / math.sqrt(2)))),
    "gelu_tanh": (
        gelu_tanh,
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "hardsigmoid": (ops.hardsigmoid, lambda x: np.clip(x + 3, 0, 6) / 6),
    "hardswish": (ops.hardswish, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "hardtanh": (ops.hardtanh, lambda x: np.clip(x, -1, 1)),
    "leaky_relu": (ops.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    "log": (lambda x: ops.log(x * x + 0.5), lambda x: np.log(x * x + 0.5)),
    "logsigmoid": (ops.logsigmoid, lambda x: -np.logaddexp(0, -x)),
    "mish": (ops.mish, lambda x: x * np.tanh(np.logaddexp(0, x))),
    "relu": (ops.relu, lambda x: np.maximum(x, 0)),
    "relu6": (ops.relu6, lambda x: np.clip(x, 0, 6)),
    "selu": (ops.selu, lambda x: SELU_SCALE * elu_numpy(x, SELU_ALPHA)),
    "sigmoid": (ops.sigmoid, sigmoid_numpy),
    "silu": (ops.silu, lambda x: x * sigmoid_numpy(x)),
    "softplus": (ops.softplus, lambda x: np.logaddexp(0, x)),
    "softsign": (ops.softsign, lambda x: x / (1 + np.abs(x))),
    "tanh": (ops.tanh, np.tanh),
}
EVERY = pytest.mark.parametrize("name", REFERENCES)


@EVERY
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5, 37), (0,), (2, 0, 3)])
def test_matches_numpy(rng, name, shape):
    op, reference = REFERENCES[name]
    x = np.asarray(3 * rng.standard_normal(shape))
    got = op(Tensor(x)).data
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, reference(x), rtol=1e-13, atol=1e-14)
    single = x.astype(np.float32)
    got = op(Tensor(single)).data
    assert got.dtype == np.float32
    assert got.shape == shape
    np.testing.assert_allclose(got, reference(single.astype(float)), rtol=2e-6, atol=3e-7)


@EVERY
def test_gradients(rng, name):
    op, _ = REFERENCES[name]
    x = 4 * rng.standard_normal((5, 11))
    # Differences say nothing at the kinks.
    x[np.abs(x - np.round(x)) < 1e-3] += 0.01
    check_grads(op, Tensor(x, requires_grad=True))


CASES = [
    "elu", "exp", "gelu", "gelu_tanh", "hardswish", "leaky_relu", "log_softmax", "mish", "relu",
    "sigmoid", "silu", "softmax", "softplus", "tanh",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_matches_pytorch(name):
    case = np.load(GOLDEN / f"act_{name}.npz")
    x = Tensor(case["in_x"], requires_grad=True)
    y = gelu_tanh(x) if name == "gelu_tanh" else getattr(ops, name)(x)
    assert error(y.data, case["out_y"]) <= 1e-5
    y.backward(case["cot_y"])
    assert error(x.grad, case["g_x"]) <= 1e-5


# Value and slope at -inf, +inf.
LIMITS = {
    "celu": (-1, np.inf, 0, 1),
    "elu": (-1, np.inf, 0, 1),
    "exp": (0, np.inf, 0, np.inf),
    "gelu": (0, np.inf, 0, 1),
    "gelu_tanh": (0, np.inf, 0, 1),
    "hardsigmoid": (0, 1, 0, 0),
    "hardswish": (0, np.inf, 0, 1),
    "hardtanh": (-1, 1, 0, 0),
    "leaky_relu": (-np.inf, np.inf, 0.01, 1),
    "logsigmoid": (-np.inf, 0, 1, 0),
    "mish": (0, np.inf, 0, 1),
    "relu": (0, np.inf, 0, 1),
    "relu6": (0, 6, 0, 0),
    "selu": (-SELU_SCALE * SELU_ALPHA, np.inf, 0, SELU_SCALE),
    "sigmoid": (0, 1, 0, 0),
    "silu": (0, np.inf, 0, 1),
    "softplus": (0, np.inf, 0, 1),
    "softsign": (-1, 1, 0, 0),
    "tanh": (-1, 1, 0, 0),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limits(name, dtype):
    op, _ = REFERENCES[name]
    low, high, low_slope, high_slope = LIMITS[name]
    x = Tensor(np.array([-np.inf, np.inf, np.nan], dtype), requires_grad=True)
    y = op(x)
    np.testing.assert_allclose(y.data, [low, high, np.nan], rtol=1e-6)
    y.backward(np.ones(3, dtype))
    np.testing.assert_allclose(x.grad[:2], [low_slope, high_slope], rtol=1e-6)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_have_finite_values_and_slopes(name, dtype):
    op, _ = REFERENCES[name]
    x = np.array([88, -88, 1e-8, -1e-8, 0.0, -0.0, 80, -100], dtype)
    y = op(Tensor(x, requires_grad=True))
    assert np.isfinite(y.data).all()
    tensor = Tensor(x, requires_grad=True)
    op(tensor).backward(np.ones_like(x))
    assert np.isfinite(tensor.grad).all()


def test_small_numbers_keep_their_digits():
    x = np.array([1e-8, -1e-8, 3e-5, -3e-5], np.float32)
    exact = x.astype(float)
    np.testing.assert_allclose(ops.elu(x).data, elu_numpy(exact), rtol=1e-6)
    np.testing.assert_allclose(ops.tanh(x).data, np.tanh(exact), rtol=1e-6)
    far = np.array([-20.0, -40.0], np.float32)
    np.testing.assert_allclose(ops.softplus(far).data, np.exp(far.astype(float)), rtol=1e-6)
    tail = np.array([-4.0, -6.0, -9.0], np.float32)
    exact = [t / 2 * math.erfc(-t / math.sqrt(2)) for t in (-4.0, -6.0, -9.0)]
    np.testing.assert_allclose(ops.gelu(tail).data, exact, rtol=1e-5)


def test_log_of_zero_and_below():
    with np.errstate(all="raise"):
        y = ops.log(np.array([0.0, -1.0, np.inf], np.float32)).data
    np.testing.assert_array_equal(y, [-np.inf, np.nan, np.inf])


@EVERY
def test_any_strides(rng, name):
    op, reference = REFERENCES[name]
    x = rng.standard_normal((4, 5, 6)).transpose(2, 0, 1)[::-1, :, ::2]
    np.testing.assert_allclose(op(Tensor(x)).data, reference(x), rtol=1e-13, atol=1e-14)
    tensor = Tensor(x, requires_grad=True)
    op(tensor).sum().backward()
    other = Tensor(x.copy(), requires_grad=True)
    op(other).backward(np.ones(x.shape))
    np.testing.assert_array_equal(tensor.grad, other.grad)


def test_parameters(rng):
    x = rng.standard_normal(50) * 3
    np.testing.assert_allclose(ops.elu(x, 0.3).data, elu_numpy(x, 0.3))
    np.testing.assert_allclose(ops.leaky_relu(x, 0.2).data, np.where(x > 0, x, 0.2 * x))
    np.testing.assert_allclose(ops.hardtanh(x, -2, 0.5).data, np.clip(x, -2, 0.5))
    np.testing.assert_allclose(
        ops.softplus(x, 2, 3).data, np.where(2 * x > 3, x, np.logaddexp(0, 2 * x) / 2)
    )
    np.testing.assert_allclose(ops.celu(x, 0.7).data, np.where(x > 0, x, 0.7 * np.expm1(x / 0.7)))
    for op in (
        lambda x: ops.elu(x, 0.3),
        lambda x: ops.celu(x, 0.7),
        lambda x: ops.softplus(x, 2, 3),
        lambda x: ops.leaky_relu(x, 0.2),
        lambda x: ops.hardtanh(x, -2, 0.5),
    ):
        check_grads(op, Tensor(x, requires_grad=True))


@pytest.mark.parametrize("name", ["gelu", "relu", "tanh"])
def test_same_bits_for_any_number_of_threads(rng, name):
    op, _ = REFERENCES[name]
    x = rng.standard_normal(100_003).astype(np.float32)
    before = num_threads()
    results = []
    for n in (1, 2, 3):
        set_num_threads(n)
        results.append(op(Tensor(x)).data)
    set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_methods(rng):
    x = Tensor(rng.standard_normal((3, 4)))
    for name in ("exp", "tanh", "sigmoid", "relu"):
        np.testing.assert_array_equal(getattr(x, name)().data, getattr(ops, name)(x).data)
    np.testing.assert_array_equal(x.softmax(0).data, ops.softmax(x, 0).data)


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="input: expected float32 or float64 array, got int64"):
        ops.relu(np.array([1, 2]))
    with pytest.raises(ValueError, match="gelu: approximate: expected 'none' or 'tanh', got 'x'"):
        ops.gelu(np.ones(2), "x")
    with pytest.raises(ValueError, match="hardtanh: expected min_val <= max_val, got 1 and 0"):
        ops.hardtanh(np.ones(2), 1, 0)
    with pytest.raises(ValueError, match="softplus: beta"):
        ops.softplus(np.ones(2), 0)
    with pytest.raises(ValueError, match="celu: alpha"):
        ops.celu(np.ones(2), 0)


def test_celu_of_negative_alpha_far_below_zero():
    x = np.array([-1e-9, -0.5, -36.8, -80.0])
    np.testing.assert_allclose(ops.celu(x, -1.0).data, -np.expm1(-x), rtol=1e-13)


def test_prelu_and_glu_against_their_definitions(rng):
    x = rng.standard_normal((2, 4, 3))
    slopes = rng.standard_normal(4)
    expected = np.where(x > 0, x, x * slopes[:, np.newaxis])
    np.testing.assert_array_equal(ops.prelu(x, slopes).data, expected)
    one = Tensor(slopes[:1], requires_grad=True)
    check_grads(ops.prelu, Tensor(x, requires_grad=True), one)
    halves = x[:, :2] / (1 + np.exp(-x[:, 2:]))
    np.testing.assert_allclose(ops.glu(x, 1).data, halves, rtol=1e-12)
    for dim in (0, 1):
        check_grads(lambda x, dim=dim: ops.glu(x, dim), Tensor(x, requires_grad=True))
    turned = ops.glu(x.transpose(2, 1, 0), 1).data
    np.testing.assert_allclose(turned, halves.transpose(2, 1, 0), rtol=1e-12)
    for shape, half in [((0, 4), (0, 2)), ((4, 0), (4, 0))]:
        empty = Tensor(np.ones(shape, np.float32), requires_grad=True)
        y = ops.glu(empty)
        assert y.shape == half
        y.sum().backward()
        assert empty.grad.shape == shape
    with pytest.raises(
        ValueError, match=r"prelu: weight: expected shape \[1\] or \[4\], got \[3\]"
    ):
        ops.prelu(x, np.ones(3))
    with pytest.raises(TypeError, match="prelu: input: expected floats, got int64"):
        ops.prelu(np.ones((2, 3), np.int64), 0.5)
    with pytest.raises(ValueError, match="glu: dim: expected an axis of even length, got -1 of"):
        ops.glu(x)
