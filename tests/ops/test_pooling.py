import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import Tensor, ops
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def out_len(length, kernel, stride, padding, dilation=1, ceil_mode=False):
    free = length + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-free // stride) if ceil_mode else free // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= length + padding else count


def pool_numpy(x, kernel, stride, padding, reduce, ceil_mode=False, dilation=(1, 1)):
    shape = [
        out_len(x.shape[2 + i], kernel[i], stride[i], padding[i], dilation[i], ceil_mode)
        for i in range(2)
    ]
    y = np.empty((*x.shape[:2], *shape))
    for i, j in np.ndindex(*shape):
        rows = i * stride[0] - padding[0] + dilation[0] * np.arange(kernel[0])
        cols = j * stride[1] - padding[1] + dilation[1] * np.arange(kernel[1])
        seen = [k[(k >= 0) & (k < n)] for k, n in zip((rows, cols), x.shape[2:], strict=True)]
        padded = [
            int((k < n + p).sum())
            for k, n, p in zip((rows, cols), x.shape[2:], padding, strict=True)
        ]
        y[:, :, i, j] = reduce(x[:, :, seen[0][:, None], seen[1]], padded[0] * padded[1])
    return y


def largest(window, padded):
    return window.max(axis=(2, 3))


def padded_mean(window, padded):
    return window.sum(axis=(2, 3)) / padded


def inside_mean(window, padded):
    return window.mean(axis=(2, 3))


