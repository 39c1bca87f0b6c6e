"""Every differentiable operation has its gradient checked here; one without an entry fails."""

import numpy as np
import pytest

import lamina
from lamina import Tensor, no_grad, ops
from lamina.testing import check_grads

RNG = np.random.default_rng(7)


def leaf(*shape, scale=1.0, shift=0.0):
    return Tensor(RNG.standard_normal(shape) * scale + shift, requires_grad=True)


def distinct(*shape):
    """Numbers that lie well apart, for functions that choose one of them."""
    count = int(np.prod(shape))
    return Tensor(RNG.permutation(count).reshape(shape) / 7.0 - 1.0, requires_grad=True)


def away_from_kinks(*shape):
    x = RNG.standard_normal(shape) * 3
    return Tensor(x + 0.05 * np.sign(x), requires_grad=True)


def unary(name, **options):
    return lambda: (lambda x: getattr(ops, name)(x, **options), away_from_kinks(3, 5))


def recurrent(name, gates, *, cell=False, state=1):
    def case():
        d, h = 3, 2
        weights = [leaf(gates * h, d), leaf(gates * h, h), leaf(gates * h), leaf(gates * h)]
        states = [leaf(4, h) if cell else leaf(1, 4, h) for _ in range(state)]

        def run(x, *rest):
            start, parameters = rest[:state], rest[state:]
            hx = start[0] if state == 1 else tuple(start)
            if cell:
                y = getattr(ops, name)(x, hx, *parameters)
                return y[0] + y[1] * 0.5 if isinstance(y, tuple) else y
            out = getattr(ops, name)(x, hx, parameters)
            return out[0] + sum(s.sum() * 0.3 for s in out[1:])

        x = leaf(4, d) if cell else leaf(4, 3, d)
        return (run, x, *states, *weights)

    return case


TARGETS = np.array([1, 0, 3])
PROBABILITIES = 1 / (1 + np.exp(-RNG.standard_normal((3, 4))))

