"""The works that are measured: what lamina does, and the same in NumPy and in PyTorch."""

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina import _kernels, enable_grad, nn, ops
from lamina.tensor import Array, Tensor

Work = Callable[[], Any]


@dataclass(frozen=True)
class Runs:
    """One work by each library; ``torch`` is ``None`` where it has none."""

    lamina: Work
    numpy: Work
    torch: Work | None = None


@dataclass(frozen=True)
class Case:
    """A work of fixed size.

    Attributes:
        name: what it is.
        size: its shape, for people.
        kernel: the family of kernels it stands for.
        flops: arithmetic operations, or zero where they say nothing.
        build: makes the inputs and the works; takes the torch module or ``None``.
    """

    name: str
    size: str
    kernel: str
    flops: float
    build: Callable[[Any], Runs]


def torch_module() -> Any:
    """The torch module, or ``None`` where it is not installed."""
    try:
        module = importlib.import_module("torch")
    except ImportError:
        return None
    # A folder that happens to be called torch imports as an empty namespace.
    return module if hasattr(module, "nn") else None


def _normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _matmul(n: int) -> Callable[[Any], Runs]:
    def build(torch: Any) -> Runs:
        a, b = _normal(n, n), _normal(n, n, seed=1)
        peer = None
        if torch is not None:
            ta, tb = torch.from_numpy(a), torch.from_numpy(b)
            peer = lambda: torch.mm(ta, tb)  # noqa: E731
        return Runs(lambda: ops.matmul(a, b), lambda: a @ b, peer)

    return build


def _conv2d(torch: Any) -> Runs:
    x, w = _normal(32, 64, 56, 56), _normal(64, 64, 3, 3, seed=1) * 0.05

    def by_numpy() -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(32 * 56 * 56, 64 * 9)
        y = columns @ w.reshape(64, 64 * 9).T
        return y.reshape(32, 56, 56, 64).transpose(0, 3, 1, 2)

    peer = None
    if torch is not None:
        tx, tw = torch.from_numpy(x), torch.from_numpy(w)
        peer = lambda: torch.nn.functional.conv2d(tx, tw, padding=1)  # noqa: E731
    return Runs(lambda: ops.conv2d(x, w, padding=1), by_numpy, peer)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _lstm(torch: Any) -> Runs:
    length, batch, inputs, hidden = 64, 32, 128, 256
    layer = nn.LSTM(inputs, hidden, batch_first=False, rng=np.random.default_rng(0))
    x = _normal(length, batch, inputs)
    state = layer.state_dict()
    w_ih, w_hh, b_ih, b_hh = (state[f"{name}_l0"] for name in _LSTM_NAMES)

    def by_numpy() -> Array:
        h = np.zeros((batch, hidden), np.float32)
        c = np.zeros((batch, hidden), np.float32)
        y = np.empty((length, batch, hidden), np.float32)
        projected = x @ w_ih.T + (b_ih + b_hh)
        for t in range(length):
            i, f, g, o = np.split(projected[t] + h @ w_hh.T, 4, axis=1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            y[t] = h
        return y

    peer = None
    if torch is not None:
        module = torch.nn.LSTM(inputs, hidden)
        module.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        tx = torch.from_numpy(x)
        peer = lambda: module(tx)[0]  # noqa: E731
    return Runs(lambda: layer(x)[0], by_numpy, peer)


_LSTM_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _attention(torch: Any) -> Runs:
    q, k, v = (_normal(4, 12, 512, 64, seed=seed) for seed in range(3))
    mask = np.triu(np.ones((512, 512), bool), 1)

    def by_numpy() -> Array:
        scores = q @ k.swapaxes(-1, -2) * np.float32(64**-0.5)
        scores[..., mask] = -np.inf
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        return scores @ v

    peer = None
    if torch is not None:
        t = [torch.from_numpy(a) for a in (q, k, v)]
        attend = torch.nn.functional.scaled_dot_product_attention
        peer = lambda: attend(*t, is_causal=True)  # noqa: E731
    return Runs(lambda: ops.scaled_dot_product_attention(q, k, v, is_causal=True), by_numpy, peer)


def _cross_entropy(torch: Any) -> Runs:
    rows, classes = 2048, 50257
    x = _normal(rows, classes)
    targets = np.random.default_rng(1).integers(0, classes, rows)
    index = np.arange(rows)

    def by_lamina() -> Array | None:
        logits = Tensor(x, requires_grad=True)
        with enable_grad():
            ops.cross_entropy(logits, targets).backward()
        return logits.grad

    def by_numpy() -> Array:
        shifted = x - x.max(1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(1, keepdims=True)
        np.mean(np.log(total[:, 0]) - shifted[index, targets])
        e /= total
        e[index, targets] -= 1
        e /= rows
        return e

    peer = None
    if torch is not None:
        tt = torch.from_numpy(targets)

        def peer() -> Any:
            logits = torch.from_numpy(x).requires_grad_()
            with torch.enable_grad():
                torch.nn.functional.cross_entropy(logits, tt).backward()
            return logits.grad

    return Runs(by_lamina, by_numpy, peer)


def _count(_torch: Any) -> Runs:
    # Ids with about the frequencies of words: 1/rank.
    draws = np.random.default_rng(0).random(1_000_000)
    ids = np.exp(draws * np.log(20_000)).astype(np.uint32)
    words = ids.tolist()
    return Runs(
        lambda: _kernels.ngram_count(ids, 3),
        lambda: Counter(zip(words, words[1:], words[2:], strict=False)),
    )


CASES = [
    Case("matmul", "1024 x 1024 x 1024", "matmul", 2 * 1024**3, _matmul(1024)),
    Case(
        "conv2d",
        "32 x 64 x 56 x 56 -> 64, 3 x 3",
        "conv",
        2 * 32 * 64 * 64 * 9 * 56 * 56,
        _conv2d,
    ),
    Case(
        "LSTM",
        "T 64, B 32, 128 -> 256",
        "lstm",
        2 * 64 * 32 * 4 * 256 * (128 + 256),
        _lstm,
    ),
    Case(
        "causal attention",
        "4 x 12 x 512 x 64",
        "attention",
        2 * 4 * 12 * 512 * 512 * 64,
        _attention,
    ),
    Case("softmax-cross-entropy, with gradient", "2048 x 50257", "loss", 0, _cross_entropy),
    Case("counting 3-grams", "1 M tokens, 20 k words", "ngram", 0, _count),
]
