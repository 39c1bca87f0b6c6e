"""Reading a language model of any family from its folder."""

import os
from pathlib import Path

from lamina import files
from lamina.lm.base import LanguageModel, Tokenizer
from lamina.lm.hmm import HMM
from lamina.lm.mixture import Mixture
from lamina.lm.neural import NeuralLM
from lamina.lm.ngram import NGram


def load(folder: str | os.PathLike[str], *, tokenizer: Tokenizer | None = None) -> LanguageModel:
    """The model in a folder that ``save`` of any language model wrote.

    Args:
        folder: the folder.
        tokenizer: that of the model, where it is not in the folder as ``tokenizer.json``.

    Raises:
        FormatError: a file is broken or of an unknown class.
        FileNotFoundError: there is no such folder or a file is missing in it.
    """
    path: Path = files.find_folder(folder)
    config = path / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{path}: holds no config.json, expected the folder of a model")
    name = files.read_json(config).get("class")
    if name == "HMM":
        return HMM.load(path, tokenizer=tokenizer)
    if name == "Mixture":
        return Mixture.read(path, load, tokenizer=tokenizer)
    family = NGram if name == "NGram" else NeuralLM
    return family.load(path, tokenizer=tokenizer)
