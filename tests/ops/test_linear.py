import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import Tensor, nn, ops, set_grad_enabled
from lamina.testing import check_grads

SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul_matches_numpy(rng, a, b):
    a, b = rng.standard_normal(a), rng.standard_normal(b)
    np.testing.assert_allclose(ops.matmul(a, b).data, a @ b, rtol=1e-12, atol=1e-12)
    single = ops.matmul(a.astype(np.float32), b.astype(np.float32)).data
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, a @ b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("a", "b"), SHAPES[:9])
def test_matmul_gradients(rng, a, b):
    a = Tensor(rng.standard_normal(a), requires_grad=True)
    b = Tensor(rng.standard_normal(b), requires_grad=True)
    check_grads(ops.matmul, a, b)


@given(st.integers(1, 20), st.integers(1, 70), st.integers(1, 40), st.integers(0, 7))
def test_any_size_and_strides(m, n, k, flips):
    rng = np.random.default_rng(m * n * k)
    a = rng.standard_normal((m, k) if flips & 1 else (k, m))
    b = rng.standard_normal((k, n) if flips & 2 else (n, k))
    a, b = a if flips & 1 else a.T, b if flips & 2 else b.T
    if flips & 4:
        a, b = a[::-1], b[:, ::-1]
    np.testing.assert_allclose(ops.matmul(a, b).data, a @ b, rtol=1e-12, atol=1e-12)


ACTIVATIONS = ["identity", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients(rng, activation, bias):
    x = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    w = Tensor(rng.standard_normal((5, 4)), requires_grad=True)
    b = Tensor(rng.standard_normal(5), requires_grad=True) if bias else None
    args = (x, w, b) if bias else (x, w)
    check_grads(lambda *args: ops.linear(*args, activation=activation), *args)


def test_layer(rng):
    layer = nn.Linear(4, 3, rng=rng)
    x = rng.standard_normal((5, 4)).astype(np.float32)
    expected = x @ layer.weight.data.T + layer.bias.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-6, atol=1e-6)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(2, 3, bias=False)"


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("types", [("f4", "f4"), ("f8", "f8"), ("f4", "f8")])
def test_arrays_and_tensors_give_the_same(rng, types, recording):
    a = (4 * rng.standard_normal((5, 7))).astype(types[0])
    b = (4 * rng.standard_normal((7, 3))).astype(types[1])
    with set_grad_enabled(recording):
        of_tensors = ops.matmul(Tensor(a), Tensor(b)).data
        for x, y in [
            (a, b),
            (a, Tensor(b)),
            (Tensor(a), b),
            (a.tolist(), b),
            (a, b.view(np.recarray)),
        ]:
            product = ops.matmul(x, y)
            assert isinstance(product, Tensor)
            np.testing.assert_allclose(product.data, of_tensors, rtol=1e-5, atol=1e-5)
        assert type(ops.matmul(a, b.view(np.recarray)).data) is np.ndarray
        np.testing.assert_allclose(of_tensors, a @ b, rtol=1e-5, atol=1e-5)
        with pytest.raises(ValueError, match="matmul: other: expected 7 rows, got shape"):
            ops.matmul(a, a)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"matmul: other: expected 3 rows, got shape \(4, 5\)"):
        ops.matmul(np.ones((2, 3)), np.ones((4, 5)))
    with pytest.raises(ValueError, match="do not broadcast"):
        ops.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5)))
    with pytest.raises(ValueError, match=r"linear: input: .*\(5, 4\), got \(2, 3\)"):
        ops.linear(np.ones((2, 3)), np.ones((5, 4)))
    with pytest.raises(ValueError, match=r"bias: expected shape \[5\], got \[4\]"):
        ops.linear(np.ones((2, 3)), np.ones((5, 3)), np.ones(4))
    with pytest.raises(ValueError, match=r'activation: expected .* got "swish"'):
        ops.linear(np.ones((2, 3)), np.ones((5, 3)), activation="swish")
    with pytest.raises(ValueError, match="Linear: sizes must be positive, got 0, 3"):
        nn.Linear(0, 3)


@pytest.mark.parametrize(
    ("left", "right"),
    [((2, 3, 0), (0, 4)), ((2, 0, 3), (3, 4)), ((2, 3, 4), (4, 0)), ((2, 5, 3, 0), (0,))],
)
def test_products_with_empty_axes(left, right):
    a, b = (Tensor(np.ones(shape), requires_grad=True) for shape in (left, right))
    y = ops.matmul(a, b)
    np.testing.assert_array_equal(y.data, np.matmul(a.data, b.data))
    y.sum().backward()
    np.testing.assert_array_equal(a.grad, np.zeros(left) + b.data.sum(-1, keepdims=b.ndim > 1).T)
    assert b.grad.shape == right


def test_linear_without_features():
    x, w, b = (Tensor(np.ones(s), requires_grad=True) for s in [(2, 3, 0), (4, 0), (4,)])
    y = ops.linear(x, w, b)
    np.testing.assert_array_equal(y.data, np.ones((2, 3, 4)))
    y.sum().backward()
    assert (x.grad.shape, w.grad.shape) == ((2, 3, 0), (4, 0))
    np.testing.assert_array_equal(b.grad, 6)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 5, 3), (40, 30, 1), (2, 70, 50), (64, 65, 66)])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_gradients_of_turned_operands_lie_like_them(rng, m, k, n, batch):
    a = Tensor(rng.standard_normal((*batch, k, m)), requires_grad=True)
    b = Tensor(rng.standard_normal((*batch, n, k)), requires_grad=True)
    y = ops.matmul(a.transpose(-2, -1), b.transpose(-2, -1))
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    np.testing.assert_allclose(a.grad, (dy @ b.data).swapaxes(-2, -1), atol=1e-12)
    np.testing.assert_allclose(b.grad, (a.data @ dy).swapaxes(-2, -1), atol=1e-12)
    assert a.grad.flags.c_contiguous
    assert b.grad.flags.c_contiguous
