"""Single kernels beside those of the others, forward and with all gradients."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lamina import enable_grad, nn, ops, optim
from lamina.bench.case import Builder, Case, Work, forward, normal
from lamina.bench.libraries import load
from lamina.tensor import Array, Tensor

Bars = tuple[float | None, float | None]
"""Least ratios forward and with gradients; ``None`` where there is no such row."""

_BYTES = 4


def matmul(m: int, k: int, n: int, bar: float | None, share: float | None = None) -> Case:
    """A product of two matrices."""

    def inputs() -> tuple[Array, Array]:
        return normal(m, k), normal(k, n, seed=1)

    return Case(
        name="matmul",
        size=f"{m} x {k} x {n}",
        family="matmul",
        lamina=lambda: forward(partial(ops.matmul, *inputs())),
        peers={"numpy": lambda: _numpy_product(*inputs()), "torch": lambda: _torch_product(inputs)},
        flops=2 * m * k * n,
        bar=bar,
        least_share=share,
    )


def fixed_weight(rows: int, in_features: int, out_features: int, bar: float) -> Case:
    """A product with a weight that stays, as in prediction."""
    shape = (out_features, in_features)

    def by_lamina() -> Work:
        x, weight = Tensor(normal(rows, in_features)), nn.Parameter(normal(*shape, seed=1))
        return forward(lambda: ops.linear(x, weight))

    def by_numpy() -> Work:
        x, weight = normal(rows, in_features), normal(*shape, seed=1)
        return Work(lambda: x @ weight.T)

    def by_torch() -> Work:
        torch = load("torch")
        x = torch.from_numpy(normal(rows, in_features))
        layer = torch.nn.Linear(in_features, out_features, bias=False)
        return Work(lambda: layer(x), torch.inference_mode)

    return Case(
        name="matmul, fixed weight",
        size=f"{rows} x {in_features} x {out_features}",
        family="matmul",
        lamina=by_lamina,
        peers={"numpy": by_numpy, "torch": by_torch},
        flops=2 * rows * in_features * out_features,
        bar=bar,
    )


def vector_matrix(k: int, n: int, bar: float) -> Case:
    """A row times a matrix."""

    def inputs() -> tuple[Array, Array]:
        return normal(k), normal(k, n, seed=1)

    # A matrix that fits a cache is not read from memory.
    return Case(
        name="vector-matrix",
        size=f"{k} x {n}",
        family="matmul",
        lamina=lambda: forward(partial(ops.matmul, *inputs())),
        peers={"numpy": lambda: _numpy_product(*inputs()), "torch": lambda: _torch_product(inputs)},
        traffic=_BYTES * k * n if k * n >= 1 << 25 else 0,
        bar=bar,
    )


def batched(count: int, m: int, k: int, n: int, bar: float) -> Case:
    """Many small products at once."""

    def inputs() -> tuple[Array, Array]:
        return normal(count, m, k), normal(count, k, n, seed=1)

    return Case(
        name="batched matmul",
        size=f"{count} x [{m} x {k}] x [{k} x {n}]",
        family="matmul",
        lamina=lambda: forward(partial(ops.matmul, *inputs())),
        peers={"numpy": lambda: _numpy_product(*inputs()), "torch": lambda: _torch_product(inputs)},
        flops=2 * count * m * k * n,
        bar=bar,
    )


def _numpy_product(a: Array, b: Array) -> Work:
    return Work(lambda: a @ b)


def _torch_product(inputs: Callable[[], tuple[Array, Array]]) -> Work:
    torch = load("torch")
    a, b = map(torch.from_numpy, inputs())
    return Work(lambda: torch.matmul(a, b), torch.inference_mode)


def conv(
    n: int,
    channels: int,
    side: int,
    out_channels: int,
    kernel: int,
    bars: Bars,
    *,
    stride: int = 1,
    groups: int = 1,
) -> list[Case]:
    """A convolution of square images, padded so that stride 1 keeps their size."""
    padding = kernel // 2
    out_side = (side + 2 * padding - kernel) // stride + 1
    weight = (out_channels, channels // groups, kernel, kernel)
    options: Mapping[str, Any] = {"stride": stride, "padding": padding, "groups": groups}
    step = f", stride {stride}" if stride > 1 else ""
    return differentiable(
        "depthwise conv2d" if groups > 1 else "conv2d",
        f"{n} x {channels} x {side} x {side} -> {out_channels}, {kernel} x {kernel}{step}",
        "conv",
        [(n, channels, side, side), weight],
        lambda x, w: ops.conv2d(x, w, **options),
        lambda torch, x, w: torch.nn.functional.conv2d(x, w, **options),
        bars,
        flops=2 * n * out_side**2 * int(np.prod(weight)),
        backward=2,
        layouts=True,
    )


def max_pool(n: int, channels: int, side: int, bars: Bars) -> list[Case]:
    """Largest number of 3 x 3 windows, every second one, as at the beginning of a ResNet."""
    options = {"kernel_size": 3, "stride": 2, "padding": 1}
    return differentiable(
        "max-pool 3 x 3, stride 2",
        f"{n} x {channels} x {side} x {side}",
        "pooling",
        [(n, channels, side, side)],
        lambda x: ops.max_pool2d(x, 3, 2, 1),
        lambda torch, x: torch.nn.functional.max_pool2d(x, **options),
        bars,
        layouts=True,
    )


def attention(n: int, heads: int, length: int, dim: int, bars: Bars) -> list[Case]:
    """Causal attention; half of the scores are never needed."""
    return differentiable(
        "causal attention",
        f"{n} x {heads} x {length} x {dim}",
        "attention",
        [(n, heads, length, dim)] * 3,
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True
        ),
        bars,
        flops=2 * n * heads * length**2 * dim,
        backward=2.5,
    )


def rowwise(name: str, rows: int, width: int, bars: Bars) -> list[Case]:
    """An activation or a normalisation of the rows of a matrix."""
    family, own, other, vectors = _ROWWISE[name]
    shapes = [(rows, width), *[(width,)] * vectors]
    return differentiable(name, f"{rows} x {width}", family, shapes, own, other, bars)


_ROWWISE: Mapping[str, tuple[str, Callable[..., Tensor], Callable[..., Any], int]] = {
    "gelu": ("activation", ops.gelu, lambda torch, x: torch.nn.functional.gelu(x), 0),
    "tanh": ("activation", ops.tanh, lambda torch, x: torch.tanh(x), 0),
    "softmax": ("softmax", ops.softmax, lambda torch, x: torch.softmax(x, -1), 0),
    "layer norm": (
        "norm",
        lambda x, w, b: ops.layer_norm(x, x.shape[-1], w, b),
        lambda torch, x, w, b: torch.nn.functional.layer_norm(x, x.shape[-1:], w, b),
        2,
    ),
}


def differentiable(
    name: str,
    size: str,
    family: str,
    shapes: Sequence[tuple[int, ...]],
    own: Callable[..., Tensor],
    other: Callable[..., Any],
    bars: Bars,
    *,
    flops: float = 0.0,
    backward: float = 0.0,
    layouts: bool = False,
) -> list[Case]:
    """A function of tensors: a row forward and one with the gradients of all of them.

    Args:
        name: what it is.
        size: its shape, for people.
        family: of kernels.
        shapes: of the tensors.
        own: the function in lamina.
        other: the same in torch, whose module it takes first.
        bars: of the two rows.
        flops: of the way forward.
        backward: operations of the way back over those of the way forward.
        layouts: whether torch is also measured with channels last in memory.
    """

    def inputs() -> list[Array]:
        return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]

    def by_lamina(gradients: bool) -> Work:
        leaves = [Tensor(x, requires_grad=gradients) for x in inputs()]
        if not gradients:
            return forward(lambda: own(*leaves))
        with enable_grad():
            dy = normal(*own(*leaves).shape, seed=9)

        def call() -> None:
            for leaf in leaves:
                leaf.grad = None
            own(*leaves).backward(dy)

        return Work(call, enable_grad)

    def by_torch(gradients: bool, channels_last: bool) -> Work:
        torch = load("torch")

        def tensor(x: Array) -> Any:
            made = torch.from_numpy(x)
            if channels_last and made.ndim == 4:
                made = made.contiguous(memory_format=torch.channels_last)
            return made.requires_grad_(gradients)

        leaves = [tensor(x) for x in inputs()]
        if not gradients:
            return Work(lambda: other(torch, *leaves), torch.inference_mode)
        dy = tensor(normal(*other(torch, *leaves).shape, seed=9)).detach()

        def call() -> None:
            for leaf in leaves:
                leaf.grad = None
            other(torch, *leaves).backward(dy)

        return Work(call, torch.enable_grad)

    cases = []
    for gradients, bar in zip((False, True), bars, strict=True):
        if bar is None:
            continue
        peers: dict[str, Builder] = {"torch": partial(by_torch, gradients, False)}
        if layouts:
            peers["torch NHWC"] = partial(by_torch, gradients, True)
        case = Case(
            name=f"{name}, with gradients" if gradients else name,
            size=size,
            family=family,
            lamina=partial(by_lamina, gradients),
            peers=peers,
            flops=flops * (1 + backward) if gradients else flops,
            bar=bar,
        )
        cases.append(case)
    return cases


def recurrent(
    cell: str, length: int, batch: int, inputs: int, hidden: int, bars: Bars
) -> list[Case]:
    """A recurrent layer, ``LSTM`` or ``GRU``, over sequences; with gradients, of weights and input.

    The axis of time comes first, as is the default of torch.
    """
    gates = {"LSTM": 4, "GRU": 3}[cell]

    def by_lamina(gradients: bool) -> Work:
        rng = np.random.default_rng(0)
        make = {"LSTM": nn.LSTM, "GRU": nn.GRU}[cell]
        layer = make(inputs, hidden, batch_first=False, rng=rng)
        x = Tensor(normal(length, batch, inputs), requires_grad=gradients)
        if not gradients:
            return forward(lambda: layer(x)[0])
        dy = normal(length, batch, hidden, seed=9)

        def call() -> None:
            layer.zero_grad()
            x.grad = None
            layer(x)[0].backward(dy)

        return Work(call, enable_grad)

    def by_torch(gradients: bool) -> Work:
        torch = load("torch")
        layer = getattr(torch.nn, cell)(inputs, hidden)
        x = torch.from_numpy(normal(length, batch, inputs)).requires_grad_(gradients)
        if not gradients:
            return Work(lambda: layer(x)[0], torch.inference_mode)
        dy = torch.from_numpy(normal(length, batch, hidden, seed=9))

        def call() -> None:
            layer.zero_grad(set_to_none=True)
            x.grad = None
            layer(x)[0].backward(dy)

        return Work(call, torch.enable_grad)

    flops = 2 * length * batch * gates * hidden * (inputs + hidden)
    return [
        Case(
            name=f"{cell}, with gradients" if gradients else cell,
            size=f"T {length}, B {batch}, {inputs} -> {hidden}",
            family=cell.lower(),
            lamina=partial(by_lamina, gradients),
            peers={"torch": partial(by_torch, gradients)},
            flops=flops * (3 if gradients else 1),
            bar=bar,
        )
        for gradients, bar in zip((False, True), bars, strict=True)
        if bar is not None
    ]


def cross_entropy(rows: int, classes: int, bar: float) -> Case:
    """Loss of a large vocabulary and its gradient."""

    def inputs() -> tuple[Array, Array]:
        return normal(rows, classes), np.random.default_rng(1).integers(0, classes, rows)

    def by_lamina() -> Work:
        x, targets = inputs()

        def call() -> Any:
            logits = Tensor(x, requires_grad=True)
            ops.cross_entropy(logits, targets).backward()
            return logits.grad

        return Work(call, enable_grad)

    def by_torch() -> Work:
        torch = load("torch")
        x, targets = map(torch.from_numpy, inputs())

        def call() -> Any:
            logits = x.detach().requires_grad_()
            torch.nn.functional.cross_entropy(logits, targets).backward()
            return logits.grad

        return Work(call, torch.enable_grad)

    return Case(
        name="softmax-cross-entropy, with gradient",
        size=f"{rows} x {classes}",
        family="loss",
        lamina=by_lamina,
        peers={"torch": by_torch},
        bar=bar,
    )


def adamw(matrices: int, rows: int, columns: int, bar: float) -> Case:
    """One step of AdamW; each number is read with three others and three are written."""
    shape = (rows, columns)

    def by_lamina() -> Work:
        parameters = [nn.Parameter(normal(*shape, seed=i)) for i in range(matrices)]
        for i, parameter in enumerate(parameters):
            parameter.grad = normal(*shape, seed=matrices + i)
        return Work(optim.AdamW(parameters).step)

    def by_torch() -> Work:
        torch = load("torch")
        arrays = [torch.from_numpy(normal(*shape, seed=i)) for i in range(matrices)]
        parameters = [torch.nn.Parameter(array) for array in arrays]
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.from_numpy(normal(*shape, seed=matrices + i))
        return Work(torch.optim.AdamW(parameters, fused=True).step)

    count = matrices * rows * columns
    return Case(
        name="AdamW step",
        size=f"{count / 1e6:.1f} M parameters",
        family="optimizer",
        lamina=by_lamina,
        peers={"torch": by_torch},
        traffic=4 * _BYTES * count,
        bar=bar,
    )
