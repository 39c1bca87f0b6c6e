import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina import Tensor, nn, no_grad, ops
from lamina.testing import check_grads


def leaf(x):
    return Tensor(np.asarray(x, dtype=np.float64), requires_grad=True)


def reduce(losses, reduction, count=None):
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else losses.size if count is None else count)


def cross_entropy_numpy(x, t, weight, ignore_index, reduction, smoothing):
    x = np.moveaxis(np.asarray(x, dtype=np.float64), min(1, x.ndim - 1), -1)
    classes = x.shape[-1]
    weight = np.ones(classes) if weight is None else np.asarray(weight, dtype=np.float64)
    high = x.max(-1, keepdims=True)
    log_p = x - high - np.log(np.exp(x - high).sum(-1, keepdims=True))
    kept = t != ignore_index
    hit = np.where(kept, t, 0)
    w = weight[hit] * kept
    losses = -(1 - smoothing) * w * np.take_along_axis(log_p, hit[..., None], -1)[..., 0]
    losses -= kept * smoothing / classes * (weight * log_p).sum(-1)
    return reduce(losses, reduction, w.sum())


@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 3), (7, 4099), (9001, 2), (2, 3, 4, 5), (6,), (0, 3)]
)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (False, 0.1), (True, 0.2)])
def test_cross_entropy_matches_numpy(rng, shape, reduction, weighted, smoothing):
    classes = shape[min(1, len(shape) - 1)]
    x = (4 * rng.standard_normal(shape)).astype(np.float32)
    t = rng.integers(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    t = np.where(rng.random(t.shape) < 0.2, -7, t) if t.ndim else t
    weight = rng.random(classes).astype(np.float32) if weighted else None
    if not x.size and reduction == "mean":
        assert np.isnan(ops.cross_entropy(x, t).data)
        return
    got = ops.cross_entropy(x, t, weight, -7, reduction, smoothing).data
    expected = cross_entropy_numpy(x, t, weight, -7, reduction, smoothing)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_gradients(rng, reduction, smoothing, weighted):
    weight = rng.random(4) if weighted else None
    t = np.array([3, 0, -100, 1, 1], dtype=np.int32)
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    check_grads(lambda x: ops.cross_entropy(x, t, **options), leaf(rng.standard_normal((5, 4))))
    x = leaf(rng.standard_normal((2, 4, 3)))
    check_grads(lambda x: ops.cross_entropy(x, rng.integers(0, 4, (2, 3)) * 0 + 1, **options), x)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_probabilities_as_targets(rng, reduction):
    x, t = leaf(rng.standard_normal((4, 3, 2))), leaf(rng.random((4, 3, 2)))
    weight = rng.random(3)
    options = {"weight": weight, "reduction": reduction, "label_smoothing": 0.1}
    check_grads(lambda x, t: ops.cross_entropy(x, t, **options), x, t)
    index = rng.integers(0, 3, 5)
    x = rng.standard_normal((5, 3))
    soft = ops.cross_entropy(x, np.eye(3)[index], label_smoothing=0.2, reduction=reduction)
    hard = ops.cross_entropy(x, index, label_smoothing=0.2, reduction=reduction)
    np.testing.assert_allclose(soft.data, hard.data, rtol=1e-12)


def test_extreme_logits_stay_finite():
    x = Tensor(np.array([[1e30, -1e30, 0], [-3e38, 3e38, 1]], np.float32), requires_grad=True)
    loss = ops.cross_entropy(x, [0, 1])
    loss.backward()
    assert loss.item() == 0
    np.testing.assert_array_equal(x.grad, np.zeros((2, 3)))


def test_masked_logits_have_no_gradient():
    x = Tensor(np.array([[-np.inf, 2.0, 2.0]], np.float32), requires_grad=True)
    loss = ops.cross_entropy(x, [1])
    loss.backward()
    np.testing.assert_allclose(loss.item(), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(x.grad, [[0, -0.5, 0.5]], rtol=1e-6)
    assert x.grad[0, 0] == 0


def test_rows_that_are_all_ignored():
    x = Tensor(np.ones((3, 2), np.float32), requires_grad=True)
    t = np.full(3, -100)
    assert np.isnan(ops.cross_entropy(x, t).item())
    loss = ops.cross_entropy(x, t, reduction="sum")
    loss.backward()
    assert loss.item() == 0
    np.testing.assert_array_equal(x.grad, np.zeros((3, 2)))


def test_nan_and_one_class():
    assert np.isnan(ops.cross_entropy(np.array([[np.nan, 1.0]]), [1]).item())
    assert ops.cross_entropy(np.array([[7.0]]), [0]).item() == 0


def test_a_retained_graph_gives_the_same_gradient_again(rng):
    x = leaf(rng.standard_normal((6, 5)))
    loss = ops.cross_entropy(x, rng.integers(0, 5, 6))
    loss.backward(retain_graph=True)
    first = x.grad
    kept = first.copy()
    first *= 0
    x.grad = None
    loss.backward(2.0)
    np.testing.assert_allclose(x.grad, 2 * kept, rtol=1e-13)


def test_a_scaled_loss_scales_the_gradient(rng):
    x, t = leaf(rng.standard_normal((6, 5))), rng.integers(0, 5, 6)
    ops.cross_entropy(x, t).backward()
    whole, x.grad = x.grad, None
    (ops.cross_entropy(x, t) / 4).backward()
    np.testing.assert_allclose(x.grad, whole / 4, rtol=1e-13)


def test_any_strides(rng):
    x = rng.standard_normal((5, 6, 4)).transpose(2, 1, 0)[:, ::-1]
    t = rng.integers(0, 6, (5, 4)).T
    expected = ops.cross_entropy(x.copy(), t.copy()).data
    np.testing.assert_array_equal(ops.cross_entropy(x, t).data, expected)


@given(st.integers(1, 6), st.integers(1, 40), st.floats(-50, 50), st.integers(0, 10**6))
def test_a_shift_of_all_logits_changes_nothing(rows, classes, shift, seed):
    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)
    a, b = leaf(x), leaf(x + shift)
    for y in (a, b):
        ops.cross_entropy(y, t).backward()
    np.testing.assert_allclose(a.grad, b.grad, atol=1e-12)
    np.testing.assert_allclose(a.grad.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(301, 77), (3, 70001)])
