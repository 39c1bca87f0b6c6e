"""Page faults and memory of training steps in steady state.

    python benches/faults.py --threads 1 2 3

Each model trains in a process of its own: 20 steps to warm up, then 100 that are counted.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

import lamina
from lamina import models, nn, ops, optim

WARMUP, WINDOWS, WINDOW = 20, 10, 10


class Encoder(nn.Module):
    """BERT's encoder without its segments: each token sees all others."""

    def __init__(self, vocab, length, dim, heads, layers):
        super().__init__()
        self.tokens = nn.Embedding(vocab, dim)
        self.positions = nn.Embedding(length, dim)
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads) for _ in range(layers))
        self.head = nn.Linear(dim, vocab)

    def forward(self, ids):
        x = self.norm(self.tokens(ids) + self.positions(np.arange(ids.shape[1])))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class EncoderLayer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.linear2(ops.gelu(self.linear1(x))))


def mlp(rng):
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    x = rng.standard_normal((128, 784), np.float32)
    return model, x, rng.integers(0, 10, 128)


def lenet(rng):
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    x = rng.standard_normal((64, 1, 28, 28), np.float32)
    return model, x, rng.integers(0, 10, 64)


def resnet(rng):
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(Residual(16), Residual(16), nn.Conv2d(16, 32, 3, stride=2, padding=1), Residual(32)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
    x = rng.standard_normal((64, 3, 32, 32), np.float32)
    return model, x, rng.integers(0, 10, 64)


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        convolution = {"kernel_size": 3, "padding": 1, "bias": False}
        self.conv1 = nn.Conv2d(channels, channels, **convolution)
        self.conv2 = nn.Conv2d(channels, channels, **convolution)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        y = ops.relu(self.norm1(self.conv1(x)))
        return ops.relu(x + self.norm2(self.conv2(y)))


def lstm(rng):
    config = models.RecurrentConfig(vocab_size=2000, dim=200, hidden=200, num_layers=2)
    ids = rng.integers(0, 2000, (20, 36))
    return models.RecurrentLM(config), ids[:, :-1], ids[:, 1:]


def gpt(rng):
    config = models.GPTConfig(
        vocab_size=65, context=64, dim=128, num_heads=4, num_layers=4, bias=False, activation="gelu"
    )
    ids = rng.integers(0, 65, (12, 65))
    return models.GPT(config), ids[:, :-1], ids[:, 1:]


def bert(rng):
    ids = rng.integers(0, 2000, (4, 128))
    return Encoder(2000, 128, 384, 6, 2), ids, ids


MODELS = {build.__name__: build for build in (mlp, lenet, resnet, lstm, gpt, bert)}


def train(name, threads):
    lamina.set_num_threads(threads)
    lamina.manual_seed(0)
    model, x, target = MODELS[name](np.random.default_rng(0))
    parameters = list(model.parameters())
    optimizer = optim.AdamW(parameters, lr=1e-3)

    def step():
        optimizer.zero_grad()
        logits = model(x)
        loss = ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))
        loss.backward()
        optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    for _ in range(WARMUP):
        step()
    faults, start = np.empty(WINDOWS), time.perf_counter()
    for window in range(WINDOWS):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(WINDOW):
            step()
        faults[window] = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / WINDOW
    milliseconds = (time.perf_counter() - start) * 1e3 / (WINDOWS * WINDOW)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:8s} {threads:7d} {faults.mean():12.1f} {faults.max():15.1f} "
        f"{milliseconds:8.2f} {peak:9.0f}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--threads", type=int, nargs="+", default=[lamina.num_threads()])
    parser.add_argument(
        "--here", action="store_true", help="no process of their own, for profilers"
    )
    args = parser.parse_args()
    names = args.models or list(MODELS)
    if args.here:
        for name in names:
            train(name, args.threads[0])
        return
    print("model    threads  faults/step  worst 10 steps  ms/step  peak MiB")
    for name in names:
        for threads in args.threads:
            command = [sys.executable, __file__, name, "--here", "--threads", str(threads)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