CASES = {
    "abs": lambda: (ops.abs, away_from_kinks(3, 4)),
    "amax": lambda: (lambda x: ops.amax(x, (0, 2)), distinct(2, 3, 4)),
    "amin": lambda: (lambda x: ops.amin(x, 1, keepdim=True), distinct(2, 3, 4)),
    "clamp": lambda: (lambda x: ops.clamp(x, -0.5, 0.7), away_from_kinks(3, 4)),
    "cos": lambda: (ops.cos, leaf(3, 4)),
    "cumsum": lambda: (lambda x: ops.cumsum(x, -1), leaf(2, 3, 4)),
    "gather": lambda: (lambda x: ops.gather(x, 1, np.array([[0, 0, 3], [2, 1, 1]])), leaf(3, 4)),
    "logsumexp": lambda: (lambda x: ops.logsumexp(x, (0, 2), keepdim=True), leaf(2, 3, 4)),
    "masked_fill": lambda: (
        lambda x, v: ops.masked_fill(x, np.array([True, False, True]), v),
        leaf(2, 3),
        leaf(),
    ),
    "max": lambda: (lambda x: ops.max(x, 1).values, distinct(2, 3, 4)),
    "mean": lambda: (lambda x: ops.mean(x, [0, 2]), leaf(2, 3, 4)),
    "min": lambda: (lambda x: ops.min(x, -1, keepdim=True).values, distinct(2, 3, 4)),
    "norm": lambda: (lambda x: ops.norm(x, 3, 1), leaf(2, 3, 4)),
    "prod": lambda: (lambda x: ops.prod(x, 1, keepdim=True), leaf(2, 3, 4)),
    "repeat": lambda: (lambda x: ops.repeat(x, 2, 1, 3), leaf(2, 3)),
    "sin": lambda: (ops.sin, leaf(3, 4)),
    "sort": lambda: (lambda x: ops.sort(x, 1, descending=True).values, distinct(2, 3, 4)),
    "sqrt": lambda: (lambda x: ops.sqrt(x * x + 1), leaf(3, 4)),
    "std": lambda: (lambda x: ops.std(x, (0, 1), correction=0), leaf(2, 3, 4)),
    "sum": lambda: (lambda x: ops.sum(x, (0, 2)), leaf(2, 3, 4)),
    "topk": lambda: (lambda x: ops.topk(x, 2, 1).values, distinct(2, 3, 4)),
    "tril": lambda: (lambda x: ops.tril(x, 1), leaf(2, 3, 4)),
    "triu": lambda: (lambda x: ops.triu(x, -1), leaf(2, 4, 3)),
    "var": lambda: (lambda x: ops.var(x, 1, keepdim=True), leaf(2, 3, 4)),
    "adaptive_avg_pool1d": lambda: (lambda x: ops.adaptive_avg_pool1d(x, 3), leaf(2, 2, 7)),
    "adaptive_avg_pool2d": lambda: (lambda x: ops.adaptive_avg_pool2d(x, (2, 3)), leaf(1, 2, 5, 7)),
    "adaptive_max_pool2d": lambda: (
        lambda x: ops.adaptive_max_pool2d(x, (2, 2)),
        distinct(1, 2, 5, 4),
    ),
    "attention_weights": lambda: (
        lambda q, k: ops.attention_weights(q, k),
        leaf(1, 2, 3, 4),
        leaf(1, 2, 5, 4),
    ),
    "avg_pool1d": lambda: (lambda x: ops.avg_pool1d(x, 3, 2, 1), leaf(2, 2, 7)),
    "avg_pool2d": lambda: (lambda x: ops.avg_pool2d(x, 2, 1, 1), leaf(1, 2, 4, 5)),
    "batch_norm": lambda: (
        lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True),
        leaf(4, 3, 2, 2),
        leaf(3),
        leaf(3),
    ),
    "binary_cross_entropy": lambda: (
        lambda x: ops.binary_cross_entropy(ops.sigmoid(x), PROBABILITIES),
        leaf(3, 4),
    ),
    "binary_cross_entropy_with_logits": lambda: (
        lambda x: ops.binary_cross_entropy_with_logits(x, PROBABILITIES),
        leaf(3, 4),
    ),
    "cat": lambda: (lambda a, b: ops.cat([a, b, a], 1), leaf(2, 3), leaf(2, 1)),
    "chunk": lambda: (lambda x: ops.chunk(x, 2, 1)[1] * 2, leaf(2, 5)),
    "conv1d": lambda: (
        lambda x, w, b: ops.conv1d(x, w, b, 2, 1),
        leaf(2, 3, 7),
        leaf(4, 3, 3),
        leaf(4),
    ),
    "conv2d": lambda: (
        lambda x, w, b: ops.conv2d(x, w, b, 1, 1, 1, 2),
        leaf(2, 4, 5, 4),
        leaf(4, 2, 3, 3),
        leaf(4),
    ),
    "conv_transpose1d": lambda: (
        lambda x, w, b: ops.conv_transpose1d(x, w, b, 2, 1, 1),
        leaf(2, 3, 4),
        leaf(3, 2, 3),
        leaf(2),
    ),
    "conv_transpose2d": lambda: (
        lambda x, w, b: ops.conv_transpose2d(x, w, b, 2, 1, 1),
        leaf(1, 3, 3, 4),
        leaf(3, 2, 3, 3),
        leaf(2),
    ),
    "cosine_similarity": lambda: (ops.cosine_similarity, leaf(3, 4), leaf(3, 4)),
    "crf_log_likelihood": lambda: (
        lambda x, *parameters: ops.crf_log_likelihood(
            x,
            np.array([[2, 0, 1, 1], [1, 2, 7, 7]]),
            *parameters,
            np.array([[True, True, True, True], [True, True, False, False]]),
        ),
        leaf(2, 4, 3),
        leaf(3),
        leaf(3),
        leaf(3, 3),
    ),
    "cross_entropy": lambda: (
        lambda x: ops.cross_entropy(x, TARGETS, label_smoothing=0.1),
        leaf(3, 4),
    ),
    "ctc_loss": lambda: (
        lambda x: ops.ctc_loss(ops.log_softmax(x, -1), np.array([[1, 2], [2, 2]]), [5, 4], [2, 2]),
        leaf(5, 2, 4),
    ),
    "dropout": lambda: (
        lambda x: ops.dropout(x, 0.4, rng=np.random.default_rng(3)),
        leaf(4, 5),
    ),
    "dropout2d": lambda: (
        lambda x: ops.dropout2d(x, 0.4, rng=np.random.default_rng(3)),
        leaf(2, 3, 2, 2),
    ),
    "embedding": lambda: (lambda w: ops.embedding(np.array([[0, 2], [2, 1]]), w), leaf(4, 3)),
    "glu": lambda: (lambda x: ops.glu(x, 1), leaf(3, 4)),
    "group_norm": lambda: (
        lambda x, w, b: ops.group_norm(x, 2, w, b),
        leaf(2, 4, 3),
        leaf(4),
        leaf(4),
    ),
    "gru": recurrent("gru", 3),
    "gru_cell": recurrent("gru_cell", 3, cell=True),
    "huber_loss": lambda: (lambda x: ops.huber_loss(x, PROBABILITIES, delta=0.7), leaf(3, 4)),
    "instance_norm": lambda: (lambda x: ops.instance_norm(x), leaf(2, 3, 4, 2)),
    "interpolate": lambda: (
        lambda x: ops.interpolate(x, (4, 2), mode="bilinear"),
        leaf(1, 2, 3, 5),
    ),
    "kl_div": lambda: (
        lambda x: ops.kl_div(ops.log_softmax(x, -1), PROBABILITIES, reduction="batchmean"),
        leaf(3, 4),
    ),
    "l1_loss": lambda: (lambda x: ops.l1_loss(x, PROBABILITIES), leaf(3, 4)),
    "layer_norm": lambda: (
        lambda x, w, b: ops.layer_norm(x, (5,), w, b),
        leaf(3, 5),
        leaf(5),
        leaf(5),
    ),
    "linear": lambda: (
        lambda x, w, b: ops.linear(x, w, b, "gelu"),
        leaf(3, 4),
        leaf(2, 4),
        leaf(2),
    ),
    "log": lambda: (lambda x: ops.log(x * x + 1), leaf(3, 4)),
    "log_softmax": unary("log_softmax"),
    "lstm": recurrent("lstm", 4, state=2),
    "lstm_cell": recurrent("lstm_cell", 4, cell=True, state=2),
    "matmul": lambda: (ops.matmul, leaf(2, 3, 4), leaf(4, 2)),
    "max_pool1d": lambda: (lambda x: ops.max_pool1d(x, 3, 2, 1), distinct(2, 2, 7)),
    "max_pool2d": lambda: (lambda x: ops.max_pool2d(x, 2), distinct(1, 2, 4, 6)),
    "maximum": lambda: (ops.maximum, distinct(3, 4), leaf(3, 4)),
    "minimum": lambda: (ops.minimum, distinct(3, 4), leaf(4)),
    "mse_loss": lambda: (lambda x, t: ops.mse_loss(x, t), leaf(3, 4), leaf(3, 4)),
    "nll_loss": lambda: (lambda x: ops.nll_loss(ops.log_softmax(x, -1), TARGETS), leaf(3, 4)),
    "normalize": lambda: (ops.normalize, leaf(3, 4)),
    "pad": lambda: (lambda x: ops.pad(x, (1, 2, 0, 1), "reflect"), leaf(2, 3, 4)),
    "prelu": lambda: (ops.prelu, away_from_kinks(2, 3, 4), leaf(3)),
    "rms_norm": lambda: (lambda x, w: ops.rms_norm(x, (5,), w, 1e-6), leaf(3, 5), leaf(5)),
    "rnn_relu": recurrent("rnn_relu", 1),
    "rnn_relu_cell": recurrent("rnn_relu_cell", 1, cell=True),
    "rnn_tanh": recurrent("rnn_tanh", 1),
    "rnn_tanh_cell": recurrent("rnn_tanh_cell", 1, cell=True),
    "scaled_dot_product_attention": lambda: (
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        leaf(1, 4, 3, 4),
        leaf(1, 2, 3, 4),
        leaf(1, 2, 3, 4),
    ),
    "self_attention": lambda: (
        lambda qkv: ops.self_attention(qkv, 2, is_causal=True),
        leaf(2, 3, 12),
    ),
    "smooth_l1_loss": lambda: (lambda x: ops.smooth_l1_loss(x, PROBABILITIES), leaf(3, 4)),
    "softmax": unary("softmax"),
    "split": lambda: (lambda x: ops.split(x, [1, 2, 2], 1)[2], leaf(2, 5)),
    "stack": lambda: (lambda a, b: ops.stack([a, b], -1), leaf(2, 3), leaf(2, 3)),
    "where": lambda: (
        lambda a, b: ops.where(np.array([True, False, True]), a, b),
        leaf(2, 3),
        leaf(3),
    ),
}
for name in [
    "celu",
    "elu",
    "exp",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "tanh",
]:
    CASES[name] = unary(name)


