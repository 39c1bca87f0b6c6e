"""What the extension does with inputs that arrays of NumPy allow and kernels do not expect."""

import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import lamina
from lamina import Tensor, _kernels, lm, nn, ops


def records(dtype, shape, rng):
    """A field of packed records, whose numbers lie neither on boundaries nor a whole one apart."""
    table = np.zeros(shape, np.dtype([("flag", "u1"), ("x", dtype), ("y", "u1")]))
    table["x"] = rng.standard_normal(shape)
    return table["x"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fields_of_packed_records_are_read_right(dtype):
    rng = np.random.default_rng(0)
    x, w = records(dtype, (5, 8), rng), records(dtype, (3, 8), rng)
    for call in (
        lambda x, w: ops.softmax(x, 1) @ Tensor(w.T),
        lambda x, w: Tensor(x) @ Tensor(w.T),
        lambda x, w: ops.linear(x, w),
        lambda x, w: Tensor(x[:3]) + Tensor(w),
    ):
        np.testing.assert_array_equal(call(x, w).data, call(x.copy(), w.copy()).data)


def test_ids_in_packed_records_are_read_right():
    table = np.zeros(6, np.dtype([("flag", "u1"), ("id", "i8")]))
    table["id"] = [3, 1, 4, 1, 5, 2]
    weight = np.arange(14, dtype=np.float32).reshape(7, 2)
    np.testing.assert_array_equal(ops.embedding(table["id"], weight).data, weight[table["id"]])


def stepped(params, grads):
    """One step of plain gradient descent, straight in the kernels."""
    _kernels.optimizer_sgd(params, grads, [], [1] * len(params), 1.0, 0.0, False, 0.0, 0.0, False)


def test_memory_is_known_by_its_addresses_whoever_owns_it():
    memory = bytearray(16 * 4)
    a, b = np.frombuffer(memory, np.float32), np.frombuffer(memory, np.float32)
    for params, grads, named in (
        ([a[:8]], [b[7:15]], "grads[0]"),
        ([a[8:], a[:9]], [np.ones(8), np.ones(9)], "params[1]"),
        ([a[8:]], [b[::-1][:8]], "grads[0]"),
        ([a[4:8]], [b[::4]], "grads[0]"),
        ([np.zeros(0, np.float32), a, b], [np.zeros(0), np.ones(16), np.ones(16)], "params[2]"),
    ):
        grads = [grad.astype(np.float32, copy=False) for grad in grads]
        with pytest.raises(ValueError, match=f"{re.escape(named)}: this memory is in use"):
            stepped(params, grads)
    assert not any(memory)


def test_memory_is_free_after_a_call_and_beside_it():
    memory = np.zeros(16, np.float32)
    ones = np.ones(4, np.float32)
    stepped([memory[4:8], memory[:4], memory[12:], memory[8:12]], [ones] * 4)
    stepped([memory[:8]], [memory[8:]])
    np.testing.assert_array_equal(memory, [0] * 8 + [-1] * 8)
    with pytest.raises(ValueError, match="grads: expected 1"):
        stepped([memory[:8]], [])
    with pytest.raises(ValueError, match="this memory is in use"):
        stepped([memory], [memory])
    stepped([memory], [np.ones(16, np.float32)])
    np.testing.assert_array_equal(memory, [-1] * 8 + [-2] * 8)


def test_arrays_to_be_changed_lie_as_they_must():
    x = records(np.float32, 4, np.random.default_rng(0))
    for array, message in (
        (x, "expected a C-contiguous array"),
        (x[:1], "expected numbers on their boundaries"),
        (np.zeros((4, 4), np.float32).T[1:], "expected a C-contiguous array"),
        (np.broadcast_to(np.float32(0), 1), "expected a writeable array"),
    ):
        with pytest.raises(ValueError, match=rf"params\[0\]: {message}"):
            stepped([array], [np.ones(array.shape, np.float32)])


def test_more_dimensions_than_a_view_can_have_are_refused():
    x = np.zeros((1,) * 40, np.float32)
    with pytest.raises(ValueError, match="expected at most 32 dimensions, got 40"):
        ops.relu(x)


# Each asks for more than any machine has; the inputs themselves are small, or broadcast.
HUGE = {
    "matmul": "Tensor(column(10**8)) @ Tensor(column(10**8).T)",
    "linear": "ops.linear(column(10**8), np.zeros((10**8, 1), np.float32))",
    "arithmetic": "Tensor(column(10**8)) + Tensor(column(10**8).T)",
    "softmax": "ops.softmax(np.broadcast_to(np.float32(0), (10**7, 10**7)), 1)",
    "moments": "ops.layer_norm(np.empty((1 << 50, 0), np.float32), (0,))",
    "beyond counting": "_kernels.empty([0, 1 << 40, 1 << 40])",
    "empty": "_kernels.empty([1 << 50])",
    "table": "_kernels.embedding_backward(column(2), np.zeros(2, np.int64), 1 << 50, None)",
}


@pytest.mark.parametrize("name", HUGE)
def test_memory_that_cannot_be_had_is_a_memory_error(name):
    scope = {
        "column": lambda n: np.broadcast_to(np.float32(0), (n, 1)),
        **{"np": np, "Tensor": Tensor, "ops": ops, "_kernels": _kernels},
    }
    with pytest.raises(MemoryError, match=r"cannot allocate|Unable to allocate"):
        eval(HUGE[name], scope)  # noqa: S307


def test_memory_that_a_limit_refuses_is_a_memory_error():
    code = """
        import resource
        import numpy as np
        from lamina import Tensor, nn, ops
        x = Tensor(np.zeros((20_000, 1), np.float32))
        limit = 1_500_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for call in (
            lambda: x @ x.T,
            lambda: ops.linear(x, x),
            lambda: x + x.T,
            lambda: nn.LSTM(1, 20_000)(x.reshape(20_000, 1, 1)),
            lambda: ops.conv2d(x.reshape(1, 1, 20_000, 1), np.zeros((20_000, 1, 1, 1), np.float32)),
        ):
            try:
                call()
            except MemoryError:
                print("refused")
        print((x[:3].T @ x[:3]).shape)
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout.split("\n")[:-1] == ["refused"] * 5 + ["(1, 1)"]


def test_images_without_rows_or_channels_are_padding():
    kernel, bias = np.ones((1, 1, 2, 2), np.float32), np.ones(1, np.float32)
    y = ops.conv2d(np.zeros((1, 1, 0, 5), np.float32), kernel, bias, padding=1)
    np.testing.assert_array_equal(y.data, np.ones((1, 1, 1, 6)))
    x = Tensor(np.zeros((1, 0, 5, 5), np.float32), requires_grad=True)
    y = ops.conv2d(x, kernel[:, :0], bias)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, np.ones((1, 1, 4, 4)))
    assert x.grad.shape == x.shape
    with pytest.raises(ValueError, match="weight: expected output channels, got none"):
        ops.conv_transpose2d(np.zeros((1, 1, 5, 5), np.float32), kernel[:, :0])


def test_gradient_of_attention_between_vectors_of_no_features():
    q, k = np.zeros((1, 1, 3, 0), np.float32), np.zeros((1, 1, 2000, 0), np.float32)
    v = Tensor(np.ones((1, 1, 2000, 0), np.float32), requires_grad=True)
    y = ops.scaled_dot_product_attention(Tensor(q, requires_grad=True), k, v, scale=1.0)
    y.sum().backward()
    assert v.grad.shape == v.shape


@pytest.mark.parametrize("scale", [1e6, 1e9, 1e12])
def test_gradients_of_attention_stay_finite_for_scores_of_any_size(scale):
    rng = np.random.default_rng(1)
    for _ in range(10):
        q, k, v = (
            Tensor(rng.standard_normal((1, 2, 40, 16), np.float32) * by, requires_grad=True)
            for by in (scale, 1.0, 1.0)
        )
        y = ops.scaled_dot_product_attention(q, k, v)
        dy = rng.standard_normal(y.shape, np.float32)
        y.backward(dy)
        # Probabilities are at most one, so a value gets at most the sum of all gradients.
        assert np.abs(v.grad).max() <= np.abs(dy).sum(2).max() * 1.001
        assert np.isfinite(q.grad).all()
        assert np.isfinite(k.grad).all()


def test_arguments_of_kernels_that_do_not_agree_are_refused():
    dy, x, weight = (np.zeros((3, 3), np.float32) for _ in range(3))
    with pytest.raises(ValueError, match="kept: expected what the activation kept, got none"):
        _kernels.linear_backward(dy, x, weight, "gelu", None, (True, True, True))


def test_what_a_signal_handler_raises_comes_out_of_a_kernel():
    class AlarmError(Exception):
        pass

    def handler(signum, frame):
        raise AlarmError("mine")

    ids = np.random.default_rng(0).integers(0, 50_000, 3_000_000).astype(np.uint32)

    def count_for_ever():
        while True:
            _kernels.ngram_count(ids, 5)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(AlarmError, match="mine"):
            count_for_ever()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_corpus_may_be_asked_for_its_length_while_it_is_estimated():
    corpus = _kernels.NGramText()
    rng = np.random.default_rng(0)
    corpus.add("\n".join(" ".join(map(str, row)) for row in rng.integers(0, 999, (20_000, 20))))
    method, _ = lm.NGram(5).method(corpus)
    estimate = threading.Thread(target=lambda: corpus.estimate(5, method, [], None), daemon=True)
    estimate.start()
    while estimate.is_alive():
        assert len(corpus) >= 0
        time.sleep(0.001)


def test_the_pool_works_after_a_kernel_was_left():
    with pytest.raises(MemoryError):
        ops.linear(np.broadcast_to(np.float32(0), (10**8, 1)), np.zeros((10**8, 1), np.float32))
    lamina.manual_seed(0)
    layer = nn.Linear(512, 512)
    assert layer(np.ones((512, 512), np.float32)).shape == (512, 512)
