"""Works of few numbers, where what surrounds the arithmetic counts: predictions, single ops."""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from lamina import _kernels, nn, ops
from lamina.bench import libraries, networks, steps, torch_networks
from lamina.bench.case import Builder, Case, Work, forward, normal
from lamina.bench.libraries import load
from lamina.tensor import Array, Tensor

_OPSET = 17
_BUSY = "import sys\nprint(flush=True)\nwhile True: pass"


def prediction(
    name: str,
    size: str,
    network: Callable[[], nn.Module],
    torch_network: Callable[[Any], Any],
    inputs: Callable[[], Array],
    bar: float,
) -> Case:
    """The answer to one input, from array to array, with random weights."""

    def by_lamina() -> Work:
        model, x = network().eval(), inputs()
        return forward(lambda: model(x).data)

    def by_torch() -> Work:
        torch = load("torch")
        model, x = torch_network(torch).eval(), inputs()
        return Work(lambda: model(torch.from_numpy(x)).numpy(), torch.inference_mode)

    def by_onnxruntime(threads: int) -> Work:
        torch, onnxruntime = load("torch"), load("onnxruntime")
        x = inputs()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        data = _exported(torch, torch_network(torch).eval(), x)
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        return Work(lambda: session.run(None, {"x": x})[0])

    return Case(
        name=f"{name} prediction",
        size=size,
        family="latency",
        lamina=by_lamina,
        peers={
            "onnxruntime 1": partial(by_onnxruntime, 1),
            "onnxruntime 2": partial(by_onnxruntime, 2),
            "torch": by_torch,
        },
        bar=bar,
    )


def _exported(torch: Any, network: Any, x: Array) -> bytes:
    """The network as an ONNX file."""
    load("onnx")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "network.onnx")
        torch.onnx.export(
            network,
            (torch.from_numpy(x),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            opset_version=_OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def mlp(bar: float) -> Case:
    """One image through the small network of linear layers."""
    return prediction(
        "MLP",
        "784-128-10, batch 1",
        networks.mlp,
        torch_networks.mlp,
        lambda: normal(1, 784),
        bar,
    )


def lenet5(bar: float) -> Case:
    """One digit through LeNet-5."""
    return prediction(
        "LeNet-5",
        "1 x 28 x 28, batch 1",
        networks.lenet5,
        torch_networks.lenet5,
        lambda: normal(1, 1, 28, 28),
        bar,
    )


def encoder(bar: float, length: int = 16, **sizes: int) -> Case:
    """One sentence through an encoder of MiniLM's size."""
    ids = np.random.default_rng(0).integers(0, sizes.get("vocab", 30_522), (1, length))
    return prediction(
        "encoder 6 x 384",
        f"one sentence of {length} tokens",
        partial(networks.Encoder, **sizes),
        lambda torch: torch_networks.encoder(torch, **sizes),
        lambda: ids,
        bar,
    )


def relu(count: int, most_seconds: float) -> Case:
    """One small op: nearly all of it is the way from Python to the kernel and back."""

    def by_lamina() -> Work:
        x = Tensor(normal(count))
        return forward(lambda: ops.relu(x))

    def by_numpy() -> Work:
        x = normal(count)
        return Work(lambda: np.maximum(x, 0))

    def by_torch() -> Work:
        torch = load("torch")
        x = torch.from_numpy(normal(count))
        return Work(lambda: torch.relu(x), torch.inference_mode)

    return Case(
        name="ops.relu from Python",
        size=f"{count} values",
        family="overhead",
        lamina=by_lamina,
        peers={"numpy": by_numpy, "torch": by_torch},
        most_seconds=most_seconds,
    )


def regions(count: int, most_seconds: float) -> Case:
    """Parallel regions without work, one after the other: what sharing a kernel out costs.

    Args:
        count: how many.
        most_seconds: longest time of one.
    """
    return Case(
        name="parallel regions",
        size=f"{count:,} without work, hot pool",
        family="overhead",
        lamina=lambda: Work(lambda: _kernels.empty_regions(count)),
        most_seconds=count * most_seconds,
    )


def taken_core(recipe: steps.Recipe, size: str, bar: float) -> Case:
    """A training step while another process keeps a core busy, against one thread undisturbed.

    A step whose threads wait for each other may become slower than one thread would be.
    """

    def build(make: Callable[[steps.Recipe], Work], surroundings: Any) -> Builder:
        def built() -> Work:
            work = make(recipe)

            @contextmanager
            def context() -> Iterator[None]:
                with ExitStack() as stack:
                    stack.enter_context(surroundings())
                    stack.enter_context(work.context())
                    yield

            return Work(work.call, context)

        return built

    return Case(
        name="nanoGPT step, one core taken",
        size=size,
        family="contention",
        lamina=build(steps.by_lamina, busy_core),
        peers={
            "lamina, one thread": build(steps.by_lamina, one_thread),
            "torch": build(steps.by_torch, busy_core),
            "torch, one thread": build(steps.by_torch, one_thread),
        },
        bar=bar,
        against="lamina, one thread",
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """All libraries on one thread."""
    before = lamina.num_threads()
    libraries.set_threads(1)
    try:
        yield
    finally:
        libraries.set_threads(before)


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests, on the last processor where it can be bound to it."""
    command = [sys.executable, "-S", "-c", _BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - constant
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            process.stdout.readline()
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
            yield
        finally:
            process.kill()