# Integers in, integers out.
WITHOUT_GRADIENT = ["one_hot"]


def test_no_operation_is_left_out():
    assert sorted([*CASES, *WITHOUT_GRADIENT]) == sorted(ops.__all__)


@pytest.mark.parametrize("name", sorted(CASES))
def test_gradients(name):
    function, *args = CASES[name]()
    check_grads(function, *args)


def test_join_values(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    np.testing.assert_array_equal(ops.cat([a, b], 1).data, np.concatenate([a, b], 1))
    np.testing.assert_array_equal(ops.stack([a, b], 1).data, np.stack([a, b], 1))
    np.testing.assert_array_equal(ops.maximum(a, b).data, np.maximum(a, b))
    assert [part.shape for part in ops.split(a, 2, 1)] == [(2, 2), (2, 1)]
    assert [part.shape for part in ops.chunk(a, 2, 1)] == [(2, 2), (2, 1)]
    with pytest.raises(ValueError, match="cat: tensors: expected at least one, got none"):
        ops.cat([])
    with pytest.raises(ValueError, match=r"cat: tensors: shapes \(2, 3\), \(3,\) along axis 0"):
        ops.cat([a, a[0]])
    with pytest.raises(ValueError, match=r"expected a sum of 3, got \[1, 1\]"):
        ops.split(a, [1, 1], 1)


@pytest.mark.parametrize("name", sorted(CASES))
def test_without_gradients_the_result_is_the_same(name):
    function, *args = CASES[name]()
    rng = lamina.random.generator(None)
    before = rng.bit_generator.state
    expected = function(*args)
    rng.bit_generator.state = before
    with no_grad():
        y = function(*args)
    assert expected.requires_grad
    assert not y.requires_grad
    assert y.is_leaf
    np.testing.assert_array_equal(y.data, expected.data)
    assert y.data.dtype == expected.data.dtype
