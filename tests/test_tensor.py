import numpy as np
import pytest

import lamina
from lamina import Tensor, nn, ops, optim
from lamina.testing import check_grads


def leaf(rng, *shape):
    return Tensor(rng.standard_normal(shape), requires_grad=True)


BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b * b + 1),
    "mod": lambda a, b: a % (b * b + 3),
    "pow": lambda a, b: (a * a + 1) ** b,
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (4,))])
def test_broadcast_arithmetic(rng, name, shapes):
    check_grads(BINARY[name], *(leaf(rng, *shape) for shape in shapes))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(100,), (3, 100), (1, 100), (200, 1)])
def test_large_arrays_broadcast_as_in_numpy(rng, shape, dtype):
    a, b = (
        rng.standard_normal((200, 3, 100)).astype(dtype),
        rng.standard_normal(shape).astype(dtype),
    )
    if shape == (200, 1):
        a = a[:, 0]
    for operate in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: b - a, lambda a, b: a * b):
        np.testing.assert_array_equal(operate(Tensor(a), Tensor(b)).data, operate(a, b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_small_arrays_make_a_large_one_as_in_numpy(rng, dtype):
    for m, n in [
        ((8, 1, 50), (1, 60, 1)),
        ((300,), (80, 1)),
        ((4, 1, 70), (80, 1)),
        ((150,), (150,)),
    ]:
        a, b = rng.integers(-9, 9, m).astype(dtype), rng.integers(-9, 9, n).astype(dtype)
        for operate in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: b * a):
            y = operate(Tensor(a), Tensor(b))
            np.testing.assert_array_equal(y.data, operate(a, b))
            assert y.dtype == dtype
    with pytest.raises(ValueError, match="broadcast"):
        Tensor(np.ones((130, 120), dtype)) + Tensor(np.ones((130, 7), dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_negatives_of_large_arrays(rng, dtype):
    x = rng.integers(-9, 9, (200, 300)).astype(dtype)
    y = -Tensor(x.T)
    np.testing.assert_array_equal(y.data, -x.T)
    assert y.dtype == dtype
    if dtype != np.int64:
        np.testing.assert_array_equal(np.signbit(y.data), np.signbit(-x.T))


UNARY = {
    "neg": lambda x: -x,
    "abs": lambda x: x.abs(),
    "sqrt": lambda x: (x * x + 1).sqrt(),
    "log": lambda x: (x * x + 1).log(),
    "clamp": lambda x: x.clamp(-0.5, 0.7),
    "sum": lambda x: x.sum(),
    "sum_axis": lambda x: x.sum(1),
    "sum_keep": lambda x: x.sum((0, 2), keepdim=True),
    "mean": lambda x: x.mean(),
    "mean_axis": lambda x: x.mean(-1),
    "var": lambda x: x.var(),
    "std_axis": lambda x: x.std(1, keepdim=True),
    "max": lambda x: x.max(),
    "max_axis": lambda x: x.max(1).values,
    "amax_axes": lambda x: x.amax((0, 2)),
    "min_axis": lambda x: x.min(0, keepdim=True).values,
    "reshape": lambda x: x.reshape(4, -1),
    "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(0, -1),
    "T": lambda x: x.T,
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "expand": lambda x: x.unsqueeze(0).expand(5, -1, -1, -1),
    "index": lambda x: x[1, :, ::2],
    "index_array": lambda x: x[np.array([0, 1, 0])],
    "index_mask": lambda x: x[np.array([True, False])],
    "rsub": lambda x: 1 - x,
    "rdiv": lambda x: 1 / (x * x + 2),
    "rpow": lambda x: 2**x,
    "clone": lambda x: x.clone() * x.detach(),
    "twice": lambda x: x * x + x * 3,
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_tensor(rng, name):
    x = leaf(rng, 2, 3, 4)
    if name == "clone":
        out = UNARY[name](x)
        out.backward(np.ones(x.shape))
        np.testing.assert_array_equal(x.grad, x.data)
        return
    check_grads(UNARY[name], x)


def test_python_floats_are_single_and_numbers_keep_the_type():
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(np.ones(2)).dtype == np.float64
    assert (Tensor([1.0]) * 2.5).dtype == np.float32
    assert (Tensor(np.ones(2)) + 1).dtype == np.float64
    assert (np.ones(2, np.float32) + Tensor([1.0, 1.0])).shape == (2,)


def scalar(value, dtype=np.float32):
    return Tensor(np.array(value, dtype))


# Operands of a sum and the type PyTorch gives it.
H, WHOLE = Tensor([1.0, 2.0]), Tensor([1, 2])
SUMS = [
    (H, WHOLE, np.float32),
    (H, Tensor([True, False]), np.float32),
    (H, np.int64(3), np.float32),
    (H, np.float64(3), np.float32),
    (H, np.array(2.0), np.float32),
    (H, np.arange(2), np.float32),
    (H, Tensor(np.ones(2)), np.float64),
    (H, scalar(1, np.float64), np.float32),
    (WHOLE, 2.5, np.float32),
    (WHOLE, scalar(2.5, np.float64), np.float64),
    (Tensor(np.ones(2, np.int32)), 1, np.int32),
    (Tensor(np.ones(2, np.uint8)), 1, np.uint8),
    (Tensor(np.ones(2, np.uint8)), scalar(3, np.int64), np.uint8),
    (Tensor(np.ones(2, np.int32)), WHOLE, np.int64),
    (Tensor([True, False]), 1, np.int64),
    (Tensor([True, False]), 1.5, np.float32),
]


@pytest.mark.parametrize(("a", "b", "dtype"), SUMS)
def test_types_of_results_are_those_of_pytorch(a, b, dtype):
    assert (a + b).dtype == dtype
    assert (b + a).dtype == dtype
    assert ops.maximum(a, b).dtype == dtype
    assert ops.where([True, False], b, a).dtype == dtype
    if np.ndim(b):
        assert ops.cat([a, b]).dtype == dtype


def test_division_of_integers_is_single():
    for y in (WHOLE / WHOLE, WHOLE / 2, 1 / WHOLE, Tensor([True]) / 2, WHOLE.mean()):
        assert y.dtype == np.float32
    assert ((H * (H > 1)).sum() / (H > 1).sum()).dtype == np.float32
    assert (WHOLE // 2).dtype == (WHOLE % 2).dtype == np.int64


def test_operators_of_python(rng):
    a, b = rng.standard_normal((2, 5))
    np.testing.assert_array_equal((Tensor(a) % Tensor(b)).data, a % b)
    np.testing.assert_array_equal((Tensor(a) // Tensor(b)).data, a // b)
    np.testing.assert_array_equal((2 % Tensor(b)).data, 2 % b)
    np.testing.assert_array_equal((2 // Tensor(b)).data, 2 // b)
    np.testing.assert_array_equal(abs(Tensor(a)).data, abs(a))
    p, q = a > 0, b > 0
    np.testing.assert_array_equal((~Tensor(p) & q | Tensor(p) ^ q).data, ~p & q | p ^ q)
    np.testing.assert_array_equal((6 & Tensor([3, 5])).data, [2, 4])
    for name, expected in {"add": a + b, "sub": a - b, "mul": a * b, "div": a / b}.items():
        np.testing.assert_array_equal(getattr(Tensor(a), name)(b).data, expected)
    np.testing.assert_allclose(Tensor(a).matmul(b).data, a @ b)
    np.testing.assert_array_equal(Tensor(a).pow(2).data, a**2)


def test_infinities_come_without_a_warning():
    zero = Tensor([0.0, 1.0], requires_grad=True)
    np.testing.assert_array_equal((1 / zero).data, [np.inf, 1])
    (1 / zero + zero.sqrt() + zero**-1).sum().backward()
    np.testing.assert_array_equal(Tensor([-1.0]).sqrt().data, [np.nan])
    np.testing.assert_array_equal((Tensor([3]) // 0.0).data, [np.inf])
    large = np.zeros(20_000, np.float32)
    assert np.isinf((1 / Tensor(large)).data).all()
    assert np.isnan((Tensor(large) / large).data).all()


SCALARS = {
    "exp": lambda x: (x.exp() * Tensor(np.ones(3))).sum(),
    "sums": lambda x: x + x + x * x + x,
    "power": lambda x: 2**x,
    "expand": lambda x: x.expand(3),
    "maximum": lambda x: ops.maximum(x, Tensor(np.array(0.1))),
    "broadcast": lambda x: Tensor(np.ones((2, 3))) / (x + 3),
    "sum": lambda x: x.sum(0) + x.mean(-1) + x.amax(0) + x.max(0).values,
    "softmax": lambda x: ops.softmax(x, 0) * x,
    "index": lambda x: x[None, ...][[0, 0]],
}


@pytest.mark.parametrize("name", SCALARS)
def test_tensors_without_axes(rng, name):
    check_grads(SCALARS[name], leaf(rng))


def test_parameters_without_axes_are_trained():
    p = nn.Parameter(np.array(2.0, np.float32))
    (p * p + p).backward()
    assert isinstance(p.grad, np.ndarray)
    assert p.grad.shape == ()
    optim.Adam([p], lr=0.1).step()
    np.testing.assert_allclose(p.data, 1.9)


def test_gradients_add_up_over_calls():
    x = Tensor([2.0], requires_grad=True)
    for _ in range(2):
        (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [6.0])
    x.zero_grad()
    assert x.grad is None


def test_gradients_of_leaves_are_their_own():
    a = Tensor(np.ones(3), requires_grad=True)
    b = Tensor(np.ones(3), requires_grad=True)
    (a + b).sum().backward()
    a.grad *= 5
    np.testing.assert_array_equal(b.grad, np.ones(3))
    c = Tensor(np.ones(3), requires_grad=True)
    given = np.ones(3)
    c.reshape(3).backward(given)
    c.grad += 1
    np.testing.assert_array_equal(given, np.ones(3))


def test_several_outputs():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)

    def split(x):
        def vjp(da, db):
            dx = np.zeros(2)
            for i, d in enumerate((da, db)):
                if d is not None:
                    dx[i] = d[0]
            return (dx,)

        return Tensor.record_all((x.data[:1], x.data[1:]), (x,), vjp)

    _, b = split(x)
    b.backward([1.0])
    np.testing.assert_array_equal(x.grad, [0.0, 1.0])


def test_numpy_and_dlpack_share_memory(rng):
    x = Tensor(rng.standard_normal(5))
    assert np.shares_memory(np.asarray(x), x.data)
    assert np.shares_memory(np.from_dlpack(x), x.data)
    assert np.array(x, dtype=np.float32, copy=True).dtype == np.float32
    assert float(Tensor([2.0]).sum()) == 2.0
    assert int(Tensor(3)) == 3
    assert len(Tensor([1.0, 2.0])) == 2
    assert [t.item() for t in Tensor([1.0, 2.0])] == [1.0, 2.0]


class Foreign:
    def __init__(self, dtype):
        self.values = np.ones(2, dtype)

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_arrays_of_other_libraries_keep_their_type():
    assert Tensor(Foreign(np.float64)).dtype == np.float64
    assert Tensor(Foreign(np.float32)).dtype == np.float32
    assert Tensor(np.float64(1)).dtype == np.float64
    assert Tensor([np.float64(1)]).dtype == np.float32


def test_numbers_out_of_tensors():
    assert f"{Tensor(1.2345):.2f} {Tensor([1.5]):.1f} {Tensor(2.0)}" == "1.23 1.5 2.0"
    assert f"{Tensor([1.0, 2.0])}" == "Tensor([1., 2.])"
    assert float(Tensor([[1.5]])) == 1.5
    assert int(Tensor([[2]])) == 2
    with pytest.raises(ValueError, match="size 1"):
        float(Tensor([1.0, 2.0]))


@pytest.mark.parametrize("dtype", ["U5", complex, object])
def test_only_real_numbers_are_types(dtype):
    with pytest.raises(TypeError, match="to: dtype: expected a type of real numbers, got"):
        Tensor([1.0]).to(dtype)


def test_contiguous(rng):
    x = leaf(rng, 3, 4)
    assert x.contiguous() is x
    assert x.T.contiguous().data.flags.c_contiguous
    check_grads(lambda x: x.T.contiguous(), x)


def test_shapes_take_numbers_of_numpy(rng):
    x = leaf(rng, 2, 3, 4)
    two = np.int64(2)
    assert x.reshape(two, 12).shape == (2, 12)
    assert [p.shape[2] for p in ops.split(x, two, two)] == [2, 2]
    assert len(ops.chunk(x, two, np.int32(1))) == 2
    assert x.unsqueeze(0).squeeze(np.int64(0)).shape == (2, 3, 4)
    assert Tensor(np.ones((1, 2, 1))).squeeze([0, 2]).shape == (2,)
    assert Tensor(1.0).squeeze(0).shape == ()


def test_bad_axes_and_shapes_are_named():
    x = Tensor(np.zeros((1, 2, 3)))
    with pytest.raises(IndexError, match="squeeze: dim: expected -3 to 2, got 3"):
        x.squeeze(3)
    with pytest.raises(IndexError, match="flatten: dim: expected -3 to 2, got 4"):
        x.flatten(4)
    with pytest.raises(ValueError, match="start_dim: expected at most end_dim, got 2 and 1"):
        x.flatten(2, 1)
    assert x.expand(4, -1, 2, 3).shape == (4, 1, 2, 3)
    with pytest.raises(ValueError, match=r"expand: shape: \(3,\) does not repeat axes"):
        x.expand(3)
    with pytest.raises(ValueError, match=r"expand: shape: \(1, 2, 4\) does not repeat axes"):
        x.expand(1, 2, 4)
    with pytest.raises(ValueError, match=r"expand: shape: \(-1, 1, 2, 3\) does not repeat axes"):
        x.expand(-1, 1, 2, 3)


def test_large_results_come_from_recycled_memory(rng):
    a = Tensor(rng.standard_normal((300, 300)).astype(np.float32))
    np.testing.assert_array_equal((a + a).data, a.data + a.data)
    np.testing.assert_array_equal((a * a.data[0]).data, a.data * a.data[0])


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="Tensor: data: expected numbers"):
        Tensor(["a"])
    with pytest.raises(TypeError, match="requires_grad: expected floating data, got int64"):
        Tensor(np.array([1]), requires_grad=True)
    with pytest.raises(RuntimeError, match="does not depend on one that requires a gradient"):
        Tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match=r"expected for a tensor of shape \(2,\), got none"):
        Tensor([1.0, 2.0], requires_grad=True).backward()
    with pytest.raises(ValueError, match=r"gradient: expected shape \(2,\), got \(3,\)"):
        Tensor([1.0, 2.0], requires_grad=True).backward(np.ones(3))
    y = Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="only a leaf can change"):
        y.requires_grad_(False)
    with pytest.raises(ValueError, match=r"\[set_num_threads\] n: expected 1 to 256, got 0"):
        lamina.set_num_threads(0)


def test_deep_graphs_do_not_overflow_the_stack():
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1.0])
    for _ in range(20_000):
        y = y + x
    del y
