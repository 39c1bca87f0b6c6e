import numpy as np
import pytest

import lamina
from lamina import Tensor
from lamina.testing import check_grads


def leaf(rng, *shape):
    return Tensor(rng.standard_normal(shape), requires_grad=True)


BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b * b + 1),
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
    "max_axis": lambda x: x.max(1),
    "min_axis": lambda x: x.min(0, keepdim=True),
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


def test_the_graph_is_released_unless_kept():
    x = Tensor([1.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, [4.0])
    with pytest.raises(RuntimeError, match="already used"):
        y.backward()


def test_modes():
    x = Tensor([1.0], requires_grad=True)
    with lamina.no_grad():
        assert not (x * 2).requires_grad
        with lamina.enable_grad():
            assert (x * 2).requires_grad

    @lamina.no_grad()
    def double(x):
        return x * 2

    assert not double(x).requires_grad
    assert lamina.is_grad_enabled()
    assert (x * 2).requires_grad
    assert not (x.detach() * 2).requires_grad


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