@pytest.mark.parametrize(
    ("name", "op"),
    [
        (
            "max_pool2d_0",
            lambda x, s: ops.max_pool2d(x, s["kernel_size"], s["stride"], s["padding"]),
        ),
        (
            "avg_pool2d_0",
            lambda x, s: ops.avg_pool2d(x, s["kernel_size"], s["stride"], s["padding"]),
        ),
        ("avg_pool2d_1", lambda x, s: ops.avg_pool2d(x, s["kernel_size"], ceil_mode=True)),
        ("adaptive_avg_pool2d_0", lambda x, s: ops.adaptive_avg_pool2d(x, tuple(s["output_size"]))),
    ],
)
def test_golden(name, op):
    with np.load(GOLDEN / f"{name}.npz") as case:
        x = Tensor(case["in_x"], requires_grad=True)
        y = op(x, json.loads(str(case["spec"])))
        y.backward(case["cot_y"])
        for got, expected in ((y.data, case["out_y"]), (x.grad, case["g_x"])):
            assert got.shape == expected.shape
            assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_matches_numpy(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    kernel, stride = (draw(1, 4), draw(1, 4)), (draw(1, 4), draw(1, 4))
    padding = (draw(0, kernel[0] // 2), draw(0, kernel[1] // 2))
    size = [k + draw(0, 9) for k in kernel]
    ceil_mode = data.draw(st.booleans())
    x = np.random.default_rng(draw(0, 99)).standard_normal((2, 3, *size))
    args = kernel, stride, padding
    y = ops.max_pool2d(x, *args, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(y.data, pool_numpy(x, *args, largest, ceil_mode))
    for include, reduce in ((True, padded_mean), (False, inside_mean)):
        y = ops.avg_pool2d(x, *args, ceil_mode=ceil_mode, count_include_pad=include)
        np.testing.assert_allclose(y.data, pool_numpy(x, *args, reduce, ceil_mode), atol=1e-14)


def test_dilation_indices_and_nan(rng):
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    y, indices = ops.max_pool2d(x, (3, 2), 2, (1, 0), (2, 3), return_indices=True)
    expected = pool_numpy(x, (3, 2), (2, 2), (1, 0), largest, dilation=(2, 3))
    np.testing.assert_array_equal(y.data, expected)
    assert indices.dtype == np.int64
    flat = x.reshape(2, 3, -1)
    picked = np.take_along_axis(flat, indices.data.reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(picked.reshape(y.shape), y.data)
    x[0, 0, 4, 4] = np.nan
    assert np.isnan(ops.max_pool2d(x, 9, padding=4).data).sum() == 1


def test_signals(rng):
    x = rng.standard_normal((2, 3, 11))
    image = x[:, :, None]
    np.testing.assert_array_equal(
        ops.max_pool1d(x, 3, 2, 1).data,
        pool_numpy(image, (1, 3), (1, 2), (0, 1), largest)[:, :, 0],
    )
    y, indices = ops.max_pool1d(x, 3, return_indices=True)
    np.testing.assert_array_equal(np.take_along_axis(x, indices.data, 2), y.data)
    np.testing.assert_allclose(
        ops.avg_pool1d(x, 4, 3, 2, True, False).data,
        pool_numpy(image, (1, 4), (1, 3), (0, 2), inside_mean, True)[:, :, 0],
        atol=1e-14,
    )
    np.testing.assert_allclose(
        ops.adaptive_avg_pool1d(x, 1).data, x.mean(2, keepdims=True), atol=1e-14
    )


def test_adaptive(rng):
    x = rng.standard_normal((2, 3, 7, 5))
    for out in ((3, 2), (7, 5), (1, 1), (9, 4)):
        edges = [
            [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            for n, m in zip(x.shape[2:], out, strict=True)
        ]
        windows = [[x[:, :, a:b, c:d] for c, d in edges[1]] for a, b in edges[0]]
        for op, reduce in ((ops.adaptive_avg_pool2d, np.mean), (ops.adaptive_max_pool2d, np.max)):
            expected = np.moveaxis(
                np.array([[reduce(w, axis=(2, 3)) for w in row] for row in windows]), (0, 1), (2, 3)
            )
            np.testing.assert_allclose(op(x, out).data, expected, atol=1e-14)
    assert ops.adaptive_avg_pool2d(x, (None, 1)).shape == (2, 3, 7, 1)
    _, indices = ops.adaptive_max_pool2d(x, 1, True)
    np.testing.assert_array_equal(indices.data[..., 0, 0], x.reshape(2, 3, -1).argmax(2))
    assert ops.adaptive_max_pool2d(x[0], 2).shape == (3, 2, 2)
    assert ops.avg_pool2d(x[0].transpose(0, 2, 1), 2).shape == (3, 2, 3)
    assert ops.max_pool2d(x[:0], 2).shape == (0, 3, 3, 2)


@pytest.mark.parametrize(
    "op",
    [
        lambda x: ops.max_pool2d(x, 3, 2, 1),
        lambda x: ops.max_pool2d(x, 2, 1, 0, 2, ceil_mode=True),
        lambda x: ops.avg_pool2d(x, 3, 2, 1),
        lambda x: ops.avg_pool2d(x, (2, 3), 2, (1, 0), True, False),
        lambda x: ops.avg_pool2d(x, 2, divisor_override=3),
        lambda x: ops.adaptive_avg_pool2d(x, (3, 4)),
        lambda x: ops.adaptive_max_pool2d(x, (2, 3)),
        lambda x: ops.max_pool1d(x[0], 2),
        lambda x: ops.avg_pool1d(x[0], 3, 1),
        lambda x: ops.adaptive_avg_pool1d(x[0], 4),
    ],
)
def test_gradients(rng, op):
    check_grads(op, Tensor(rng.standard_normal((2, 2, 5, 6)), requires_grad=True))


def test_bad_input_is_named():
    x = np.ones((1, 2, 4, 4), np.float32)
    with pytest.raises(ValueError, match="max_pool2d: input: expected 3 or 4 axes, got shape"):
        ops.max_pool2d(x[0, 0], 2)
    with pytest.raises(ValueError, match="kernel_size: expected 2 numbers of at least 1, got 0"):
        ops.max_pool2d(x, 0)
    with pytest.raises(ValueError, match="padding: expected at most half of kernel_size 2, got 2"):
        ops.avg_pool2d(x, 2, padding=2)
    with pytest.raises(ValueError, match="window no larger than the padded input of length 4"):
        ops.avg_pool2d(x, 5)
    with pytest.raises(ValueError, match="divisor_override: expected at least 1, got 0"):
        ops.avg_pool2d(x, 2, divisor_override=0)
    with pytest.raises(ValueError, match="x: expected no empty plane"):
        ops.max_pool2d(x[:, :, :0], 2, padding=1)
    with pytest.raises(ValueError, match="output_size: expected 2 numbers of at least 0, got"):
        ops.adaptive_avg_pool2d(x, -1)
    with pytest.raises(ValueError, match="expected what fits in memory"):
        ops.adaptive_avg_pool2d(x, 2**40)
    with pytest.raises(TypeError, match="x: expected float32 or float64 array, got int64"):
        ops.max_pool2d(np.ones((1, 1, 2, 2), np.int64), 2)


def test_in_ceil_mode_one_window_may_be_larger_than_the_input():
    x = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    np.testing.assert_array_equal(ops.max_pool2d(x, 3, 2, ceil_mode=True).data, [[[4]]])
    np.testing.assert_array_equal(ops.avg_pool2d(x, 3, 2, ceil_mode=True).data, [[[2.5]]])
    np.testing.assert_array_equal(ops.max_pool1d(x, 3, 2, ceil_mode=True).data, [[[2], [4]]])
    np.testing.assert_array_equal(ops.avg_pool1d(x, 3, 2, ceil_mode=True).data, [[[1.5], [3.5]]])
    given = Tensor(x, requires_grad=True)
    check_grads(lambda x: ops.avg_pool2d(x, 3, 2, ceil_mode=True), given)
    with pytest.raises(ValueError, match="no larger than the padded input of length 2, got 4"):
        ops.max_pool2d(x, 4, 2, ceil_mode=True)


def test_sizes_are_integers():
    x = np.ones((1, 4, 4))
    assert ops.max_pool2d(x, np.int64(2)).shape == (1, 2, 2)
    assert ops.adaptive_avg_pool2d(x, np.int64(2)).shape == (1, 2, 2)
    assert ops.adaptive_avg_pool2d(x, np.array([2, 1])).shape == (1, 2, 1)
    with pytest.raises(TypeError, match="max_pool2d: kernel_size: expected integers, got 2"):
        ops.max_pool2d(x, 2.0)
    with pytest.raises(TypeError, match="adaptive_avg_pool2d: output_size: expected integers"):
        ops.adaptive_avg_pool2d(x, 2.0)
    with pytest.raises(TypeError, match="avg_pool2d: divisor_override: expected an integer"):
        ops.avg_pool2d(x, 2, divisor_override=1.5)
