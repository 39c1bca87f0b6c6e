"""What is measured: a work of fixed size, by lamina and by the libraries beside it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina import no_grad
from lamina.tensor import Array


@dataclass(frozen=True)
class Work:
    """Something that one library does again and again.

    Attributes:
        call: does it once.
        context: entered around many calls, so that its own cost is not measured.
    """

    call: Callable[[], Any]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


Builder = Callable[[], Work]
"""Makes the inputs of a work, which the libraries do not share, and the work."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A work of fixed size, what else can do it, and how fast lamina must be.

    Attributes:
        name: what it is.
        size: its shape, for people.
        family: of kernels, or of jobs, that it stands for.
        lamina: builds the work in lamina.
        peers: builds the same work in others, by name; the first word is the library.
        flops: arithmetic operations, or zero where they say nothing.
        traffic: bytes that must be read from memory, or zero where they say nothing.
        bar: least ratio of the peer's time over lamina's.
        least_share: least share of the machine's peak.
        most_seconds: longest time.
        against: the peer that counts; by default the fastest.
        is_step: whether it is a training step, whose memory counts too.
    """

    name: str
    size: str
    family: str
    lamina: Builder
    peers: Mapping[str, Builder] = field(default_factory=dict)
    flops: float = 0.0
    traffic: float = 0.0
    bar: float | None = None
    least_share: float | None = None
    most_seconds: float | None = None
    against: str | None = None
    is_step: bool = False

    @property
    def title(self) -> str:
        """Name and size."""
        return f"{self.name} {self.size}"


def normal(*shape: int, seed: int = 0) -> Array:
    """Normal numbers in single precision, the same for every library."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def forward(call: Callable[[], Any]) -> Work:
    """A work of lamina's that records no gradients."""
    return Work(call, no_grad)
