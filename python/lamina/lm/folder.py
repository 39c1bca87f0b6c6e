"""Reading a language model of any family from its folder."""

import os
from pathlib import Path

from lamina import files
from lamina.lm.base import LanguageModel
from lamina.lm.neural import NeuralLM
from lamina.lm.ngram import NGram


def load(folder: str | os.PathLike[str]) -> LanguageModel:
    """The model in a folder that ``save`` of any language model wrote.

    Raises:
        FormatError: a file is broken or of an unknown class.
        FileNotFoundError: there is no such folder or a file is missing in it.
    """
    path: Path = files.find_folder(folder)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path}: is no folder of a model: it holds no config.json")
    kind = files.read_json(path / "config.json").get("class")
    return NGram.load(path) if kind == "NGram" else NeuralLM.load(path)
