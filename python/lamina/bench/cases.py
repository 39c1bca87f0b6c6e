"""The works that every ``lamina bench`` measures, also in NumPy alone."""

from collections import Counter
from dataclasses import replace

import numpy as np

from lamina import _kernels, nn
from lamina.bench import kernels
from lamina.bench.case import Builder, Case, Work, forward, normal
from lamina.tensor import Array


def _beside_numpy(case: Case, by_numpy: Builder) -> Case:
    """The case against NumPy, and torch as it is by default."""
    return replace(case, peers={"numpy": by_numpy, "torch": case.peers["torch"]})


def _conv2d() -> Work:
    x, w = normal(32, 64, 56, 56), normal(64, 64, 3, 3, seed=1)

    def call() -> Array:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(32 * 56 * 56, 64 * 9)
        y = columns @ w.reshape(64, 64 * 9).T
        return y.reshape(32, 56, 56, 64).transpose(0, 3, 1, 2)

    return Work(call)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _lstm() -> Work:
    length, batch, inputs, hidden = 64, 32, 128, 256
    x = normal(length, batch, inputs)
    state = nn.LSTM(inputs, hidden, rng=np.random.default_rng(0)).state_dict()
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w_ih, w_hh, b_ih, b_hh = (state[name] for name in names)

    def call() -> Array:
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

    return Work(call)


def _attention() -> Work:
    q, k, v = (normal(4, 12, 512, 64, seed=seed) for seed in range(3))
    mask = np.triu(np.ones((512, 512), bool), 1)

    def call() -> Array:
        scores = q @ k.swapaxes(-1, -2) * np.float32(64**-0.5)
        scores[..., mask] = -np.inf
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        return scores @ v

    return Work(call)


def _cross_entropy() -> Work:
    rows, classes = 2048, 50257
    x = normal(rows, classes)
    targets = np.random.default_rng(1).integers(0, classes, rows)
    index = np.arange(rows)

    def call() -> Array:
        shifted = x - x.max(1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(1, keepdims=True)
        np.mean(np.log(total[:, 0]) - shifted[index, targets])
        e /= total
        e[index, targets] -= 1
        e /= rows
        return e

    return Work(call)


def _words() -> Array:
    # Ids with about the frequencies of words: 1/rank.
    draws = np.random.default_rng(0).random(1_000_000)
    return np.exp(draws * np.log(20_000)).astype(np.uint32)


def _count() -> Work:
    ids = _words()
    return forward(lambda: _kernels.ngram_count(ids, 3))


def _count_by_counter() -> Work:
    words = _words().tolist()
    return Work(lambda: Counter(zip(words, words[1:], words[2:], strict=False)))


CASES: list[Case] = [
    kernels.matmul(1024, 1024, 1024, None),
    _beside_numpy(kernels.conv(32, 64, 56, 64, 3, (0, None))[0], _conv2d),
    _beside_numpy(kernels.recurrent("LSTM", 64, 32, 128, 256, (0, None))[0], _lstm),
    _beside_numpy(kernels.attention(4, 12, 512, 64, (0, None))[0], _attention),
    _beside_numpy(kernels.cross_entropy(2048, 50257, 0), _cross_entropy),
    Case(
        name="counting 3-grams",
        size="1 M tokens, 20 k words",
        family="ngram",
        lamina=_count,
        peers={"numpy": _count_by_counter},
    ),
]
