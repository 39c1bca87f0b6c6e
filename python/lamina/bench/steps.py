"""Whole training steps: gradients forgotten, forward, loss, backward, clipping, optimiser.

Each repeats one fixed batch of random numbers: images are normal, ids and labels uniform.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from lamina import enable_grad, nn, ops, optim
from lamina.bench import networks, torch_networks
from lamina.bench.case import Builder, Case, Work, normal
from lamina.bench.libraries import load
from lamina.tensor import Array, Tensor


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training step as every library does it.

    Attributes:
        network: makes the network in lamina.
        torch_network: the same in torch, whose module it takes.
        batch: makes input and target.
        loss: name of the function, which lamina and torch share.
        optimizer: name of the class, which they share.
        options: of the optimiser.
        clip: largest norm of all gradients together.
        state: shape of each of the two states that an LSTM hands on from step to step.
    """

    network: Callable[[], nn.Module]
    torch_network: Callable[[Any], Any]
    batch: Callable[[], tuple[Array, Array]]
    loss: str = "cross_entropy"
    optimizer: str
    options: Mapping[str, Any] = field(default_factory=dict)
    clip: float | None = None
    state: tuple[int, ...] | None = None


def by_lamina(recipe: Recipe) -> Work:
    """The step in lamina; its call returns the loss."""
    network = recipe.network()
    parameters = list(network.parameters())
    optimizer = getattr(optim, recipe.optimizer)(parameters, **recipe.options)
    loss_of = getattr(ops, recipe.loss)
    x, target = recipe.batch()
    state = None
    if recipe.state is not None:
        state = [Tensor(np.zeros(recipe.state, np.float32)) for _ in range(2)]

    def call() -> Tensor:
        optimizer.zero_grad()
        if state is None:
            y = network(x)
        else:
            y, *last = network(x, tuple(state))
            state[:] = [s.detach() for s in last]
        if target.ndim == 1 and y.ndim > 2:
            y = y.reshape(-1, y.shape[-1])
        loss: Tensor = loss_of(y, target)
        loss.backward()
        if recipe.clip is not None:
            optim.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        return loss

    return Work(call, enable_grad)


def by_torch(recipe: Recipe, channels_last: bool = False, compiled: bool = False) -> Work:
    """The step in torch with the fused optimiser; its call returns the loss."""
    torch = load("torch")
    torch.manual_seed(0)
    network = recipe.torch_network(torch)
    x, target = map(torch.from_numpy, recipe.batch())
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    parameters = list(network.parameters())
    optimizer = getattr(torch.optim, recipe.optimizer)(parameters, fused=True, **recipe.options)
    loss_of = getattr(torch.nn.functional, recipe.loss)
    run = torch.compile(network) if compiled else network
    state = None if recipe.state is None else [torch.zeros(recipe.state) for _ in range(2)]

    def call() -> Any:
        optimizer.zero_grad(set_to_none=True)
        if state is None:
            y = run(x)
        else:
            y, *last = run(x, tuple(state))
            state[:] = [s.detach() for s in last]
        if target.ndim == 1 and y.ndim > 2:
            y = y.view(-1, y.shape[-1])
        loss = loss_of(y, target)
        loss.backward()
        if recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        return loss

    return Work(call, torch.enable_grad)


def mlp(widths: Sequence[int] = (784, 128, 10), batch: int = 128) -> Recipe:
    """A network of linear layers, with Adam."""
    return Recipe(
        network=partial(networks.mlp, widths),
        torch_network=lambda torch: torch_networks.mlp(torch, widths),
        batch=lambda: (normal(batch, widths[0]), _ids(widths[-1], batch)),
        optimizer="Adam",
        options={"lr": 1e-3},
    )


def lenet5(batch: int = 64) -> Recipe:
    """LeNet-5 on digits, with momentum."""
    return Recipe(
        network=networks.lenet5,
        torch_network=torch_networks.lenet5,
        batch=lambda: (normal(batch, 1, 28, 28), _ids(10, batch)),
        optimizer="SGD",
        options={"lr": 0.01, "momentum": 0.9},
    )


