"""Smoothing of n-gram models by name: which there are, their options, and how both are written."""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

METHODS: dict[str, tuple[str, ...]] = {
    "mle": (),
    "laplace": (),
    "lidstone": ("gamma",),
    "good_turing": (),
    "katz": ("largest",),
    "witten_bell": ("interpolate",),
    "absolute": ("discount", "interpolate"),
    "jelinek_mercer": ("weights", "bucketed"),
    "kneser_ney": ("discount", "interpolate"),
    "modified_kneser_ney": ("interpolate",),
    "stupid_backoff": ("alpha",),
}
"""The options of each method."""

_DEFAULTS: dict[str, Any] = {
    "gamma": 1.0,
    "largest": 5,
    "interpolate": True,
    "discount": None,
    "weights": None,
    "bucketed": False,
    "alpha": 0.4,
}
_NUMBERS = ("gamma", "largest", "discount", "alpha")


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """A method and what it is told.

    Attributes:
        name: one of :data:`METHODS`.
        options: all options that the method has.
        interpolate_unigrams: see :class:`~lamina.lm.NGram`, as the next two.
        discount_unigrams: whether words never seen have a probability.
        discount_fallback: discounts where the counts define none.
    """

    name: str
    options: dict[str, Any]
    interpolate_unigrams: bool = True
    discount_unigrams: bool = True
    discount_fallback: tuple[float, ...] | None = (0.5, 1.0, 1.5)

    @property
    def fits_weights(self) -> bool:
        """Whether it needs held-out text."""
        return self.name == "jelinek_mercer" and self.options["weights"] is None

    def kernel(self, *, precise: bool) -> dict[str, Any]:
        """What the estimating kernels are given."""
        numbers = [value for option, value in self.options.items() if option in _NUMBERS]
        return {
            "smoothing": self.name,
            "interpolate": self.options.get("interpolate", True),
            "number": numbers[0] if numbers else None,
            "weights": self.options.get("weights"),
            "bucketed": self.options.get("bucketed", False),
            "interpolate_unigrams": self.interpolate_unigrams,
            "discount_unigrams": self.discount_unigrams,
            "discount_fallback": self.discount_fallback,
            "precise": precise,
        }

    def warn_undefined(self, undefined: Sequence[str], *, stacklevel: int) -> None:
        """Say which discounts are the fallback's."""
        if not undefined:
            return
        fallback = self.discount_fallback
        if self.name != "modified_kneser_ney" and fallback is not None:
            fallback = (min(fallback[0], 0.5),)
        warnings.warn(
            f"NGram: the counts do not define the discounts of {', '.join(undefined)}; "
            f"{fallback} are used there; more text or a lower order avoids this",
            UserWarning,
            stacklevel=stacklevel,
        )

    def config(self) -> dict[str, Any]:
        """What a file of JSON keeps."""
        return {
            "smoothing": self.name,
            "smoothing_options": self.options,
            "interpolate_unigrams": self.interpolate_unigrams,
            "discount_unigrams": self.discount_unigrams,
            "discount_fallback": self.discount_fallback,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """What :meth:`config` was of; folders of earlier versions lack all but one.

        Raises:
            ValueError: something is out of range. TypeError: something is of another type.
        """
        name = config.get("smoothing", "modified_kneser_ney")
        options = config.get("smoothing_options", {})
        flags = config.get("interpolate_unigrams"), config.get("discount_unigrams", True)
        fallback = config.get("discount_fallback", cls.discount_fallback)
        if not isinstance(name, str) or not isinstance(options, dict):
            raise TypeError("smoothing: expected a name and options")
        if not all(isinstance(flag, bool) for flag in flags):
            raise TypeError("smoothing: expected true or false")
        return cls(
            name=name,
            options=check_options(name, options),
            interpolate_unigrams=bool(flags[0]),
            discount_unigrams=bool(flags[1]),
            discount_fallback=None if fallback is None else check_fallback(fallback),
        )


def parse_smoothing(text: str) -> dict[str, Any]:
    """Keyword arguments of :class:`~lamina.lm.NGram` for a method as a command line names it.

    ``NAME[=NUMBER][:backoff|:interpolate|:bucketed]``, as in ``katz``, ``katz=7``,
    ``lidstone=0.1``, ``absolute=0.75:backoff``, ``kneser_ney:backoff``,
    ``jelinek_mercer:bucketed`` or ``stupid-backoff=0.3``. Hyphens count as underscores.

    Raises:
        ValueError: no such method, or an option or number that it does not take.
    """
    name, *words = text.strip().lower().split(":")
    name, equals, number = name.partition("=")
    options: dict[str, Any] = {"smoothing": _known(name.replace("-", "_"), text)}
    taken = METHODS[options["smoothing"]]
    if equals:
        takes = [option for option in taken if option in _NUMBERS]
        if not takes:
            raise ValueError(f"smoothing: {text!r}: {options['smoothing']} takes no number")
        options[takes[0]] = _number(number, text)
    for word in words:
        option = {"backoff": "interpolate", "interpolate": "interpolate", "bucketed": "bucketed"}
        if option.get(word) not in taken:
            known = {"interpolate": "backoff or interpolate", "bucketed": "bucketed"}
            expected = " or ".join(known[o] for o in taken if o in known) or "nothing"
            raise ValueError(
                f"smoothing: {text!r}: expected {expected} after the colon, got {word!r}"
            )
        options[option[word]] = word != "backoff"
    check_options(options["smoothing"], {k: v for k, v in options.items() if k != "smoothing"})
    return options


def check_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All options of method ``name``: those given, and the defaults of the others.

    Args:
        name: the method.
        given: options of any method; ``None`` stands for the default.

    Raises:
        ValueError: the method lacks an option, or a number is out of range.
        TypeError: an option is of another type.
    """
    name = _known(name, name)
    for option, value in given.items():
        if value is not None and option not in METHODS[name]:
            owners = " and ".join(method for method in METHODS if option in METHODS[method])
            raise ValueError(f"NGram: {option}: is an option of {owners}, not of {name}")
    options = {}
    for option in METHODS[name]:
        value = given.get(option)
        options[option] = _DEFAULTS[option] if value is None else _checked(option, value)
    return options


def check_fallback(given: bool | Sequence[float]) -> tuple[float, ...] | None:
    """The three discounts in place of undefined ones.

    Raises:
        ValueError: they are others than three numbers in range.
    """
    if isinstance(given, bool):
        return Smoothing.discount_fallback if given else None
    discounts = tuple(float(discount) for discount in given)
    if len(discounts) != 3 or any(
        not 0 < discount <= most for most, discount in enumerate(discounts, 1)
    ):
        raise ValueError(
            "NGram: discount_fallback: expected three numbers above 0 and at most 1, 2 and 3, "
            f"got {discounts}"
        )
    return discounts


def _known(name: str, given: str) -> str:
    if name in METHODS:
        return name
    near = difflib.get_close_matches(name, METHODS, 1)
    raise ValueError(
        f"smoothing: unknown method {given!r}{f', did you mean {near[0]}?' if near else ':'} "
        f"expected {', '.join(METHODS)}"
    )


def _number(text: str, given: str) -> float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ValueError(f"smoothing: {given!r}: expected a number after =, got {text!r}") from None


def _checked(option: str, value: Any) -> Any:
    if option in ("interpolate", "bucketed"):
        if not isinstance(value, bool):
            raise TypeError(f"NGram: {option}: expected bool, got {type(value).__name__}")
        return value
    if option == "weights":
        return _weights(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"NGram: {option}: expected a number, got {type(value).__name__}")
    if option == "largest":
        if not 2 <= value <= 1000 or value != int(value):
            raise ValueError(f"NGram: largest: expected an integer from 2 to 1000, got {value}")
        return int(value)
    most = 1e6 if option == "gamma" else 1.0
    if not 0 < value <= most:
        raise ValueError(f"NGram: {option}: expected above 0 and at most {most:g}, got {value:g}")
    return float(value)


def _weights(value: Sequence[float]) -> list[float]:
    weights = [float(weight) for weight in value]
    if not weights or any(not 0 <= weight <= 1 for weight in weights):
        raise ValueError(f"NGram: weights: expected one from 0 to 1 for each order, got {weights}")
    return weights
