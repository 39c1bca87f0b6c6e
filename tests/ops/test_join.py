import numpy as np
import pytest

from lamina import Tensor, ops


@pytest.mark.parametrize(("length", "chunks"), [(0, 3), (5, 2), (7, 4), (3, 5), (6, 3)])
def test_chunks(length, chunks):
    pieces = ops.chunk(np.zeros((2, length)), chunks, 1)
    # PyTorch makes as many pieces of nothing as it is asked for.
    size = -(-length // chunks)
    expected = [min(size, length - i) for i in range(0, length, size)] if length else [0] * chunks
    assert [p.shape for p in pieces] == [(2, n) for n in expected]


def test_an_empty_axis_is_one_empty_piece():
    assert [p.shape for p in ops.split(np.zeros((2, 0)), 3, 1)] == [(2, 0)]
    assert [p.shape for p in Tensor(np.zeros(0)).split(3)] == [(0,)]
    assert [p.shape for p in Tensor(np.zeros(3)).chunk(2)] == [(2,), (1,)]
    with pytest.raises(IndexError, match="split: dim: expected -2 to 1, got 2"):
        ops.split(np.zeros((2, 0)), 3, 2)
    with pytest.raises(ValueError, match="chunk: input: expected at least 1 axis"):
        ops.chunk(1.0, 2)


def test_numbers_do_not_widen(rng):
    h = Tensor(rng.standard_normal((2, 3)).astype(np.float32), requires_grad=True)
    mask = h.data > 0
    for y in (ops.where(mask, h, 0), ops.where(mask, 1.0, h), ops.maximum(0, h), ops.minimum(h, 1)):
        assert y.dtype == np.float32
        y.sum().backward()
    assert ops.cat([h, np.ones((1, 3), int)]).dtype == np.float32
    assert ops.stack([h, mask]).dtype == np.float32
    assert ops.where(mask, 1, 0).dtype == np.int64
    assert ops.where(mask, 1.0, 0).dtype == np.float32


@pytest.mark.parametrize("sizes", [(2, 3), (1, 1), (2, 1, 3), (0, 2)])
def test_repeat_matches_numpy(rng, sizes):
    x = rng.standard_normal((2, 3))
    expected = np.tile(x, sizes)
    np.testing.assert_array_equal(ops.repeat(x, *sizes).data, expected)
    np.testing.assert_array_equal(Tensor(x).repeat(sizes).data, expected)


def test_bad_repeats_are_named():
    for sizes in ((2,), (2, -1)):
        with pytest.raises(ValueError, match="repeat: sizes: expected at least 2 counts, got"):
            ops.repeat(np.zeros((2, 3)), *sizes)


# Arrays on both sides of where the kernels take over from NumPy.
@pytest.mark.parametrize("rows", [3, 200])
@pytest.mark.parametrize(("name", "choose"), [("maximum", np.maximum), ("minimum", np.minimum)])
def test_extremes_of_two(rng, rows, name, choose):
    a = rng.integers(-2, 3, (rows, 1, 101)).astype(np.float32)
    b = rng.integers(-2, 3, (4, 101)).astype(np.float32)
    a[0, 0, 0] = b[1, 1] = np.nan
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = getattr(ops, name)(x, y)
    expected = choose(a, b)
    np.testing.assert_array_equal(z.data, expected)
    weights = rng.standard_normal(expected.shape).astype(np.float32)
    (z * weights).sum().backward()
    first = np.where(a == b, 0.5, (a == expected) | np.isnan(a))
    np.testing.assert_allclose(x.grad, (first * weights).sum(1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(y.grad, ((1 - first) * weights).sum(0), atol=1e-4)


@pytest.mark.parametrize("rows", [3, 200])
def test_where_broadcasts_all_three(rng, rows):
    mask = rng.random((rows, 1, 1)) < 0.5
    a, b = rng.standard_normal((4, 1)), rng.standard_normal((rows, 1, 101))
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = ops.where(mask, x, y)
    np.testing.assert_array_equal(z.data, np.where(mask, a, b))
    z.sum().backward()
    chosen = np.broadcast_to(mask, z.shape)
    np.testing.assert_allclose(x.grad, chosen.sum((0, 2))[:, None])
    np.testing.assert_allclose(y.grad, (~chosen).sum(1, keepdims=True))
    # What is not chosen gives no NaN to the gradient.
    b[:] = np.inf
    kept = ops.where(True, a, Tensor(b, requires_grad=True))
    np.testing.assert_array_equal(kept.data, np.broadcast_to(a, kept.shape))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_cat_of_large_parts(rng, dim):
    shapes = [[30, 40, 50] for _ in range(3)]
    for shape, length in zip(shapes, (7, 0, 31), strict=True):
        shape[dim] = length
    parts = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    parts[2] = np.asfortranarray(parts[2])
    expected = np.concatenate(parts, dim)
    np.testing.assert_array_equal(ops.cat(parts, dim).data, expected)
    tensors = [Tensor(part, requires_grad=True) for part in parts]
    dy = rng.standard_normal(expected.shape).astype(np.float32)
    ops.cat(tensors, dim).backward(dy)
    for tensor, grad in zip(tensors, np.split(dy, [7, 7], dim), strict=True):
        np.testing.assert_array_equal(tensor.grad, grad)
    with pytest.raises(ValueError, match="cat: tensors: shapes"):
        ops.cat([parts[0], parts[2][:, 1:, 1:]], 0)


@pytest.mark.parametrize("size", [3, 8000])
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_stack(rng, size, dim):
    parts = [rng.standard_normal((2, size)).astype(np.float32) for _ in range(3)]
    tensors = [Tensor(part, requires_grad=True) for part in parts]
    y = ops.stack(tensors, dim)
    np.testing.assert_array_equal(y.data, np.stack(parts, dim))
    dy = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(dy)
    for i, tensor in enumerate(tensors):
        np.testing.assert_array_equal(tensor.grad, np.take(dy, i, dim))
        assert not np.shares_memory(tensor.grad, dy)


def test_stack_of_numbers(rng):
    parts = [Tensor(float(i), requires_grad=True) for i in range(3)]
    y = ops.stack(parts)
    np.testing.assert_array_equal(y.data, np.arange(3, dtype=np.float32))
    y.backward([1, 2, 3])
    assert [part.grad for part in parts] == [1, 2, 3]


def test_stack_takes_tensors_of_one_shape():
    with pytest.raises(ValueError, match=r"stack: tensors: expected one shape, got \(2,\), \(3,\)"):
        ops.stack([np.ones(2), np.ones(3)])
    with pytest.raises(ValueError, match="stack: tensors: expected at least one, got none"):
        ops.stack([])
    with pytest.raises(ValueError, match="stack: dim: expected -2 to 1, got 2"):
        ops.stack([np.ones(2)], 2)
