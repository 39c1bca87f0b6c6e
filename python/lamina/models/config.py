"""Checks of the sizes and options of a model, before any memory is allocated for it."""

import math
from collections.abc import Collection
from typing import Any

_LARGEST = 2**31 - 1


def check_sizes(config: Any, *names: str) -> None:
    """Raise unless the named fields of ``config`` are integers from 1 to 2^31 - 1."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{_name(config, name)}: expected an integer, got {value!r}")
        if not 1 <= value <= _LARGEST:
            raise ValueError(
                f"{_name(config, name)}: expected an integer from 1 to {_LARGEST}, got {value}"
            )


def check_flags(config: Any, *names: str) -> None:
    """Raise unless the named fields are booleans."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, bool):
            raise TypeError(f"{_name(config, name)}: expected True or False, got {value!r}")


def check_dropout(config: Any, *names: str) -> None:
    """Raise unless the named fields are numbers in ``[0, 1)``."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{_name(config, name)}: expected a number, got {value!r}")
        if math.isnan(value) or not 0 <= value < 1:
            raise ValueError(f"{_name(config, name)}: expected a number in [0, 1), got {value}")


def check_choice(config: Any, name: str, choices: Collection[str]) -> None:
    """Raise unless the named field is one of ``choices``."""
    value = getattr(config, name)
    if value not in choices:
        known = ", ".join(choices)
        raise ValueError(f"{_name(config, name)}: expected one of {known}, got {value!r}")


def _name(config: Any, field: str) -> str:
    return f"{type(config).__name__}: {field}"
