import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import Tensor, _kernels, no_grad, num_threads, ops, set_num_threads
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def conv2d_numpy(x, w, b=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    o, per_group, kh, kw = w.shape
    oh = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((x.shape[0], o, oh, ow), x.dtype)
    for g in range(groups):
        outs = slice(g * o // groups, (g + 1) * o // groups)
        part = x[:, g * per_group : (g + 1) * per_group]
        for i, j in itertools.product(range(kh), range(kw)):
            top, left = i * dilation[0], j * dilation[1]
            seen = part[:, :, top :: stride[0], left :: stride[1]][:, :, :oh, :ow]
            y[:, outs] += np.einsum("nchw,oc->nohw", seen, w[outs, :, i, j])
    return y if b is None else y + b[:, None, None]


def conv_transpose2d_numpy(x, w, stride, padding, output_padding, dilation, groups):
    n, c, h, width = x.shape
    _, per_group, kh, kw = w.shape
    full = [
        (size - 1) * stride + dilation * (k - 1) + 1 + output_padding
        for size, k in ((h, kh), (width, kw))
    ]
    y = np.zeros((n, per_group * groups, *full), x.dtype)
    for g in range(groups):
        ins = slice(g * c // groups, (g + 1) * c // groups)
        outs = slice(g * per_group, (g + 1) * per_group)
        for i, j in itertools.product(range(kh), range(kw)):
            part = np.einsum("nchw,co->nohw", x[:, ins], w[ins, :, i, j])
            top, left = i * dilation, j * dilation
            y[:, outs, top : top + h * stride : stride, left : left + width * stride : stride][
                :, :, :h, :width
            ] += part
    return y[:, :, padding : full[0] - padding, padding : full[1] - padding]


def error(a, b):
    assert a.shape == b.shape
    return np.abs(a - b).max(initial=0) / (np.abs(b).max(initial=0) + 1e-30)


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file) | {"spec": json.loads(str(file["spec"]))}


def check_golden(case, op):
    inputs = [
        Tensor(case[key], requires_grad=True) for key in ("in_x", "p_w", "p_b") if key in case
    ]
    y = op(*inputs)
    assert error(y.data, case["out_y"]) <= 1e-5
    y.backward(case["cot_y"])
    for name, tensor in zip(("x", "w", "b"), inputs, strict=False):
        assert error(tensor.grad, case[f"g_{name}"]) <= 1e-5


@pytest.mark.parametrize("i", range(6))
def test_conv2d_golden(i):
    case = golden(f"conv2d_{i}")
    spec = case["spec"]
    options = [spec[key] for key in ("stride", "padding", "dilation", "groups")]
    check_golden(case, lambda x, w, b: ops.conv2d(x, w, b, *options))


def test_conv1d_golden():
    check_golden(golden("conv1d_0"), lambda x, w, b: ops.conv1d(x, w, b, 2, 1))


@pytest.mark.parametrize("i", range(3))
def test_conv_transpose2d_golden(i):
    case = golden(f"conv_transpose2d_{i}")
    spec = case["spec"]
    options = [spec[key] for key in ("stride", "padding", "output_padding", "groups")]
    check_golden(case, lambda x, w, b: ops.conv_transpose2d(x, w, b, *options))


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
        ((2, 3, 7, 5), (4, 3, 3, 3), {"padding": (1, 1)}),
        ((2, 3, 7, 5), (4, 3, 2, 5), {"padding": (0, 4), "stride": (2, 3)}),
        ((1, 4, 9, 8), (6, 2, 3, 2), {"dilation": (3, 2), "groups": 2}),
        ((3, 5, 6, 7), (5, 1, 3, 3), {"padding": (1, 1), "groups": 5}),
        ((2, 17, 13, 11), (33, 17, 3, 3), {"padding": (1, 0)}),
        ((2, 16, 1, 1), (16, 16, 3, 3), {"padding": (2, 2)}),
        ((0, 3, 7, 5), (4, 3, 3, 3), {}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matches_numpy(rng, x, w, options, dtype):
    x, w = rng.standard_normal(x).astype(dtype), rng.standard_normal(w).astype(dtype)
    b = rng.standard_normal(w.shape[0]).astype(dtype)
    expected = conv2d_numpy(*(a.astype(np.float64) for a in (x, w, b)), **options)
    y = ops.conv2d(x, w, b, **options)
    assert y.dtype == dtype
    assert error(y.data, expected) < (1e-5 if dtype == np.float32 else 1e-13)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_sizes(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    groups = draw(1, 3)
    kernel, dilation = (draw(1, 4), draw(1, 4)), (draw(1, 3), draw(1, 3))
    padding, stride = (draw(0, 3), draw(0, 3)), (draw(1, 3), draw(1, 3))
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(0, 9)
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    per_group, out = draw(1, 3), draw(1, 3)
    rng = np.random.default_rng(draw(0, 99))
    x = rng.standard_normal((draw(1, 2), groups * per_group, *size))
    w = rng.standard_normal((groups * out, per_group, *kernel))
    y = ops.conv2d(x, w, None, stride, padding, dilation, groups)
    assert error(y.data, conv2d_numpy(x, w, None, stride, padding, dilation, groups)) < 1e-13


@pytest.mark.parametrize(
    ("stride", "padding", "output_padding", "dilation", "groups"),
    [(1, 0, 0, 1, 1), (2, 1, 1, 1, 2), (3, 2, 2, 2, 1), (2, 0, 0, 3, 2)],
)
def test_conv_transpose2d_matches_numpy(rng, stride, padding, output_padding, dilation, groups):
    x, w = rng.standard_normal((2, 4, 5, 3)), rng.standard_normal((4, 3, 3, 2))
    y = ops.conv_transpose2d(x, w, None, stride, padding, output_padding, groups, dilation)
    expected = conv_transpose2d_numpy(x, w, stride, padding, output_padding, dilation, groups)
    assert error(y.data, expected) < 1e-13


def test_signals_are_images_of_height_one(rng):
    x, w = rng.standard_normal((2, 4, 9)), rng.standard_normal((6, 2, 3))
    y = ops.conv1d(x, w, stride=2, padding=1, dilation=2, groups=2)
    expected = conv2d_numpy(x[:, :, None], w[:, :, None], None, (1, 2), (0, 1), (1, 2), 2)
    assert error(y.data, expected[:, :, 0]) < 1e-13
    z = ops.conv_transpose1d(x[:, :3], w[:3], stride=3, padding=1, output_padding=2)
    assert z.shape == (2, 2, 8 * 3 - 2 + 2 + 2 + 1)


def test_padding_by_name(rng):
    x = rng.standard_normal((1, 2, 6, 7))
    w = rng.standard_normal((3, 2, 3, 4))
    same = ops.conv2d(x, w, padding="same", dilation=(2, 1))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (1, 2)))
    assert same.shape == (1, 3, 6, 7)
    assert error(same.data, conv2d_numpy(padded, w, dilation=(2, 1))) < 1e-13
    valid = ops.conv2d(x, w, padding="valid")
    assert error(valid.data, conv2d_numpy(x, w)) < 1e-13
    with pytest.raises(ValueError, match="conv2d: padding: expected numbers where stride is not 1"):
        ops.conv2d(x, w, stride=2, padding="same")
    with pytest.raises(ValueError, match="padding: expected numbers, 'same' or 'valid', got 'ful"):
        ops.conv2d(x, w, padding="full")


def test_one_sample_and_any_strides(rng):
    x, w = rng.standard_normal((5, 6, 3)), rng.standard_normal((3, 3, 4, 3))
    y = ops.conv2d(x.transpose(2, 0, 1)[:, ::-1], w.transpose(2, 0, 1, 3)[:, :3])
    expected = conv2d_numpy(x.transpose(2, 0, 1)[None, :, ::-1], w.transpose(2, 0, 1, 3)[:, :3])
    assert y.shape == expected.shape[1:]
    assert error(y.data, expected[0]) < 1e-13


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": (1, 2)},
        {"padding": 2, "dilation": (1, 2), "groups": 2},
        {"padding": "same"},
    ],
)
def test_gradients(rng, options):
    x = Tensor(rng.standard_normal((2, 4, 5, 6)), requires_grad=True)
    w = Tensor(rng.standard_normal((4, 4 // options.get("groups", 1), 3, 2)), requires_grad=True)
    b = Tensor(rng.standard_normal(4), requires_grad=True)
    check_grads(lambda x, w, b: ops.conv2d(x, w, b, **options), x, w, b)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2, "groups": 2}],
)
def test_conv_transpose2d_gradients(rng, options):
    x = Tensor(rng.standard_normal((2, 4, 3, 2)), requires_grad=True)
    w = Tensor(rng.standard_normal((4, 2, 2, 3)), requires_grad=True)
    b = Tensor(rng.standard_normal(2 * options.get("groups", 1)), requires_grad=True)
    check_grads(lambda x, w, b: ops.conv_transpose2d(x, w, b, **options), x, w, b)


