import numpy as np
import pytest

from lamina import Tensor, nn
from lamina.testing import check_grads


def norm_numpy(x, weight, bias):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def attention_numpy(x, state, heads, hidden):
    q, k, v = np.split(
        x @ state["self_attn.in_proj_weight"].T + state["self_attn.in_proj_bias"], 3, -1
    )
    outputs = []
    for one_q, one_k, one_v in zip(*(np.split(part, heads, -1) for part in (q, k, v)), strict=True):
        scores = one_q @ one_k.swapaxes(-1, -2) / np.sqrt(one_q.shape[-1])
        weights = np.where(hidden, 0, np.exp(scores))
        outputs.append(weights / weights.sum(-1, keepdims=True) @ one_v)
    joined = np.concatenate(outputs, -1)
    return joined @ state["self_attn.out_proj.weight"].T + state["self_attn.out_proj.bias"]


def layer_numpy(x, state, heads, hidden, norm_first):
    def first(x):
        return norm_numpy(x, state["norm1.weight"], state["norm1.bias"])

    def second(x):
        return norm_numpy(x, state["norm2.weight"], state["norm2.bias"])

    def widen(x):
        wide = np.maximum(x @ state["linear1.weight"].T + state["linear1.bias"], 0)
        return wide @ state["linear2.weight"].T + state["linear2.bias"]

    if norm_first:
        x = x + attention_numpy(first(x), state, heads, hidden)
        return x + widen(second(x))
    x = first(x + attention_numpy(x, state, heads, hidden))
    return second(x + widen(x))


@pytest.mark.parametrize("norm_first", [False, True])
def test_matches_numpy(rng, norm_first):
    layer = nn.TransformerEncoderLayer(8, 2, 12, norm_first=norm_first, rng=rng).double().eval()
    for parameter in layer.parameters():
        parameter.data[...] += rng.standard_normal(parameter.shape) * 0.1
    state = layer.state_dict()
    assert list(state) == [
        "self_attn.in_proj_weight",
        "self_attn.in_proj_bias",
        "self_attn.out_proj.weight",
        "self_attn.out_proj.bias",
        "linear1.weight",
        "linear1.bias",
        "linear2.weight",
        "linear2.bias",
        "norm1.weight",
        "norm1.bias",
        "norm2.weight",
        "norm2.bias",
    ]
    x = rng.standard_normal((3, 5, 8))
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = True
    later = np.triu(np.ones((5, 5), bool), 1)
    for hidden, masks in [
        (np.zeros((5, 5), bool), {}),
        (later, {"src_mask": later}),
        (later, {"is_causal": True}),
        (padding[:, np.newaxis], {"src_key_padding_mask": padding}),
        (padding[:, np.newaxis] | later, {"src_key_padding_mask": padding, "src_mask": later}),
    ]:
        expected = layer_numpy(x, state, 2, hidden, norm_first)
        np.testing.assert_allclose(layer(x, **masks).data, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(layer(x[0]).data, layer(x).data[0], rtol=1e-9, atol=1e-9)


def test_gradients(rng):
    layer = nn.TransformerEncoderLayer(4, 2, 3, activation="gelu", rng=rng).double().eval()
    x = Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    check_grads(lambda x, *_: layer(x, is_causal=True), x, *layer.parameters())


def test_layers_are_copies_that_share_their_randomness(rng):
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.5, rng=rng)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    assert list(encoder.state_dict())[-3:] == ["layers.1.norm2.bias", "norm.weight", "norm.bias"]
    one, two = encoder.layers
    np.testing.assert_array_equal(one.linear1.weight.data, two.linear1.weight.data)
    assert one.linear1.weight is not two.linear1.weight
    assert one.dropout.rng is two.dropout.rng is rng
    x = rng.standard_normal((2, 3, 8)).astype(np.float32)
    assert (encoder(x).data != encoder(x).data).any()
    encoder.eval()
    expected = encoder.norm(two(one(x, is_causal=True), is_causal=True))
    np.testing.assert_array_equal(encoder(x, is_causal=True).data, expected.data)
    assert nn.TransformerEncoder(layer, 1).norm is None


def test_sequences_may_come_first(rng):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=False, bias=False, rng=rng).eval()
    x = rng.standard_normal((5, 3, 8)).astype(np.float32)
    y = layer(x)
    layer.self_attn.batch_first = True
    np.testing.assert_allclose(y.data, layer(x.swapaxes(0, 1)).data.swapaxes(0, 1), atol=1e-6)
    assert not any(name.endswith("bias") for name in layer.state_dict())


def test_bad_options_are_named():
    with pytest.raises(
        ValueError, match="activation: expected 'relu', 'gelu' or a function, got 't"
    ):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")
    with pytest.raises(ValueError, match="TransformerEncoder: num_layers: expected at least 1"):
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 4), 0)