def test_the_same_bits_for_any_number_of_threads(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    t = rng.integers(0, shape[1], shape[0])
    results = []
    before = lamina.num_threads()
    try:
        for threads in (1, 2, 3):
            lamina.set_num_threads(threads)
            y = Tensor(x, requires_grad=True)
            loss = ops.cross_entropy(y, t, label_smoothing=0.1)
            loss.backward()
            results.append((loss.data, y.grad, ops.huber_loss(x, x[::-1]).data))
    finally:
        lamina.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_bad_classes_are_named():
    x = np.zeros((2, 3), np.float32)
    message = r"targets: expected 0 to 2 for 3 classes, got 3 at row 1"
    for op in (ops.cross_entropy, ops.nll_loss):
        with pytest.raises(ValueError, match=message):
            op(x, [0, 3])
        with pytest.raises(ValueError, match="got -1 at row 0"):
            op(x, [-1, 0])
        with pytest.raises(ValueError, match=r"target: expected class indices of shape \(2,\)"):
            op(x, [0])
        with pytest.raises(ValueError, match=r"weight: expected shape \[3\], got \[2\]"):
            op(x, [0, 1], np.ones(2))
        with pytest.raises(ValueError, match="reduction: expected 'none', 'mean' or 'sum'"):
            op(x, [0, 1], reduction="avg")
        with pytest.raises(TypeError, match="target: expected integers, got bool"):
            op(x, np.array([True, False]))
    with pytest.raises(ValueError, match="label_smoothing: expected 0 to 1, got 2"):
        ops.cross_entropy(x, [0, 1], label_smoothing=2)
    with pytest.raises(ValueError, match="expected a class"):
        ops.cross_entropy(np.zeros((2, 0)), [0, 1])
    with pytest.raises(ValueError, match=r"expected probabilities of shape \(2, 3\)"):
        ops.cross_entropy(x, np.zeros((2, 2)))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll(rng, reduction):
    t = np.array([1, 2, -100, 0])
    kept, hit = t >= 0, np.maximum(t, 0)
    weight = rng.random(3)
    x = leaf(rng.standard_normal((4, 3)))
    expected = -x.data[range(4), hit] * weight[hit] * kept
    got = ops.nll_loss(x, t, weight, reduction=reduction).data
    count = (weight[hit] * kept).sum()
    np.testing.assert_allclose(got, reduce(expected, reduction, count), rtol=1e-12)
    check_grads(lambda x: ops.nll_loss(x, t, weight, reduction=reduction), x)
    image = leaf(rng.standard_normal((2, 3, 2, 2)))
    check_grads(lambda x: ops.nll_loss(x, np.full((2, 2, 2), 2), reduction=reduction), image)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(x, t):
    return -(t * np.log(x) + (1 - t) * np.log(1 - x))


def smooth(d, beta):
    return np.where(np.abs(d) < beta, d * d / 2, beta * (np.abs(d) - beta / 2))


# Name, arguments beside input and target, formula, and the inputs it is fed from normal numbers.
CASES = {
    "mse_loss": ({}, lambda x, t: (x - t) ** 2, None, None),
    "l1_loss": ({}, lambda x, t: np.abs(x - t), None, None),
    "smooth_l1_loss": ({"beta": 0.5}, lambda x, t: smooth(x - t, 0.5) / 0.5, None, None),
    "huber_loss": ({"delta": 0.7}, lambda x, t: smooth(x - t, 0.7), None, None),
    "binary_cross_entropy": ({}, bce, sigmoid, sigmoid),
    "binary_cross_entropy_with_logits": ({}, lambda x, t: bce(sigmoid(x), t), None, sigmoid),
    "kl_div": ({}, lambda x, t: t * (np.log(t) - x), None, np.exp),
    "kl_div log": ({"log_target": True}, lambda x, t: np.exp(t) * (t - x), None, None),
}


def case(name, rng, shape, dtype=np.float64):
    options, formula, to_x, to_t = CASES[name]
    x, t = (2 * rng.standard_normal(shape) for _ in range(2))
    x, t = (x if to_x is None else to_x(x)), (t if to_t is None else to_t(t))
    return getattr(ops, name.split()[0]), options, formula, x.astype(dtype), t.astype(dtype)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (17, 1031), (0, 4)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CASES)
