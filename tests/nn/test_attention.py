import os
from pathlib import Path

import numpy as np
import pytest

from lamina import Tensor, nn
from lamina.testing import check_grads

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parents[1] / "golden")) / "ops"


def error(got, expected):
    return np.abs(got - expected).max() / (np.abs(expected).max() + 1e-30)


def test_golden():
    golden = np.load(GOLDEN / "multihead_attention_0.npz")
    layer = nn.MultiheadAttention(12, 3)
    names = list(layer.state_dict())
    assert names == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    layer.load_state_dict({name: golden[f"p_{name}"] for name in names})
    x, memory = (Tensor(golden[f"in_{name}"], requires_grad=True) for name in "xy")
    y, weights = layer(x, memory, memory)
    assert error(y.data, golden["out_y"]) <= 1e-5
    assert error(weights.data, golden["out_weights"]) <= 1e-5
    ((y * golden["cot_y"]).sum() + (weights * golden["cot_weights"]).sum()).backward()
    assert error(x.grad, golden["g_x"]) <= 1e-5
    assert error(memory.grad, golden["g_y"]) <= 1e-5
    for name, parameter in layer.named_parameters():
        assert error(parameter.grad, golden[f"g_{name}"]) <= 1e-5
    fast, none = layer(x, memory, memory, need_weights=False)
    assert none is None
    assert error(fast.data, golden["out_y"]) <= 1e-5


@pytest.mark.parametrize("causal", [False, True])
def test_all_paths_agree(rng, causal):
    layer = nn.MultiheadAttention(12, 3, rng=rng)
    layer.in_proj_bias.data[...] = rng.standard_normal(36)
    x = rng.standard_normal((2, 7, 12)).astype(np.float32)
    padding = np.zeros((2, 7), bool)
    padding[1, 5:] = True
    hidden = rng.random((7, 7)) < 0.3
    hidden[:, 0] = False
    for masks in [
        {},
        {"key_padding_mask": padding},
        {"attn_mask": hidden, "key_padding_mask": padding},
    ]:
        slow, weights = layer(x, x, x, average_attn_weights=False, is_causal=causal, **masks)
        assert weights.shape == (2, 3, 7, 7)
        np.testing.assert_allclose(weights.data.sum(-1), 1, rtol=1e-5)
        if "key_padding_mask" in masks:
            assert not weights.data[1, :, :, 5:].any()
        packed, _ = layer(x, x, x, need_weights=False, is_causal=causal, **masks)
        np.testing.assert_allclose(packed.data, slow.data, atol=1e-5)
        apart, _ = layer(x, x.copy(), x, need_weights=False, is_causal=causal, **masks)
        np.testing.assert_allclose(apart.data, slow.data, atol=1e-5)
        numbers = {k: np.where(m, -np.inf, 0.0).astype(np.float32) for k, m in masks.items()}
        added, _ = layer(x, x, x, need_weights=False, is_causal=causal, **numbers)
        np.testing.assert_allclose(added.data, slow.data, atol=1e-5)
    by_head = np.broadcast_to(hidden, (6, 7, 7))
    one, _ = layer(x, x, x, attn_mask=hidden)
    each, _ = layer(x, x, x, attn_mask=by_head, key_padding_mask=np.zeros((2, 7), np.float32))
    np.testing.assert_allclose(each.data, one.data, atol=1e-6)


def test_layouts(rng):
    layer = nn.MultiheadAttention(8, 2, rng=rng)
    x = rng.standard_normal((3, 5, 8)).astype(np.float32)
    y, weights = layer(x, x, x)
    alone, own = layer(x[1], x[1], x[1])
    np.testing.assert_allclose(alone.data, y.data[1], atol=1e-6)
    np.testing.assert_allclose(own.data, weights.data[1], atol=1e-6)
    layer.batch_first = False
    turned = x.swapaxes(0, 1)
    z, _ = layer(turned, turned, turned)
    np.testing.assert_allclose(z.data.swapaxes(0, 1), y.data, atol=1e-6)


@pytest.mark.parametrize("need_weights", [False, True])
def test_gradients(rng, need_weights):
    layer = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, rng=rng).double()
    assert list(layer.state_dict())[:3] == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    shapes = (2, 3, 4), (2, 5, 3), (2, 5, 5)
    q, k, v = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes)
    check_grads(
        lambda q, k, v, *_: layer(q, k, v, need_weights=need_weights)[0],
        q,
        k,
        v,
        *layer.parameters(),
    )


def test_gradients_of_self_attention(rng):
    layer = nn.MultiheadAttention(4, 2, bias=False, rng=rng).double()
    assert list(layer.state_dict()) == ["in_proj_weight", "out_proj.weight"]
    x = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    check_grads(
        lambda x, *_: layer(x, x, x, need_weights=False, is_causal=True)[0], x, *layer.parameters()
    )


def test_dropout_only_in_training(rng):
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, rng=rng)
    x = rng.standard_normal((2, 6, 8)).astype(np.float32)
    assert not np.array_equal(layer(x, x, x)[0].data, layer(x, x, x)[0].data)
    layer.eval()
    assert np.array_equal(layer(x, x, x)[0].data, layer(x, x, x)[0].data)


def test_initial_values(rng):
    layer = nn.MultiheadAttention(64, 4, rng=rng)
    bound = np.sqrt(6 / (4 * 64))
    assert 0.9 * bound < np.abs(layer.in_proj_weight.data).max() <= bound
    assert not layer.in_proj_bias.data.any()
    assert not layer.out_proj.bias.data.any()
    assert "embed_dim=64, num_heads=4" in repr(layer)


def test_bad_input_is_named(rng):
    with pytest.raises(ValueError, match="heads that divide embed_dim, got embed_dim 10"):
        nn.MultiheadAttention(10, 3)
    with pytest.raises(ValueError, match="dropout: expected 0 to 1, got 2"):
        nn.MultiheadAttention(8, 2, dropout=2)
    layer = nn.MultiheadAttention(8, 2)
    x = np.ones((2, 3, 8), np.float32)
    with pytest.raises(ValueError, match="key: expected 2 sequences of 8 features, got shape"):
        layer(x, x[..., :7], x)
    with pytest.raises(
        ValueError, match=r"key_padding_mask: expected shape \(2, 3\), got \(3, 2\)"
    ):
        layer(x, x, x, np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match=r"attn_mask: expected shape \(3, 3\) or \(4, 3, 3\)"):
        layer(x, x, x, attn_mask=np.zeros((2, 3), bool))
    with pytest.raises(TypeError, match="mask: expected booleans or floats, got int64"):
        layer(x, x, x, attn_mask=np.zeros((3, 3), np.int64))


@pytest.mark.parametrize("need_weights", [False, True])
def test_added_masks_have_gradients(rng, need_weights):
    layer = nn.MultiheadAttention(4, 2, rng=rng).double()
    x = rng.standard_normal((2, 3, 4))
    bias = Tensor(rng.standard_normal((4, 3, 3)), requires_grad=True)
    padding = Tensor(rng.standard_normal((2, 3)), requires_grad=True)

    def run(bias, padding):
        return layer(x, x, x, padding, need_weights=need_weights, attn_mask=bias)[0]

    check_grads(run, bias, padding)


def test_all_weights_may_be_dropped(rng):
    layer = nn.MultiheadAttention(4, 2, dropout=1.0, rng=rng)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    y, _ = layer(x, x, x)
    np.testing.assert_array_equal(y.data, np.broadcast_to(layer.out_proj.bias.data, y.shape))