def test_signal_gradients(rng):
    x = Tensor(rng.standard_normal((2, 3, 7)), requires_grad=True)
    w = Tensor(rng.standard_normal((4, 3, 3)), requires_grad=True)
    check_grads(lambda x, w: ops.conv1d(x, w, stride=2, padding=1), x, w)
    w = Tensor(rng.standard_normal((3, 2, 4)), requires_grad=True)
    check_grads(lambda x, w: ops.conv_transpose1d(x, w, stride=2, padding=1), x, w)


def test_gradients_nobody_needs_are_left_out(rng):
    x, w = rng.standard_normal((1, 2, 4, 4)), Tensor(rng.standard_normal((2, 2, 3, 3)), True)
    y = ops.conv2d(x, w)
    given = y._node.vjp(np.ones_like(y.data))
    assert given[0] is None
    assert given[2] is None
    with no_grad():
        assert not ops.conv2d(x, w).requires_grad


@pytest.mark.parametrize("shape", [(5, 40, 15, 18), (3, 64, 28, 28), (1, 128, 7, 9)])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_fast_3x3_agrees_with_the_exact_one(rng, shape, padding):
    x = Tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=True)
    w = Tensor(rng.standard_normal((48, shape[1], 3, 3)).astype(np.float32), requires_grad=True)
    b = Tensor(rng.standard_normal(48).astype(np.float32), requires_grad=True)
    results, threads = [], num_threads()
    for exact, count in ((True, threads), (False, 1), (False, 3)):
        _kernels.set_exact(exact)
        set_num_threads(count)
        x.grad = w.grad = b.grad = None
        y = ops.conv2d(x, w, b, padding=padding)
        y.backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
        results.append((y.data, x.grad, w.grad, b.grad))
    _kernels.set_exact(False)
    set_num_threads(threads)
    for expected, got, same in zip(*results, strict=True):
        assert error(got, expected) < 1e-5
        np.testing.assert_array_equal(got, same)