def test_elementwise_matches_numpy(rng, name, reduction, shape):
    op, options, formula, x, t = case(name, rng, shape, np.float32)
    got = op(x, t, reduction=reduction, **options)
    assert got.dtype == np.float32
    if not x.size and reduction == "mean":
        assert np.isnan(got.item())
        return
    expected = reduce(formula(x.astype(np.float64), t.astype(np.float64)), reduction)
    np.testing.assert_allclose(got.data, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CASES)
def test_elementwise_gradients(rng, name, reduction):
    op, options, _, x, t = case(name, rng, (3, 7))
    check_grads(lambda x, t: op(x, t, reduction=reduction, **options), leaf(x), leaf(t))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_weights_of_binary_cross_entropy(rng, reduction):
    x, t = leaf(rng.standard_normal((4, 3))), leaf(rng.random((4, 3)))
    weight, positive = rng.random((4, 1)), 3 * rng.random(3)
    op = ops.binary_cross_entropy_with_logits
    p = sigmoid(x.data)
    each = -weight * (positive * t.data * np.log(p) + (1 - t.data) * np.log(1 - p))
    got = op(x, t, weight, reduction, positive).data
    np.testing.assert_allclose(got, reduce(each, reduction), rtol=1e-12)
    check_grads(lambda x, t: op(x, t, weight, reduction, positive), x, t)
    weighted = ops.binary_cross_entropy(p, t, weight, reduction).data
    np.testing.assert_allclose(weighted, reduce(weight * bce(p, t.data), reduction), rtol=1e-12)


def test_far_logits_and_certain_probabilities():
    x = np.array([-1e4, -90.0, 90.0, 1e4], np.float32)
    t = np.array([0, 0, 1, 1], np.float32)
    got = ops.binary_cross_entropy_with_logits(x, t, reduction="none").data
    np.testing.assert_allclose(got, [0, np.exp(-90.0), np.exp(-90.0), 0], rtol=1e-5, atol=1e-37)
    got = ops.binary_cross_entropy_with_logits(x, 1 - t, reduction="none").data
    np.testing.assert_array_equal(got, np.abs(x))
    certain = Tensor(np.array([0.0, 1.0], np.float32), requires_grad=True)
    loss = ops.binary_cross_entropy(certain, [1.0, 1.0], reduction="none")
    np.testing.assert_array_equal(loss.data, [100, 0])
    loss.backward(np.ones(2))
    assert np.isfinite(certain.grad).all()


