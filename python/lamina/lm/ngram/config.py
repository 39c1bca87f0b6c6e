"""The file that says how a saved n-gram model was asked for."""

from pathlib import Path
from typing import Any

from lamina import files
from lamina.lm.ngram.smoothing import Smoothing


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of an n-gram model, checked.

    Raises:
        FormatError: it is that of something else, or broken.
    """
    config = files.read_json(path)
    if config.get("class") != "NGram":
        raise files.FormatError(path, "expected the configuration of an NGram")
    size = config.get("vocab_size")
    lists = [config.get("discounts"), config.get("weights", [])]
    if (
        not isinstance(config.get("tokenizer"), bool)
        or not (size is None or isinstance(size, int))
        or not isinstance(config.get("inferred", False), bool)
        or not all(isinstance(orders, list) for orders in lists)
        or not all(isinstance(order, list) for orders in lists for order in orders)
    ):
        raise files.FormatError(path, "expected the configuration of an NGram")
    try:
        Smoothing.from_config(config)
    except (TypeError, ValueError) as error:
        raise files.FormatError(path, "expected the configuration of an NGram") from error
    return config
