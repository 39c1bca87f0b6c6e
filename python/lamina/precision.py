"""Fast or exact sums, where a kernel has both."""

from lamina import _kernels


def set_precision(precision: str) -> None:
    """Choose how kernels that have a faster, slightly less exact form compute.

    Args:
        precision: ``"fast"``, the default, lets 3x3 convolutions use Winograd's transform, whose
            errors are a few times larger; ``"exact"`` sums products as they are defined.

    Raises:
        ValueError: it is neither.
    """
    if precision not in ("fast", "exact"):
        raise ValueError(f"set_precision: expected 'fast' or 'exact', got {precision!r}")
    _kernels.set_exact(precision == "exact")