def test_divergence_of_zero_targets_and_its_batch_mean(rng):
    assert ops.kl_div([-1.0, -2.0], [0.0, 1.0], reduction="sum").item() == 2.0
    p, q = rng.dirichlet(np.ones(5), 3), rng.dirichlet(np.ones(5), 3)
    got = ops.kl_div(np.log(q), p, reduction="batchmean").item()
    np.testing.assert_allclose(got, (p * np.log(p / q)).sum() / 3, rtol=1e-12)


def test_beta_zero_is_the_absolute_error(rng):
    x = rng.standard_normal(9)
    np.testing.assert_array_equal(
        ops.smooth_l1_loss(x, 0 * x, beta=0.0).data, ops.l1_loss(x, 0 * x).data
    )


def test_bad_elementwise_input_is_named():
    x = np.zeros((2, 1), np.float32)
    with pytest.raises(ValueError, match=r"mse_loss: target: expected shape \(2, 1\), got \(2,\)"):
        ops.mse_loss(x, np.zeros(2))
    with pytest.raises(ValueError, match="delta: expected a positive number, got 0"):
        ops.huber_loss(x, x, delta=0.0)
    with pytest.raises(ValueError, match="beta: expected a positive number, got -1"):
        ops.smooth_l1_loss(x, x, beta=-1)
    with pytest.raises(ValueError, match=r"input: expected 0 to 1, got 1\.5"):
        ops.binary_cross_entropy(x + 1.5, x)
    with pytest.raises(ValueError, match="weight: expected a shape that broadcasts"):
        ops.binary_cross_entropy(x, x, np.ones(3))
    with pytest.raises(ValueError, match="kl_div: reduction"):
        ops.kl_div(x, x, "average")


def log_probs(rng, *shape):
    x = rng.standard_normal(shape)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def collapse(path, blank):
    merged = [label for label, _ in itertools.groupby(path)]
    return [label for label in merged if label != blank]


