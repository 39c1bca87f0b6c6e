"""The networks of :mod:`lamina.bench.networks` in torch, whose module each takes first."""

import itertools
from collections.abc import Sequence
from typing import Any

from lamina.bench.networks import VGG11


def mlp(torch: Any, widths: Sequence[int] = (784, 128, 10)) -> Any:
    """Linear layers with ReLU between."""
    nn = torch.nn
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet5(torch: Any) -> Any:
    """LeNet-5."""
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def vgg11(torch: Any, width: int = 64) -> Any:
    """VGG-11 with batch norm."""
    nn = torch.nn
    layers: list[Any] = []
    channels = 3
    for factor in VGG11:
        if not factor:
            layers.append(nn.MaxPool2d(2))
            continue
        out = factor * width
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))


def resnet18(torch: Any, width: int = 64) -> Any:
    """ResNet-18."""
    nn, relu = torch.nn, torch.nn.functional.relu
    Module: Any = torch.nn.Module

    class BasicBlock(Module):  # type: ignore[misc]
        def __init__(self, channels: int, out: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(out)
            self.shortcut = nn.Identity()
            if stride != 1 or channels != out:
                projection = nn.Conv2d(channels, out, 1, stride, bias=False)
                self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
            return relu(y + self.shortcut(x))

    layers = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for factor in (1, 2, 4, 8):
        out = factor * width
        layers += [BasicBlock(channels, out, 1 if factor == 1 else 2), BasicBlock(out, out, 1)]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def unet(torch: Any, base: int = 32) -> Any:
    """A U-Net of three levels."""
    nn = torch.nn

    def two(channels: int, out: int) -> Any:
        return nn.Sequential(
            *(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(out, out, 3, padding=1), nn.ReLU()),
        )

    Module: Any = torch.nn.Module

    class UNet(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            down = [two(1, base), two(base, 2 * base), two(2 * base, 4 * base)]
            self.down, self.bottom = nn.ModuleList(down), two(4 * base, 8 * base)
            widths = [8 * base, 4 * base, 2 * base]
            self.up = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, 2) for w in widths)
            self.joined = nn.ModuleList(two(w, w // 2) for w in widths)
            self.out = nn.Conv2d(base, 1, 1)

        def forward(self, x: Any) -> Any:
            kept = []
            for level in self.down:
                x = level(x)
                kept.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottom(x)
            for up, joined in zip(self.up, self.joined, strict=True):
                x = joined(torch.cat([kept.pop(), up(x)], 1))
            return self.out(x)

    return UNet()


def recurrent_lm(torch: Any, vocab: int = 10_000, width: int = 200) -> Any:
    """A language model of LSTM layers."""
    nn = torch.nn
    Module: Any = torch.nn.Module

    class RecurrentLM(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn = nn.Embedding(vocab, width), nn.LSTM(width, width, 2)
            self.head = nn.Linear(width, vocab)

        def forward(self, ids: Any, state: Any) -> Any:
            y, (h, c) = self.rnn(self.embedding(ids), state)
            return self.head(y), h, c

    return RecurrentLM()


def _layer(torch: Any, dim: int, heads: int, causal: bool, bias: bool, approximate: str) -> Any:
    """A layer of a transformer; normalised before each branch if causal, else after."""
    nn, functional = torch.nn, torch.nn.functional
    Module: Any = torch.nn.Module

    class Layer(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(dim, bias=bias), nn.LayerNorm(dim, bias=bias)
            self.qkv, self.out = nn.Linear(dim, 3 * dim, bias), nn.Linear(dim, dim, bias)
            self.up, self.down = nn.Linear(dim, 4 * dim, bias), nn.Linear(4 * dim, dim, bias)

        def attend(self, x: Any) -> Any:
            n, length, _ = x.shape
            qkv = self.qkv(x).view(n, length, 3, heads, dim // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            return self.out(y.transpose(1, 2).reshape(n, length, dim))

        def expand(self, x: Any) -> Any:
            return self.down(functional.gelu(self.up(x), approximate=approximate))

        def forward(self, x: Any) -> Any:
            if causal:
                x = x + self.attend(self.norm1(x))
                return x + self.expand(self.norm2(x))
            x = self.norm1(x + self.attend(x))
            return self.norm2(x + self.expand(x))

    return Layer()


def encoder(
    torch: Any,
    vocab: int = 30_522,
    context: int = 512,
    dim: int = 384,
    heads: int = 12,
    layers: int = 6,
) -> Any:
    """The encoder of BERT."""
    nn = torch.nn
    Module: Any = torch.nn.Module

    class Encoder(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
            self.segments, self.norm = nn.Embedding(2, dim), nn.LayerNorm(dim)
            body = [_layer(torch, dim, heads, False, True, "none") for _ in range(layers)]
            self.layers = nn.Sequential(*body)
            nn.init.normal_(self.tokens.weight, std=0.02)

        def forward(self, ids: Any) -> Any:
            places = self.positions.weight[: ids.shape[1]]
            return self.layers(self.norm(self.tokens(ids) + places + self.segments.weight[0]))

    return Encoder()


def masked_lm(torch: Any, **sizes: int) -> Any:
    """An encoder that tells the tokens at all places."""
    nn, functional = torch.nn, torch.nn.functional
    Module: Any = torch.nn.Module

    class MaskedLM(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder(torch, **sizes)
            vocab, dim = self.encoder.tokens.weight.shape
            self.dense, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
            self.bias = nn.Parameter(torch.zeros(vocab))

        def forward(self, ids: Any) -> Any:
            y = self.encoder(ids)
            y = self.norm(functional.gelu(self.dense(y.reshape(-1, y.shape[-1]))))
            return functional.linear(y, self.encoder.tokens.weight, self.bias)

    return MaskedLM()


def _gpt(
    torch: Any,
    vocab: int,
    context: int,
    dim: int,
    heads: int,
    layers: int,
    bias: bool,
    approximate: str,
) -> Any:
    nn = torch.nn
    Module: Any = torch.nn.Module

    class GPT(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
            body = [_layer(torch, dim, heads, True, bias, approximate) for _ in range(layers)]
            self.layers = nn.Sequential(*body, nn.LayerNorm(dim, bias=bias))
            nn.init.normal_(self.tokens.weight, std=0.02)
            nn.init.normal_(self.positions.weight, std=0.02)

        def forward(self, ids: Any) -> Any:
            x = self.layers(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
            return nn.functional.linear(x, self.tokens.weight)

    return GPT()


def nanogpt(torch: Any) -> Any:
    """The size of nanoGPT's recipe for a CPU."""
    return _gpt(torch, 65, 64, 128, 4, 4, False, "none")


def gpt(
    torch: Any, vocab: int = 50_257, context: int = 1024, dim: int = 768, layers: int = 12
) -> Any:
    """GPT-2."""
    return _gpt(torch, vocab, context, dim, dim // 64, layers, True, "tanh")
