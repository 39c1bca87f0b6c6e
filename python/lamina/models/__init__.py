"""Whole models, one file each."""

import os
from typing import Any

from lamina import nn
from lamina.models.gpt import GPT, GPTConfig
from lamina.models.recurrent import RecurrentConfig, RecurrentLM

# The names that `config.json` of a model folder may have.
CLASSES: nn.pretrained.Classes = {
    "GPT": (GPT, GPTConfig),
    "RecurrentLM": (RecurrentLM, RecurrentConfig),
}


def from_pretrained(folder: str | os.PathLike[str]) -> Any:
    """The model in a folder that ``save_pretrained`` of any of :data:`CLASSES` wrote.

    It is in the mode of evaluation. Errors are those of :func:`lamina.nn.from_pretrained`.
    """
    return nn.from_pretrained(folder, CLASSES)


__all__ = ["CLASSES", "GPT", "GPTConfig", "RecurrentConfig", "RecurrentLM", "from_pretrained"]
