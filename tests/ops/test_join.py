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
