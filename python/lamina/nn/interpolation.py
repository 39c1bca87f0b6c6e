"""Layers that change the resolution."""

from lamina import ops
from lamina.nn.module import Module
from lamina.ops.conv import Sizes
from lamina.ops.interpolation import Scales
from lamina.tensor import Operand, Tensor


class Upsample(Module):
    """Signals or images of another resolution, as :func:`lamina.ops.interpolate` makes them.

    Args:
        size: lengths of the output.
        scale_factor: in place of ``size``, what multiplies the lengths.
        mode: ``"nearest"``, ``"linear"`` or ``"bilinear"``.
        align_corners: whether the first and the last numbers keep their places; not for nearest.
    """

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Scales | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: expected size or scale_factor, not both")
        if mode not in ("nearest", "linear", "bilinear"):
            raise ValueError(
                f"Upsample: mode: expected 'nearest', 'linear' or 'bilinear', got {mode!r}"
            )
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Operand) -> Tensor:
        """Map ``[N, C, ...]`` to ``[N, C, ...]`` of the new lengths."""
        return ops.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """The lengths or the factor, and the mode."""
        given = (
            f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        )
        return f"{given}, mode={self.mode!r}"
