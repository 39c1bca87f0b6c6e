import math

import numpy as np
import pytest

from lamina import generation, models, ops
from lamina.testing import check_grads

TINY = {"vocab_size": 11, "context": 8, "dim": 12, "num_heads": 3, "num_layers": 2}


def make(rng, **options):
    return models.GPT(models.GPTConfig(**{**TINY, **options}), rng=rng)


def widen(model, rng):
    """Larger weights than the initial ones, so that mistakes show; biases that are not zero."""
    for parameter in model.parameters():
        parameter.data[...] += rng.normal(0, 0.2, parameter.shape)
    return model


def layer_norm(x, state, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return y * state[f"{name}.weight"] + state.get(f"{name}.bias", 0)


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)


def gelu(x, activation):
    if activation == "gelu":
        return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def gpt_numpy(model, ids):
    """Textbook forward pass, one head and one position at a time, in float64."""
    state = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    config = model.config
    size = config.dim // config.num_heads
    x = state["wte.weight"][ids] + state["wpe.weight"][: ids.shape[1]]
    for i in range(config.num_layers):
        qkv = linear(layer_norm(x, state, f"h.{i}.ln_1"), state, f"h.{i}.attn.c_attn")
        q, k, v = np.split(qkv, 3, axis=-1)
        y = np.zeros_like(x)
        for n in range(ids.shape[0]):
            for t in range(ids.shape[1]):
                for h in range(config.num_heads):
                    part = slice(h * size, (h + 1) * size)
                    scores = k[n, : t + 1, part] @ q[n, t, part] / np.sqrt(size)
                    weights = np.exp(scores - scores.max())
                    y[n, t, part] = weights / weights.sum() @ v[n, : t + 1, part]
        x = x + linear(y, state, f"h.{i}.attn.c_proj")
        inner = linear(layer_norm(x, state, f"h.{i}.ln_2"), state, f"h.{i}.mlp.c_fc")
        x = x + linear(gelu(inner, config.activation), state, f"h.{i}.mlp.c_proj")
    head = "wte" if config.tie_weights else "lm_head"
    return layer_norm(x, state, "ln_f") @ state[f"{head}.weight"].T


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tie_weights", [False, True])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 8)])
def test_matches_numpy(rng, activation, bias, tie_weights, rows, length):
    model = widen(make(rng, activation=activation, bias=bias, tie_weights=tie_weights), rng)
    ids = rng.integers(0, 11, (rows, length))
    np.testing.assert_allclose(model(ids).data, gpt_numpy(model, ids), rtol=1e-4, atol=1e-5)


def test_parameters_are_those_of_gpt2(rng):
    model = make(rng)
    assert list(model.state_dict()) == [
        "wte.weight",
        "wpe.weight",
        *(
            f"h.{i}.{name}"
            for i in range(2)
            for name in (
                "ln_1.weight",
                "ln_1.bias",
                "attn.c_attn.weight",
                "attn.c_attn.bias",
                "attn.c_proj.weight",
                "attn.c_proj.bias",
                "ln_2.weight",
                "ln_2.bias",
                "mlp.c_fc.weight",
                "mlp.c_fc.bias",
                "mlp.c_proj.weight",
                "mlp.c_proj.bias",
            )
        ),
        "ln_f.weight",
        "ln_f.bias",
    ]
    d, v, c = 12, 11, 8
    block = 12 * d * d + 13 * d
    assert model.num_parameters() == v * d + c * d + 2 * block + 2 * d


def test_initial_weights(rng):
    model = make(rng, vocab_size=200, dim=120, num_layers=8)
    np.testing.assert_allclose(model.wte.weight.data.std(), 0.02, rtol=0.05)
    np.testing.assert_allclose(model.h[3].attn.c_attn.weight.data.std(), 0.02, rtol=0.05)
    for branch in (model.h[3].attn, model.h[3].mlp):
        np.testing.assert_allclose(branch.c_proj.weight.data.std(), 0.02 / 4, rtol=0.05)
        assert not branch.c_proj.bias.data.any()
    again = make(np.random.default_rng(0), vocab_size=200, dim=120, num_layers=8)
    np.testing.assert_array_equal(model.wte.weight.data, again.wte.weight.data)


@pytest.mark.parametrize("tie_weights", [False, True])
def test_gradients(rng, tie_weights):
    model = make(rng, dim=4, num_heads=2, num_layers=1, vocab_size=5, tie_weights=tie_weights)
    model = widen(model.double(), rng)
    ids = rng.integers(0, 5, (2, 3))
    targets = rng.integers(0, 5, (2, 3))

    def loss(*_):
        return ops.cross_entropy(model(ids).reshape(-1, 5), targets.reshape(-1))

    check_grads(loss, *model.parameters())


