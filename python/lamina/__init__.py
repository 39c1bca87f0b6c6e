"""Deep learning and language models on an ordinary CPU, from the same Rust kernels.

Sub-packages load when they are first used.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# The command line minds Ctrl-C before anything that takes time; the library never loads that.
if os.path.basename(sys.argv[0] if sys.argv else "") in ("-m", "lamina", "lamina.exe"):
    from lamina import startup  # noqa: F401

from lamina._kernels import isa, num_threads, set_num_threads
from lamina.creation import (
    arange,
    full,
    ones,
    ones_like,
    rand,
    randn,
    tensor,
    tril,
    triu,
    zeros,
    zeros_like,
)
from lamina.precision import set_precision
from lamina.profiler import profile
from lamina.random import manual_seed
from lamina.tape import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from lamina.tensor import Tensor, as_tensor

if TYPE_CHECKING:
    from lamina import (
        bench,
        compare,
        data,
        generation,
        information,
        lm,
        models,
        nn,
        ops,
        optim,
        tagging,
        testing,
        text,
        train,
    )

__version__ = "0.1.0"

_SUBPACKAGES = frozenset(
    {
        "bench",
        "compare",
        "data",
        "generation",
        "information",
        "lm",
        "models",
        "nn",
        "ops",
        "optim",
        "tagging",
        "testing",
        "text",
        "train",
    }
)

__all__ = [
    "Tensor",
    "arange",
    "as_tensor",
    "bench",
    "compare",
    "data",
    "enable_grad",
    "full",
    "generation",
    "information",
    "is_grad_enabled",
    "isa",
    "lm",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "num_threads",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "profile",
    "rand",
    "randn",
    "set_grad_enabled",
    "set_num_threads",
    "set_precision",
    "tagging",
    "tensor",
    "testing",
    "text",
    "train",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"lamina.{name}")
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES})
