import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina import Tensor, _kernels, ops
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def attention_numpy(q, k, v, mask=None, causal=False, scale=None):
    """The definition, with every row of scores in memory."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat(group, 1), v.repeat(group, 1)
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total) @ v


def make(rng, b, h, hk, t, s, d, dv, dtype=np.float64):
    shapes = (b, h, t, d), (b, hk, s, d), (b, hk, s, dv)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def error(got, expected):
    return np.abs(got - expected).max() / (np.abs(expected).max() + 1e-30)


@pytest.mark.parametrize("case", range(4))
def test_golden(case):
    golden = np.load(GOLDEN / f"attention_{case}.npz")
    causal = json.loads(str(golden["spec"]))["causal"]
    q, k, v = (Tensor(golden[f"in_{name}"], requires_grad=True) for name in "qkv")
    mask = golden.get("in_mask")
    y = ops.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)
    assert error(y.data, golden["out_y"]) <= 1e-5
    y.backward(golden["cot_y"])
    for name, x in zip("qkv", (q, k, v), strict=True):
        assert error(x.grad, golden[f"g_{name}"]) <= 1e-5


SIZES = [
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 3, 7, 7, 8, 8),
    (2, 4, 2, 5, 9, 16, 3),
    (1, 2, 1, 70, 33, 17, 24),
    (1, 2, 2, 130, 300, 64, 64),
    (0, 2, 2, 3, 4, 5, 6),
    (1, 2, 2, 0, 4, 5, 6),
    (1, 2, 2, 3, 0, 5, 6),
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [None, "bool", "float"])
def test_matches_numpy(rng, sizes, causal, kind):
    q, k, v = make(rng, *sizes)
    mask = None
    if kind is not None:
        mask = rng.standard_normal((sizes[0], 1, sizes[3], sizes[4]))
        mask = mask > 0 if kind == "bool" else mask
    expected = attention_numpy(q, k, v, mask, causal)
    y = ops.scaled_dot_product_attention(q, k, v, mask, 0.0, causal, enable_gqa=True).data
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)
    q, k, v = (x.astype(np.float32) for x in (q, k, v))
    y = ops.scaled_dot_product_attention(q, k, v, mask, 0.0, causal, enable_gqa=True).data
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=3e-6)


@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(1, 20),
    st.booleans(),
)
def test_any_size(h, t, s, d, dv, causal):
    rng = np.random.default_rng(t * s)
    q, k, v = make(rng, 2, 2 * h, h, t, s, d, dv)
    y = ops.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).data
    np.testing.assert_allclose(y, attention_numpy(q, k, v, None, causal), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1, 1, 1), (2, 2, 2, 3, 3, 4, 4), (1, 4, 2, 3, 5, 3, 2)]
)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [None, "bool", "float"])
def test_gradients(rng, sizes, causal, kind):
    tensors = [Tensor(x, requires_grad=True) for x in make(rng, *sizes)]
    mask = None
    if kind is not None:
        mask = rng.standard_normal((sizes[1], sizes[3], sizes[4]))
        mask = mask > -0.5 if kind == "bool" else mask
    check_grads(
        lambda q, k, v: ops.scaled_dot_product_attention(
            q, k, v, mask, is_causal=causal, scale=0.8, enable_gqa=True
        ),
        *tensors,
    )


def test_gradients_over_several_tiles(rng):
    q, k, v = (Tensor(x, requires_grad=True) for x in make(rng, 1, 2, 1, 135, 140, 3, 2))
    check_grads(
        lambda q, k, v: ops.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=1.5, enable_gqa=True
        ),
        q,
        k,
        v,
    )


def test_gradient_of_the_mask(rng):
    tensors = [Tensor(x, requires_grad=True) for x in make(rng, 2, 2, 1, 3, 4, 5, 2)]
    bias = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    bias.data[0, 1] = -np.inf

    def run(q, k, v):
        return ops.scaled_dot_product_attention(q, k, v, bias, is_causal=True, enable_gqa=True)

    expected = attention_numpy(*(x.data for x in tensors), bias.data, True)
    np.testing.assert_allclose(run(*tensors).data, expected, rtol=1e-12, atol=1e-14)
    check_grads(run, *tensors)
    bias.data[0, 1] = 0.5
    check_grads(
        lambda bias: ops.scaled_dot_product_attention(
            *tensors[:1], *[Tensor(x.data.repeat(2, 1)) for x in tensors[1:]], bias
        ),
        bias,
    )


def test_any_number_of_leading_axes(rng):
    q, k, v = make(rng, 6, 2, 2, 5, 4, 3, 2)
    mask = rng.standard_normal((6, 2, 5, 4))
    expected = attention_numpy(q, k, v, mask)
    attention = ops.scaled_dot_product_attention
    for i in range(2):
        y = attention(q[0, i], k[0, i], v[0, i], mask[0, i]).data
        np.testing.assert_allclose(y, expected[0, i], atol=1e-14)
    np.testing.assert_allclose(attention(q[0], k[0], v[0], mask[0]).data, expected[0], atol=1e-14)
    deep = [x.reshape(2, 3, *x.shape[1:]) for x in (q, k, v, mask)]
    for cut in (slice(None), slice(0, 1)):
        mask = deep[3][:, cut]
        full = np.broadcast_to(mask, deep[3].shape).reshape(6, 2, 5, 4)
        tensors = [Tensor(x, requires_grad=True) for x in deep[:3]]
        y = attention(*tensors, mask)
        assert y.shape == (2, 3, 2, 5, 2)
        expected = attention_numpy(q, k, v, full)
        np.testing.assert_allclose(y.data.reshape(6, 2, 5, 2), expected, atol=1e-14)
        check_grads(lambda q, k, v, mask=mask: attention(q, k, v, mask), *tensors)


def test_masks_broadcast(rng):
    q, k, v = make(rng, 2, 3, 3, 5, 4, 6, 6)
    for shape in [(5, 4), (1, 4), (5, 1), (3, 5, 4), (2, 1, 1, 4), (2, 3, 5, 4), (1,)]:
        mask = rng.standard_normal(shape)
        y = ops.scaled_dot_product_attention(q, k, v, mask).data
        np.testing.assert_allclose(y, attention_numpy(q, k, v, mask), atol=1e-14)
        y = ops.scaled_dot_product_attention(q, k, v, mask > 0).data
        np.testing.assert_allclose(y, attention_numpy(q, k, v, mask > 0), atol=1e-14)


def test_any_strides(rng):
    packed = rng.standard_normal((2, 9, 3, 4, 16))[:, ::-1]
    q, k, v = (packed[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    expected = attention_numpy(q, k, v, None, True)
    np.testing.assert_allclose(
        ops.scaled_dot_product_attention(q, k, v, is_causal=True).data, expected, atol=1e-14
    )
    y = ops.scaled_dot_product_attention(q[..., ::-1], k[..., ::-1], v, is_causal=True).data
    np.testing.assert_allclose(y, expected, atol=1e-14)
    turned = (np.asfortranarray(x) for x in (q, k, v))
    y = ops.scaled_dot_product_attention(*turned, is_causal=True).data
    np.testing.assert_allclose(y, expected, atol=1e-14)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_packed_equals_separate(rng, heads, kv_heads, masked):
    n, length, d = 2, 11, 6
    data = rng.standard_normal((n, length, (heads + 2 * kv_heads) * d))
    mask = rng.standard_normal((n, 1, length, length)) > -0.5 if masked else None
    dy = rng.standard_normal((n, length, heads * d))
    qkv = Tensor(data, requires_grad=True)
    y = ops.self_attention(qkv, heads, kv_heads, mask, is_causal=True, scale=0.3)
    y.backward(dy)
    parts = np.split(data, [heads * d, (heads + kv_heads) * d], axis=2)
    separate = [Tensor(x.reshape(n, length, -1, d).transpose(0, 2, 1, 3), True) for x in parts]
    out = ops.scaled_dot_product_attention(
        *separate, mask, is_causal=True, scale=0.3, enable_gqa=True
    )
    out.backward(dy.reshape(n, length, heads, d).transpose(0, 2, 1, 3))
    assert np.array_equal(y.data, out.data.transpose(0, 2, 1, 3).reshape(y.shape))
    grads = [x.grad.transpose(0, 2, 1, 3).reshape(n, length, -1) for x in separate]
    assert np.array_equal(qkv.grad, np.concatenate(grads, axis=2))


def test_packed_gradients(rng):
    qkv = Tensor(rng.standard_normal((2, 4, 12)), requires_grad=True)
    check_grads(lambda qkv: ops.self_attention(qkv, 2, is_causal=True), qkv)
    check_grads(lambda qkv: ops.self_attention(qkv, 4, 1), qkv)


def test_queries_that_see_no_key_give_zeros(rng):
    q, k, v = make(rng, 1, 2, 2, 3, 4, 5, 6, np.float32)
    keep = np.ones((3, 4), bool)
    keep[1] = False
    for mask in (keep, np.where(keep, 0, -np.inf).astype(np.float32)):
        tensors = [Tensor(x, requires_grad=True) for x in (q, k, v)]
        y = ops.scaled_dot_product_attention(*tensors, mask)
        assert not y.data[:, :, 1].any()
        y.sum().backward()
        assert not tensors[0].grad[:, :, 1].any()
        assert all(np.isfinite(x.grad).all() for x in tensors)
    weights = ops.attention_weights(q, k, keep).data
    assert not weights[:, :, 1].any()
    np.testing.assert_allclose(weights[:, :, [0, 2]].sum(-1), 1, rtol=1e-6)


def test_large_scores_stay_finite(rng):
    q, k, v = make(rng, 1, 2, 2, 150, 150, 8, 8, np.float32)
    tensors = [Tensor(x, requires_grad=True) for x in (q * 100, k * 100, v)]
    y = ops.scaled_dot_product_attention(*tensors, is_causal=True, scale=1.0)
    y.sum().backward()
    assert np.isfinite(y.data).all()
    assert all(np.isfinite(x.grad).all() for x in tensors)


def test_not_a_number_reaches_the_output(rng):
    q, k, v = make(rng, 1, 1, 1, 4, 4, 3, 3, np.float32)
    q[0, 0, 2, 1] = np.nan
    y = ops.scaled_dot_product_attention(q, k, v).data
    assert np.isnan(y[0, 0, 2]).all()
    assert np.isfinite(y[0, 0, [0, 1, 3]]).all()


@pytest.mark.parametrize("sizes", [(2, 3, 3, 64, 64, 32, 32), (1, 2, 1, 700, 700, 16, 16)])
def test_the_same_bits_for_any_number_of_threads(rng, sizes):
    data = make(rng, *sizes, np.float32)
    before = _kernels.num_threads()
    results = []
    for threads in (1, 2, 3):
        _kernels.set_num_threads(threads)
        tensors = [Tensor(x, requires_grad=True) for x in data]
        y = ops.scaled_dot_product_attention(*tensors, is_causal=True, enable_gqa=True)
        y.sum().backward()
        results.append([y.data, *(x.grad for x in tensors)])
    _kernels.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_dropout_keeps_the_mean_and_repeats(rng):
    q, k, v = make(rng, 1, 1, 1, 50, 60, 8, 1)
    v = np.ones_like(v)
    lamina.manual_seed(3)
    first = ops.scaled_dot_product_attention(q, k, v, dropout_p=0.4).data
    lamina.manual_seed(3)
    again = ops.scaled_dot_product_attention(q, k, v, dropout_p=0.4).data
    assert np.array_equal(first, again)
    assert abs(first.mean() - 1) < 0.1
    assert first.std() > 0.01

    def run(q, k, v):
        lamina.manual_seed(5)
        return ops.scaled_dot_product_attention(q, k, v, None, 0.3)

    check_grads(run, *(Tensor(x, requires_grad=True) for x in make(rng, 1, 2, 2, 3, 4, 2, 2)))


def test_bad_input_is_named(rng):
    q, k, v = make(rng, 2, 4, 2, 3, 5, 8, 8)
    attention = ops.scaled_dot_product_attention
    with pytest.raises(ValueError, match=r"key: expected as many heads .* enable_gqa=True"):
        attention(q, k, v)
    with pytest.raises(ValueError, match="same leading axes"):
        attention(q, k[0], v[0])
    with pytest.raises(ValueError, match="expected a number of heads that divides 4, got 3"):
        attention(q, *make(rng, 2, 3, 3, 5, 5, 8, 8)[:2], enable_gqa=True)
    with pytest.raises(ValueError, match=r"v: expected shape \[2, 2, 5, 8\], got \[2, 2, 4, 8\]"):
        attention(q, k, v[:, :, :4], enable_gqa=True)
    with pytest.raises(ValueError, match=r"k: expected shape \[2, 2, 5, 8\], got \[2, 2, 5, 7\]"):
        attention(q, k[..., :7], v, enable_gqa=True)
    with pytest.raises(ValueError, match=r"attn_mask: expected .* \(2, 4, 3, 5\), got \(3, 4\)"):
        attention(q, k, v, np.ones((3, 4), bool), enable_gqa=True)
    with pytest.raises(TypeError, match="attn_mask: expected booleans or floats, got int64"):
        attention(q, k, v, np.ones((3, 5), np.int64), enable_gqa=True)
    with pytest.raises(TypeError, match="k: expected 4-d float64 array, got 4-d float32"):
        attention(q, k.astype(np.float32), v, enable_gqa=True)
    with pytest.raises(ValueError, match=r"dropout_p: expected 0 to 1, got 1.5"):
        attention(q, q, q, dropout_p=1.5)
    with pytest.raises(ValueError, match=r"qkv: expected \[N, L, \(3 \+ 2 \* 3\) \* D\], got"):
        ops.self_attention(np.ones((1, 2, 8), np.float32), 3)
    with pytest.raises(ValueError, match="num_kv_heads: expected a divisor of 3 heads, got 2"):
        ops.self_attention(np.ones((1, 2, 7), np.float32), 3, 2)


def test_the_packed_form_has_the_gradient_of_an_added_mask(rng):
    qkv = Tensor(rng.standard_normal((2, 3, 16)), requires_grad=True)
    mask = Tensor(rng.standard_normal((1, 2, 3, 3)), requires_grad=True)
    check_grads(lambda qkv, mask: ops.self_attention(qkv, 2, 1, mask), qkv, mask)
    with_gradient = ops.self_attention(qkv, 2, 1, mask, True)
    without = ops.self_attention(qkv, 2, 1, mask.detach(), True)
    np.testing.assert_allclose(with_gradient.data, without.data, rtol=1e-12)


def test_dropout_is_a_probability(rng):
    q = rng.standard_normal((2, 3, 4)).astype(np.float32)

    def weights(p):
        return ops.attention_weights(q, q, dropout_p=p)

    def attention(p):
        return ops.scaled_dot_product_attention(q, q, q, dropout_p=p)

    for function in (weights, attention):
        np.testing.assert_array_equal(function(1.0).data, 0)
        for p in (-0.5, float("nan"), 1.5):
            with pytest.raises(ValueError, match="dropout_p: expected 0 to 1, got"):
                function(p)


@pytest.mark.parametrize(("t", "s", "d"), [(0, 3, 4), (3, 0, 4), (3, 5, 0)])
def test_empty_axes_of_a_batch_of_batches(t, s, d):
    q, k, v = (
        Tensor(np.ones((2, 1, 2, *shape), np.float32), requires_grad=True)
        for shape in [(t, d), (s, d), (s, 4)]
    )
    y = ops.scaled_dot_product_attention(q, k, v)
    assert y.shape == (2, 1, 2, t, 4)
    y.sum().backward()
    assert [x.grad.shape for x in (q, k, v)] == [q.shape, k.shape, v.shape]