@pytest.mark.parametrize("pieces", [[1] * 8, [3, 1, 4], [8], [1, 7]])
def test_steps_equal_one_pass(rng, pieces):
    model = widen(make(rng), rng)
    ids = rng.integers(0, 11, (2, 8))
    expected = model(ids).data
    state, start = None, 0
    for length in pieces:
        logits, state = model.step(ids[:, start : start + length], state)
        part = expected[:, start : start + length]
        np.testing.assert_allclose(logits.data, part, rtol=1e-4, atol=1e-5)
        start += length
    assert not logits.requires_grad


@pytest.mark.parametrize("context", [1, 2, 5, 8])
@pytest.mark.parametrize("pieces", [[1] * 30, [13, 1, 1, 15], [30]])
def test_long_texts_slide_by_half_a_context(rng, context, pieces):
    model = widen(make(rng, context=context), rng)
    ids = rng.integers(0, 11, (2, 30))
    stride = max(1, context // 2)
    expected = []
    for end in range(1, 31):
        start = -(-max(0, end - context) // stride) * stride
        assert start == 0 or 2 * (end - start) > context
        expected.append(model(ids[:, start:end]).data[:, -1])
    expected = np.stack(expected, axis=1)
    for last_only in (False, True):
        state, start = None, 0
        for length in pieces:
            end = start + length
            logits, state = model.step(ids[:, start:end], state, last_only=last_only)
            part = expected[:, end - 1 : end] if last_only else expected[:, start:end]
            np.testing.assert_allclose(logits.data, part, rtol=1e-4, atol=1e-5)
            start = end


def test_cached_generation_equals_uncached(rng):
    model = widen(make(rng), rng)
    prompt = rng.integers(0, 11, (2, 3))

    def uncached(ids):
        start = -(-max(0, ids.shape[1] - 8) // 4) * 4
        return model(ids[:, start:]).data[:, -1]

    options = {"max_new_tokens": 20, "temperature": 0.8, "top_k": 5}
    expected = generation.generate(uncached, prompt, rng=np.random.default_rng(1), **options)
    ids = model.generate(prompt, rng=np.random.default_rng(1), **options)
    np.testing.assert_array_equal(ids, expected)
    assert ids.shape == (2, 23)


def test_generation_drops_nothing_and_restores_the_mode(rng):
    model = widen(make(rng, dropout=0.5), rng)
    first = model.generate([1, 2], max_new_tokens=5, do_sample=False)
    np.testing.assert_array_equal(first, model.generate([1, 2], max_new_tokens=5, do_sample=False))
    assert model.training
    assert (model(first[None, :4]).data != model(first[None, :4]).data).any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"dim": 10},
            ValueError,
            r"GPTConfig: dim: expected a multiple of num_heads \(3\), got 10",
        ),
        ({"num_layers": 0}, ValueError, "GPTConfig: num_layers: expected an integer from 1 .* 0"),
        ({"vocab_size": 2**62}, ValueError, "GPTConfig: vocab_size: .* got 4611686018427387904"),
        ({"context": 1.5}, TypeError, "GPTConfig: context: expected an integer, got 1.5"),
        ({"context": True}, TypeError, "GPTConfig: context: expected an integer, got True"),
        ({"dropout": 1.0}, ValueError, r"GPTConfig: dropout: expected a number in \[0, 1\), got 1"),
        ({"dropout": "0"}, TypeError, "GPTConfig: dropout: expected a number, got '0'"),
        ({"activation": "relu"}, ValueError, "activation: expected one of gelu, .* got 'relu'"),
        ({"bias": 1}, TypeError, "GPTConfig: bias: expected True or False, got 1"),
    ],
)
def test_bad_sizes_are_named(options, error, message):
    with pytest.raises(error, match=message):
        models.GPTConfig(**{**TINY, **options})


def test_bad_ids_are_named(rng):
    model = make(rng)
    with pytest.raises(ValueError, match="GPT: ids: expected at most 8 tokens, got 9"):
        model(np.zeros((1, 9), int))
    with pytest.raises(ValueError, match=r"GPT: ids: expected integers .* float64 of shape"):
        model(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"L at least 1, got int64 of shape \(1, 0\)"):
        model.generate(np.zeros((1, 0), int))
    with pytest.raises(ValueError, match="embedding"):
        model([[11]])
