"""The networks of the training steps, in lamina; ``torch_networks`` holds their twins."""

import itertools
from collections.abc import Sequence

import numpy as np

from lamina import models, nn, ops
from lamina.tensor import Array, Tensor


def mlp(widths: Sequence[int] = (784, 128, 10)) -> nn.Module:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet5() -> nn.Module:
    """LeNet-5 with ReLU and max-pooling, for 28 x 28 pixels."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


VGG11 = (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)
"""Channels of each convolution over the least; zero halves the image."""


def vgg11(width: int = 64) -> nn.Module:
    """VGG-11 with batch norm for 32 x 32 pixels: eight convolutions and one linear layer."""
    layers: list[nn.Module] = []
    channels = 3
    for factor in VGG11:
        if not factor:
            layers.append(nn.MaxPool2d(2))
            continue
        out = factor * width
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))


class BasicBlock(nn.Module):
    """Two convolutions with batch norm, added to their input."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = (
            None
            if stride == 1 and channels == out
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, O, H / stride, W / stride]``."""
        y = self.bn2(self.conv2(ops.relu(self.bn1(self.conv1(x)))))
        return ops.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def resnet18(width: int = 64) -> nn.Module:
    """ResNet-18 for 32 x 32 pixels: the first convolution keeps their size."""
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    ]
    channels = width
    for factor in (1, 2, 4, 8):
        out = factor * width
        layers += [BasicBlock(channels, out, 1 if factor == 1 else 2), BasicBlock(out, out, 1)]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def _two(channels: int, out: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(out, out, 3, padding=1), nn.ReLU()),
    )


class UNet(nn.Module):
    """Three times down and up again, each level joined to the one across."""

    def __init__(self, base: int = 32) -> None:
        super().__init__()
        self.down = nn.ModuleList([_two(1, base), _two(base, 2 * base), _two(2 * base, 4 * base)])
        self.bottom = _two(4 * base, 8 * base)
        widths = [8 * base, 4 * base, 2 * base]
        self.up = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, 2) for w in widths)
        self.joined = nn.ModuleList(_two(w, w // 2) for w in widths)
        self.out = nn.Conv2d(base, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, 1, H, W]`` to logits of the same shape."""
        kept = []
        for level in self.down:
            x = level(x)
            kept.append(x)
            x = ops.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, joined in zip(self.up, self.joined, strict=True):
            x = joined(ops.cat([kept.pop(), up(x)], 1))
        return self.out(x)


class RecurrentLM(nn.Module):
    """A language model of LSTM layers, the axis of time first."""

    def __init__(self, vocab: int = 10_000, width: int = 200) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.rnn = nn.LSTM(width, width, 2, batch_first=False)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids: Array, state: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Logits ``[L, N, V]`` and the last state."""
        y, state = self.rnn(self.embedding(ids), state)
        return self.head(y), state[0], state[1]


class EncoderLayer(nn.Module):
    """Attention and a two-layer network, each added to the stream and normalised after."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, L, D]`` to ``[N, L, D]``."""
        x = self.norm1(x + self.out(ops.self_attention(self.qkv(x), self.heads)))
        return self.norm2(x + self.down(ops.gelu(self.up(x))))


class Encoder(nn.Module):
    """The encoder of BERT, of the size of MiniLM."""

    def __init__(
        self,
        vocab: int = 30_522,
        context: int = 512,
        dim: int = 384,
        heads: int = 12,
        layers: int = 6,
    ) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
        self.segments, self.norm = nn.Embedding(2, dim), nn.LayerNorm(dim)
        self.layers = nn.Sequential(*[EncoderLayer(dim, heads) for _ in range(layers)])
        nn.init.normal_(self.tokens.weight, 0.0, 0.02)

    def forward(self, ids: Array) -> Tensor:
        """Map ids ``[N, L]`` to ``[N, L, D]``."""
        places = self.positions(np.arange(ids.shape[1]))
        return self.layers(self.norm(self.tokens(ids) + places + self.segments.weight[0]))


class MaskedLM(nn.Module):
    """An encoder that tells the tokens at all places, through its own token table."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        vocab, dim = encoder.tokens.weight.shape
        self.encoder = encoder
        self.dense, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        self.bias = nn.Parameter(np.zeros(vocab, np.float32))

    def forward(self, ids: Array) -> Tensor:
        """Map ids ``[N, L]`` to logits ``[N L, V]``."""
        y = self.encoder(ids)
        y = self.norm(ops.gelu(self.dense(y.reshape(-1, y.shape[-1]))))
        return ops.linear(y, self.encoder.tokens.weight, self.bias)


def nanogpt() -> nn.Module:
    """The size of nanoGPT's recipe for a CPU."""
    return models.GPT(
        models.GPTConfig(
            vocab_size=65,
            context=64,
            dim=128,
            num_heads=4,
            num_layers=4,
            bias=False,
            activation="gelu",
        )
    )


def gpt(vocab: int = 50_257, context: int = 1024, dim: int = 768, layers: int = 12) -> nn.Module:
    """GPT-2; heads of 64 numbers."""
    return models.GPT(
        models.GPTConfig(
            vocab_size=vocab, context=context, dim=dim, num_heads=dim // 64, num_layers=layers
        )
    )
