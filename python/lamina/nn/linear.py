"""Fully connected layers."""

from lamina import ops
from lamina.nn import init
from lamina.nn.module import Module, Parameter, Stage
from lamina.ops.conv import integer
from lamina.tensor import Operand, Tensor, empty


class Linear(Module):
    """``y = x W' + b``.

    Parameters:
        weight: ``[O, I]``. bias: ``[O]``. Both uniform on ``[-1/sqrt(I), 1/sqrt(I)]``.

    Args:
        in_features: I.
        out_features: O.
        bias: whether there is one.
        rng: source of the initial parameters.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: init.Rng = None
    ) -> None:
        super().__init__()
        in_features = integer("Linear", "in_features", in_features)
        out_features = integer("Linear", "out_features", out_features)
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear: sizes must be positive, got {in_features}, {out_features}")
        self.in_features, self.out_features = in_features, out_features
        bound = in_features**-0.5
        weight = Parameter(empty((out_features, in_features), init.FLOAT))
        self.weight = init.uniform_(weight, -bound, bound, rng=rng)
        if bias:
            self.bias = init.uniform_(
                Parameter(empty((out_features,), init.FLOAT)), -bound, bound, rng=rng
            )
        else:
            self.register_parameter("bias", None)

    _activates = True

    def forward(self, x: Operand, activation: str = "identity") -> Tensor:
        """Map ``[..., I]`` to ``[..., O]``, and that by an activation of :func:`ops.linear`."""
        return ops.linear(x, self.weight, self.bias, activation)

    def _make_stage(self) -> Stage:
        return "linear", self.weight, self.bias, None

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
