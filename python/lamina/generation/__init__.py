"""Decoding from any next-token function: greedy, sampling with filters, streaming."""

from lamina.generation.decode import Incremental, NextScores, Options, Step, generate, stream
from lamina.generation.sampling import (
    Sampler,
    apply_min_p,
    apply_repetition_penalty,
    apply_temperature,
    apply_top_k,
    apply_top_p,
    greedy,
    sample,
)

__all__ = [
    "Incremental",
    "NextScores",
    "Options",
    "Sampler",
    "Step",
    "apply_min_p",
    "apply_repetition_penalty",
    "apply_temperature",
    "apply_top_k",
    "apply_top_p",
    "generate",
    "greedy",
    "sample",
    "stream",
]