def test_bad_input_is_named(rng):
    x, w = np.ones((1, 2, 5, 5), np.float32), np.ones((4, 2, 3, 3), np.float32)
    with pytest.raises(ValueError, match="conv2d: input: expected 3 or 4 axes, got shape"):
        ops.conv2d(x[0, 0], w)
    with pytest.raises(ValueError, match="conv2d: weight: expected 4 axes, got shape"):
        ops.conv2d(x, w[0])
    with pytest.raises(
        ValueError, match=r"weight: expected shape \[4, 2, 3, 3\], got \[4, 1, 3, 3"
    ):
        ops.conv2d(x, w[:, :1])
    with pytest.raises(ValueError, match=r"bias: expected shape \[4\], got \[3\]"):
        ops.conv2d(x, w, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="kernel no larger than the padded input, got height 7"):
        ops.conv2d(x, np.ones((4, 2, 7, 3), np.float32))
    with pytest.raises(ValueError, match="conv2d: stride: expected 2 numbers of at least 1, got 0"):
        ops.conv2d(x, w, stride=0)
    with pytest.raises(ValueError, match="conv2d: groups: expected at least 1, got 0"):
        ops.conv2d(x, w, groups=0)
    with pytest.raises(ValueError, match="groups: expected a divisor of 2 and 4 channels, got 3"):
        ops.conv2d(x, w, groups=3)
    with pytest.raises(TypeError, match="weight: expected 4-d float32 array, got 4-d float64"):
        ops.conv2d(x, w.astype(np.float64))
    with pytest.raises(ValueError, match="output_padding: expected less than the stride or the"):
        ops.conv_transpose2d(x, w[:2], output_padding=1)