def vgg11(width: int = 64, batch: int = 32) -> Recipe:
    """VGG-11 on images of CIFAR's size."""
    return Recipe(
        network=partial(networks.vgg11, width),
        torch_network=lambda torch: torch_networks.vgg11(torch, width),
        batch=lambda: (normal(batch, 3, 32, 32), _ids(10, batch)),
        optimizer="SGD",
        options={"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    )


def resnet18(width: int = 64, batch: int = 32) -> Recipe:
    """ResNet-18 on images of CIFAR's size."""
    return Recipe(
        network=partial(networks.resnet18, width),
        torch_network=lambda torch: torch_networks.resnet18(torch, width),
        batch=lambda: (normal(batch, 3, 32, 32), _ids(10, batch)),
        optimizer="SGD",
        options={"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
    )


def unet(base: int = 32, batch: int = 4, side: int = 128) -> Recipe:
    """A U-Net that tells for each pixel whether it belongs."""
    shape = (batch, 1, side, side)
    return Recipe(
        network=partial(networks.UNet, base),
        torch_network=lambda torch: torch_networks.unet(torch, base),
        batch=lambda: (normal(*shape), _ids(2, *shape).astype(np.float32)),
        loss="binary_cross_entropy_with_logits",
        optimizer="Adam",
        options={"lr": 1e-3},
    )


def lstm_lm(vocab: int = 10_000, width: int = 200, length: int = 35, batch: int = 20) -> Recipe:
    """A language model of words, two layers of LSTM, whose state goes on from step to step."""
    return Recipe(
        network=partial(networks.RecurrentLM, vocab, width),
        torch_network=lambda torch: torch_networks.recurrent_lm(torch, vocab, width),
        batch=lambda: (_ids(vocab, length, batch), _ids(vocab, length * batch, seed=1)),
        optimizer="SGD",
        options={"lr": 1.0},
        clip=0.25,
        state=(2, batch, width),
    )


def nanogpt(batch: int = 12, length: int = 64) -> Recipe:
    """The recipe of nanoGPT for a CPU."""
    return Recipe(
        network=networks.nanogpt,
        torch_network=torch_networks.nanogpt,
        batch=lambda: (_ids(65, batch, length), _ids(65, batch * length, seed=1)),
        optimizer="AdamW",
        options={"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1},
        clip=1.0,
    )


def bert(batch: int = 16, length: int = 128, **sizes: int) -> Recipe:
    """BERT, logits at all places, 15 % of which count."""
    vocab = sizes.get("vocab", 30_522)

    def targets() -> Array:
        count = batch * length
        chosen = np.random.default_rng(2).permutation(count)[: round(0.15 * count)]
        target = np.full(count, -100)
        target[chosen] = _ids(vocab, len(chosen), seed=1)
        return target

    return Recipe(
        network=lambda: networks.MaskedLM(networks.Encoder(**sizes)),
        torch_network=lambda torch: torch_networks.masked_lm(torch, **sizes),
        batch=lambda: (_ids(vocab, batch, length), targets()),
        optimizer="AdamW",
        options={"lr": 1e-4, "weight_decay": 0.01},
    )


def gpt2(length: int = 256, **sizes: int) -> Recipe:
    """GPT-2, one text at a time."""
    vocab = sizes.get("vocab", 50_257)
    return Recipe(
        network=partial(networks.gpt, **sizes),
        torch_network=lambda torch: torch_networks.gpt(torch, **sizes),
        batch=lambda: (_ids(vocab, 1, length), _ids(vocab, length, seed=1)),
        optimizer="AdamW",
        options={"lr": 6e-4, "betas": (0.9, 0.95), "weight_decay": 0.1},
    )


def _ids(count: int, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, count, shape)


def training(
    name: str,
    size: str,
    recipe: Recipe,
    bar: float,
    *,
    gflops: float = 0.0,
    layouts: bool = False,
    compiled: bool = False,
) -> Case:
    """A row for a training step.

    Args:
        name: of the network.
        size: of network and batch, for people.
        recipe: the step.
        bar: least ratio.
        gflops: operations of forward and backward as torch counts them, in billions.
        layouts: whether torch is also measured with channels last in memory.
        compiled: whether torch is measured compiled rather than as it is.
    """
    peers: dict[str, Builder] = {"torch": partial(by_torch, recipe)}
    if layouts:
        peers["torch NHWC"] = partial(by_torch, recipe, channels_last=True)
    if compiled:
        peers = {"torch.compile": partial(by_torch, recipe, compiled=True)}
    return Case(
        name=f"{name} step",
        size=size,
        family="training",
        lamina=partial(by_lamina, recipe),
        peers=peers,
        flops=gflops * 1e9,
        bar=bar,
        is_step=True,
    )


TRAINING: list[Case] = [
    training("MLP", "784-128-10, batch 128", mlp(), 1.5, gflops=0.0524),
    training("LeNet-5", "1 x 28 x 28, batch 64", lenet5(), 1.8, gflops=0.1449, layouts=True),
    training("ResNet-18", "3 x 32 x 32, batch 32", resnet18(), 1.5, gflops=106.53, layouts=True),
    training("VGG-11", "3 x 32 x 32, batch 32", vgg11(), 1.5, gflops=29.22, layouts=True),
    training("U-Net", "1 x 128 x 128, batch 4", unet(), 1.6, gflops=55.05, layouts=True),
    training("LSTM LM", "10,000 words, 2 x 200, T 35, B 20", lstm_lm(), 1.4, gflops=11.09),
    training("nanoGPT", "4 x 128, T 64, B 12", nanogpt(), 1.7, gflops=3.662),
    training("nanoGPT", "peer compiled", nanogpt(), 1.55, gflops=3.662, compiled=True),
    training("BERT", "6 x 384, T 128, B 16", bert(), 1.4, gflops=276.29),
    training("GPT-2", "124 M, T 256, B 1", gpt2(), 1.5, gflops=189.75),
]
