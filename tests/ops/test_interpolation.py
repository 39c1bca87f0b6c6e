import numpy as np
import pytest

from lamina import Tensor, ops
from lamina.testing import check_grads


def linear_numpy(x, length, aligned):
    """The last axis of ``x`` at evenly spread places, by its definition."""
    n = x.shape[-1]
    if aligned:
        places = np.linspace(0, n - 1, length) if length > 1 else np.zeros(1)
    else:
        places = (np.arange(length) + 0.5) * n / length - 0.5
    flat = [np.interp(places, np.arange(n), row) for row in x.reshape(-1, n)]
    return np.reshape(flat, (*x.shape[:-1], length))


@pytest.mark.parametrize("size", [(3, 4), (10, 14), (5, 7), (1, 2), (13, 1)])
@pytest.mark.parametrize("aligned", [False, True])
def test_bilinear_is_linear_in_both_axes(rng, size, aligned):
    x = rng.standard_normal((2, 3, 5, 7))
    rows = linear_numpy(x.swapaxes(2, 3), size[0], aligned).swapaxes(2, 3)
    expected = linear_numpy(rows, size[1], aligned)
    y = ops.interpolate(x, size, mode="bilinear", align_corners=aligned)
    np.testing.assert_allclose(y.data, expected, atol=1e-12)
    given = Tensor(x[:1, :1].swapaxes(2, 3).copy().swapaxes(2, 3), requires_grad=True)
    check_grads(lambda x: ops.interpolate(x, size, None, "bilinear", aligned), given)


def test_nearest_repeats_and_skips(rng):
    x = rng.standard_normal((1, 2, 3, 4))
    doubled = ops.interpolate(x, scale_factor=2)
    np.testing.assert_array_equal(doubled.data, x.repeat(2, 2).repeat(2, 3))
    y = ops.interpolate(x, (2, 6))
    np.testing.assert_array_equal(y.data, x[:, :, [0, 1]][..., [0, 0, 1, 2, 2, 3]])
    np.testing.assert_array_equal(ops.interpolate(x, scale_factor=(1, 0.5)).data, x[..., ::2])
    given = Tensor(x, requires_grad=True)
    check_grads(lambda x: ops.interpolate(x, (2, 6)), given)
    assert ops.interpolate(np.ones((1, 1, 2, 3, 4), np.float32), 5).shape == (1, 1, 5, 5, 5)


def test_a_factor_is_the_step_even_where_the_length_is_rounded(rng):
    # PyTorch takes one over the factor, not the ratio of the lengths.
    x = np.arange(5.0).reshape(1, 1, 5)
    y = ops.interpolate(x, scale_factor=1.5, mode="linear")
    places = (np.arange(7) + 0.5) / 1.5 - 0.5
    np.testing.assert_allclose(y.data[0, 0], np.clip(places, 0, 4), atol=1e-12)


def modes(x, *, mode):
    """One length up and one down for each axis of ``x``, in every way the mode has."""
    lengths = x.shape[2:]
    ways = [None] if mode == "nearest" else [None, True]
    for factor in (2, 0.4, 1.7):
        for aligned in ways:
            yield {"scale_factor": factor, "mode": mode, "align_corners": aligned}
    sizes = [n * 2 if i % 2 else n // 2 + 1 for i, n in enumerate(lengths)]
    for aligned in ways:
        yield {"size": sizes, "mode": mode, "align_corners": aligned}


CASES = [
    ("nearest", (2, 3, 7)),
    ("nearest", (1, 2, 5, 7)),
    ("nearest", (1, 2, 3, 5, 4)),
    ("linear", (2, 3, 9)),
    ("bilinear", (1, 2, 7, 5)),
    ("bilinear", (2, 1, 3, 19)),
]


@pytest.mark.parametrize(("mode", "shape"), CASES)
def test_gradients_at_odd_sizes_of_turned_input(rng, mode, shape):
    x = rng.standard_normal(shape[::-1]).transpose()
    given = Tensor(x, requires_grad=True)
    for options in modes(x, mode=mode):
        y = ops.interpolate(given, **options)
        np.testing.assert_array_equal(y.data, ops.interpolate(x.copy("C"), **options).data)
        check_grads(lambda x, options=options: ops.interpolate(x, **options), given)


@pytest.mark.parametrize(("mode", "shape"), CASES)
def test_types_without_a_kernel_get_the_same(rng, mode, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    for options in modes(x, mode=mode):
        tensors = [Tensor(x.astype(t), requires_grad=True) for t in (np.float32, ">f4")]
        results = [ops.interpolate(tensor, **options) for tensor in tensors]
        np.testing.assert_allclose(results[0].data, results[1].data, rtol=1e-6, atol=1e-6)
        dy = rng.standard_normal(results[0].shape[::-1]).astype(np.float32).transpose()
        for result in results:
            result.backward(dy)
        np.testing.assert_allclose(tensors[0].grad, tensors[1].grad, rtol=1e-5, atol=1e-5)
    if mode == "nearest":
        numbers = np.arange(x.size).reshape(shape)
        np.testing.assert_array_equal(
            ops.interpolate(numbers, scale_factor=1.7).data,
            ops.interpolate(numbers.astype(np.float32), scale_factor=1.7).data,
        )


def test_an_axis_too_long_to_keep_its_table(rng):
    x = rng.standard_normal((1, 1, 3000))
    y = ops.interpolate(x, 6000, mode="linear").data
    np.testing.assert_allclose(y, linear_numpy(x, 6000, False), atol=1e-12)


def test_bad_input_is_named():
    x = np.ones((1, 2, 3, 4))
    for message, options in [
        ("mode: expected 'nearest', 'linear' or 'bilinear', got 'cubic'", {"mode": "cubic"}),
        ("input: expected 3 axes for mode 'linear', got shape", {"size": 2, "mode": "linear"}),
        ("align_corners: expected None for nearest", {"size": 2, "align_corners": False}),
        ("expected size or scale_factor, not both", {}),
        ("expected size or scale_factor, not both", {"size": 2, "scale_factor": 2}),
        ("size: expected 2 numbers of at least 1, got 0", {"size": 0}),
        ("scale_factor: expected 2 positive numbers, got -1", {"scale_factor": -1}),
        (
            r"scale_factor: expected 2 positive numbers, got \(1, 2, 3\)",
            {"scale_factor": (1, 2, 3)},
        ),
        (r"scale_factor: expected an output of at least 1, got \[0, 0\]", {"scale_factor": 0.1}),
    ]:
        with pytest.raises(ValueError, match=f"interpolate: {message}"):
            ops.interpolate(x, **options)
    with pytest.raises(ValueError, match="input: expected 3 to 5 axes for mode 'nearest', got sha"):
        ops.interpolate(x[0, 0], 2)
    with pytest.raises(TypeError, match="input: expected floats for mode 'bilinear', got int64"):
        ops.interpolate(x.astype(np.int64), 2, mode="bilinear")
    with pytest.raises(ValueError, match="input: expected no empty axis to resize"):
        ops.interpolate(x[..., :0], 2)