@pytest.mark.parametrize("size", [10**6, 10**9, 2**62])
def test_huge_outputs_are_refused(size):
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(ValueError, match="expected an output that fits in memory"):
        ops.conv2d(x, w, padding=size)
    with pytest.raises(ValueError, match="expected an output that fits in memory"):
        ops.conv_transpose2d(x, w, stride=size)


def test_an_output_without_rows():
    x, w, b = (
        Tensor(np.ones(shape, np.float32), requires_grad=True)
        for shape in [(3, 1, 2, 5), (1, 5, 3, 3), (5,)]
    )
    y = ops.conv_transpose2d(x, w, b, (1, 3), (2, 1), (0, 2))
    assert y.shape == (3, 5, 0, 15)
    y.sum().backward()
    assert not any(leaf.grad.any() for leaf in (x, w, b))
    with pytest.raises(ValueError, match="padding: expected at most 4 in all, got 6"):
        ops.conv_transpose2d(x, w, b, (1, 3), (3, 1), (0, 2))


def test_sizes_are_integers():
    x, w = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32)
    assert ops.conv2d(x, w, stride=np.int64(2)).shape == (1, 3, 2, 2)
    assert ops.conv2d(x, w, stride=np.array([2, 1])).shape == (1, 3, 2, 3)
    with pytest.raises(TypeError, match="conv2d: stride: expected integers, got 1"):
        ops.conv2d(x, w, stride=1.0)
    with pytest.raises(TypeError, match=r"conv2d: dilation: expected integers, got \(1, 1.5\)"):
        ops.conv2d(x, w, dilation=(1, 1.5))
    with pytest.raises(TypeError, match="conv2d: groups: expected an integer, got 1"):
        ops.conv2d(x, w, groups=1.0)


ACTIVATIONS = ["identity", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_in_the_same_call(rng, activation):
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 3, 6, 5), (4, 3, 3, 2), (4,)))

    def apart(x, w, b):
        y = ops.conv2d(x, w, b, 2, 1)
        if activation == "gelu_tanh":
            return ops.gelu(y, "tanh")
        return y if activation == "identity" else getattr(ops, activation)(y)

    def together(x, w, b):
        return ops.conv2d(x, w, b, 2, 1, activation=activation)

    with no_grad():
        expected = apart(x, w, b).data
        np.testing.assert_allclose(together(x, w, b).data, expected, rtol=0, atol=1e-15)
    check_grads(together, *(Tensor(a, requires_grad=True) for a in (x, w, b)))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_activation_of_no_such_name(requires_grad):
    x, w = Tensor(np.ones((1, 1, 3, 3)), requires_grad), np.ones((1, 1, 2, 2))
    for name in ("elu", "swish"):
        with pytest.raises(ValueError, match=f'activation: expected .* got "{name}"'):
            ops.conv2d(x, w, activation=name)


def test_options_as_lists_and_arrays(rng):
    x, w = rng.standard_normal((1, 2, 6, 7)), rng.standard_normal((3, 2, 2, 2))
    expected = ops.conv2d(x, w, None, (2, 1), (1, 0), (1, 2)).data
    given = [2, 1], np.array([1, 0]), [np.int64(1), 2]
    np.testing.assert_array_equal(ops.conv2d(x, w, None, *given).data, expected)
    with pytest.raises(TypeError, match="conv2d: stride: expected integers"):
        ops.conv2d(x, w, None, [1.0, 1.0])
    # Numbers that equal those of a call before.
    with pytest.raises(TypeError, match="conv2d: stride: expected integers"):
        ops.conv2d(x, w, None, (2.0, 1.0))
