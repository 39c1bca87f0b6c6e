import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import Tensor, num_threads, ops, set_num_threads
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def test_golden():
    case = np.load(GOLDEN / "embedding_0.npz")
    weight = Tensor(case["p_w"], requires_grad=True)
    y = ops.embedding(case["in_idx"], weight, padding_idx=2)
    np.testing.assert_array_equal(y.data, case["out_y"])
    y.backward(case["cot_y"])
    expected = case["g_w"]
    assert np.abs(weight.grad - expected).max() <= 1e-5 * np.abs(expected).max()


def gradient_numpy(ids, dy, rows, padding):
    dweight = np.zeros((rows, dy.shape[-1]))
    np.add.at(dweight, ids.reshape(-1), dy.reshape(-1, dy.shape[-1]))
    if padding is not None:
        dweight[padding] = 0
    return dweight


@given(
    st.integers(1, 9), st.integers(1, 200), st.integers(0, 40), st.booleans(), st.integers(0, 99)
)
def test_matches_numpy(rows, width, count, padded, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, rows, (count, 2)).astype([np.int32, np.int64][seed % 2])
    weight = Tensor(rng.standard_normal((rows, width)), requires_grad=True)
    padding = rows - 1 if padded else None
    y = ops.embedding(ids, weight, -1 if padded else None)
    np.testing.assert_array_equal(y.data, weight.data[ids])
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected = gradient_numpy(ids, dy, rows, padding)
    np.testing.assert_allclose(weight.grad, expected, rtol=1e-12, atol=1e-12)


def test_gradients(rng):
    weight = Tensor(rng.standard_normal((5, 3)), requires_grad=True)
    check_grads(lambda w: ops.embedding(np.array([[0, 4], [4, 4], [1, 0]]), w), weight)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_ids_of_any_integer_type_and_stride(rng, dtype):
    weight = rng.standard_normal((6, 4)).astype(np.float32).T
    ids = np.arange(8, dtype=dtype).reshape(2, 4).T % 4
    for given_ids in (ids, Tensor(ids), ids.tolist()):
        np.testing.assert_array_equal(ops.embedding(given_ids, weight).data, weight[ids])
    assert ops.embedding(dtype(3), weight).shape == (6,)


def test_same_bits_for_any_number_of_threads(rng):
    ids = rng.zipf(1.3, 5000) % 50
    weight = Tensor(rng.standard_normal((50, 300)).astype(np.float32), requires_grad=True)
    dy = rng.standard_normal((5000, 300))
    before = num_threads()
    grads = []
    for n in (1, 2, 3):
        set_num_threads(n)
        weight.grad = None
        ops.embedding(ids, weight).backward(dy)
        grads.append(weight.grad)
    set_num_threads(before)
    np.testing.assert_array_equal(grads[0], grads[1])
    np.testing.assert_array_equal(grads[0], grads[2])
    np.testing.assert_allclose(grads[0], gradient_numpy(ids, dy, 50, None), rtol=1e-3, atol=1e-3)


def test_bad_input_is_named():
    weight = np.ones((3, 2))
    for bad in (3, -1, 2**40):
        message = rf"\[embedding_forward\] input: expected ids from 0 to below 3, got {bad}"
        with pytest.raises(ValueError, match=message):
            ops.embedding(np.array([0, bad]), weight)
    with pytest.raises(TypeError, match="input: expected integers, got float64 array"):
        ops.embedding(np.array([0.0]), weight)
    with pytest.raises(TypeError, match="weight: expected 2-d float64 array, got 1-d float64"):
        ops.embedding(np.array([0]), weight[0])
    with pytest.raises(ValueError, match="padding_idx: expected -3 to 2, got 3"):
        ops.embedding(np.array([0]), weight, 3)