def alignments(y, target, blank):
    """Minus the logarithm of the summed probability of every path that spells the target."""
    steps, classes = y.shape
    total = -np.inf
    for path in itertools.product(range(classes), repeat=steps):
        if collapse(path, blank) == list(target):
            total = np.logaddexp(total, sum(y[t, c] for t, c in enumerate(path)))
    return -total


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ctc_matches_all_alignments(rng, blank, dtype):
    labels = [c for c in range(3) if c != blank]
    targets = [[], [labels[0]], [labels[1], labels[1]], [labels[0], labels[1], labels[0]]]
    inputs = [3, 1, 4, 5]
    y = log_probs(rng, 5, 4, 3)
    pairs = zip(inputs, targets, strict=True)
    expected = [alignments(y[:n, i], t, blank) for i, (n, t) in enumerate(pairs)]
    lengths = [len(t) for t in targets]
    padded = np.array([t + [-5] * (3 - len(t)) for t in targets])
    joined = np.array(list(itertools.chain(*targets)), dtype=np.int64)
    for given_targets in (padded, joined):
        got = ops.ctc_loss(y.astype(dtype), given_targets, inputs, lengths, blank, "none").data
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)
    mean = ops.ctc_loss(y, joined, inputs, lengths, blank).item()
    np.testing.assert_allclose(mean, np.mean(expected / np.maximum(lengths, 1)), rtol=1e-13)
    total = ops.ctc_loss(y, joined, inputs, lengths, blank, "sum").item()
    np.testing.assert_allclose(total, np.sum(expected), rtol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc_gradients(rng, reduction):
    y = leaf(log_probs(rng, 6, 3, 4))
    targets, lengths = np.array([[1, 2, 2], [3, 1, 0], [0, 0, 0]]), np.array([3, 2, 0])
    check_grads(lambda y: ops.ctc_loss(y, targets, [6, 5, 4], lengths, reduction=reduction), y)
    one = leaf(log_probs(rng, 4, 3))
    check_grads(lambda y: ops.ctc_loss(y, [1, 2], 4, 2, reduction=reduction), one)


def test_ctc_of_long_inputs_keeps_its_precision(rng):
    y = log_probs(rng, 900, 2, 30)
    targets = rng.integers(1, 30, (2, 120))
    double = leaf(y)
    single = Tensor(y.astype(np.float32), requires_grad=True)
    losses = []
    for x in (double, single):
        loss = ops.ctc_loss(x, targets, [900, 700], [120, 90])
        loss.backward()
        losses.append(loss.item())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert np.abs(single.grad - double.grad).max() / np.abs(double.grad).max() < 1e-3
    assert (double.grad[700:, 1] == 0).all()


def test_ctc_targets_that_do_not_fit(rng):
    y = Tensor(log_probs(rng, 3, 2, 4), requires_grad=True)
    args = np.array([[1, 1, 1], [1, 2, 3]]), [3, 3], [3, 3]
    loss = ops.ctc_loss(y, *args, reduction="none")
    assert np.isinf(loss.data[0])
    loss.backward(np.ones(2))
    assert np.isnan(y.grad[:, 0]).all()
    assert np.isfinite(y.grad[:, 1]).all()
    y.grad = None
    loss = ops.ctc_loss(y, *args, reduction="none", zero_infinity=True)
    loss.backward(np.ones(2))
    assert loss.data[0] == 0
    assert (y.grad[:, 0] == 0).all()
    assert np.isfinite(y.grad).all()


def test_ctc_without_gradient_is_the_same(rng):
    y = leaf(log_probs(rng, 7, 2, 4))
    args = np.array([[1, 2], [3, 3]]), [7, 6], [2, 2]
    with no_grad():
        plain = ops.ctc_loss(y, *args).data
    np.testing.assert_array_equal(plain, ops.ctc_loss(y, *args).data)


def test_bad_ctc_input_is_named(rng):
    y = log_probs(rng, 3, 2, 4)
    with pytest.raises(ValueError, match="input_lengths: expected 0 to 3, got 4 for sequence 1"):
        ops.ctc_loss(y, [[1], [1]], [3, 4], [1, 1])
    with pytest.raises(ValueError, match="target_lengths: expected 0 to 1, got 2 for sequence 0"):
        ops.ctc_loss(y, [[1], [1]], [3, 3], [2, 1])
    with pytest.raises(ValueError, match="not the blank, 0, got 0 in sequence 1"):
        ops.ctc_loss(y, [[1], [0]], [3, 3], [1, 1])
    with pytest.raises(ValueError, match="got 4 in sequence 0"):
        ops.ctc_loss(y, [4, 1], [3, 3], [1, 1])
    with pytest.raises(ValueError, match="add up to the 3 labels, got 2"):
        ops.ctc_loss(y, [1, 1, 1], [3, 3], [1, 1])
    with pytest.raises(ValueError, match="blank: expected 0 to 3, got 4"):
        ops.ctc_loss(y, [1, 1], [3, 3], [1, 1], blank=4)
    with pytest.raises(ValueError, match=r"input_lengths: expected shape \[2\], got \[1\]"):
        ops.ctc_loss(y, [1, 1], [3], [1, 1])
    with pytest.raises(ValueError, match="log_probs: expected 2 or 3 axes, got 1"):
        ops.ctc_loss(y[0, 0], [1], [1], [1])


def test_weights_that_ask_for_a_gradient_are_refused():
    x, ids = np.full((3, 3), 0.5), np.arange(3)
    weight = Tensor(np.ones(3), requires_grad=True)
    for name, loss in {
        "cross_entropy: weight": lambda: ops.cross_entropy(x, ids, weight),
        "nll_loss: weight": lambda: ops.nll_loss(x, ids, weight),
        "binary_cross_entropy: weight": lambda: ops.binary_cross_entropy(x, x, weight),
        "binary_cross_entropy_with_logits: pos_weight": lambda: (
            ops.binary_cross_entropy_with_logits(x, x, pos_weight=weight)
        ),
        "BCEWithLogitsLoss: pos_weight": lambda: nn.BCEWithLogitsLoss(pos_weight=weight),
        "CrossEntropyLoss: weight": lambda: nn.CrossEntropyLoss(weight),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: expected a tensor without gradient"):
            loss()


def test_class_weights_of_probabilities_have_a_gradient(rng):
    x = Tensor(rng.standard_normal((4, 3, 2)))
    t = rng.dirichlet(np.ones(3), (4, 2)).swapaxes(1, 2)
    weight = Tensor(rng.random(3), requires_grad=True)
    check_grads(lambda weight: ops.cross_entropy(x, t, weight), weight)


def test_an_ignored_index_is_a_64_bit_integer():
    x, ids = np.ones((3, 3)), np.arange(3)
    for loss in (ops.cross_entropy, ops.nll_loss):
        with pytest.raises(ValueError, match="ignore_index: expected what fits 64 bits, got 1180"):
            loss(x, ids, ignore_index=2**70)
        with pytest.raises(TypeError, match="ignore_index: expected an integer, got float"):
            loss(x, ids, ignore_index=1.5)
