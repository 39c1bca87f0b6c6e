"""Rates for each parameter. Arguments, defaults, formulas and names of the state are PyTorch's."""

from typing import Any

from lamina import _kernels
from lamina.optim.optimizer import Optimizer, Parameters
from lamina.tensor import Tensor


class RMSprop(Optimizer):
    """Gradients over the root of their mean square.

    With gradient ``g``, to which ``weight_decay * p`` is added::

        v = alpha * v + (1 - alpha) * g^2
        p -= lr * g / (sqrt(v) + eps)

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        alpha: decay of the mean square.
        eps: keeps the divisor from zero.
        weight_decay: share of the parameter added to the gradient.
        momentum: share of the last direction that is kept.
        centered: take the square of the mean from v, which leaves the variance.
        maximize: climb in place of descending.

    Reference:
        Tieleman & Hinton, lecture 6.5, 2012; Graves, Generating Sequences With RNNs, 2013.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        names = ["square_avg"]
        names += ["grad_avg"] if group["centered"] else []
        names += ["momentum_buffer"] if group["momentum"] != 0 else []
        _kernels.optimizer_rmsprop(
            *self._gather(params, tuple(names)),
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            group["alpha"],
            group["eps"],
            group["momentum"],
            group["centered"],
        )


class Adagrad(Optimizer):
    """Gradients over the root of the sum of their squares.

    With gradient ``g``, to which ``weight_decay * p`` is added, at step t::

        v += g^2            p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(v) + eps)

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        lr_decay: decay of the rate.
        weight_decay: share of the parameter added to the gradient.
        initial_accumulator_value: v before the first step.
        eps: keeps the divisor from zero.
        maximize: climb in place of descending.

    Reference:
        Duchi et al., Adaptive Subgradient Methods, 2011.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        _kernels.optimizer_adagrad(
            *self._gather(params, ("sum",), group["initial_accumulator_value"]),
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            group["lr_decay"],
            group["eps"],
        )


class Adadelta(Optimizer):
    """Steps in the unit of the parameter: gradients times a ratio of mean squares.

    With gradient ``g``, to which ``weight_decay * p`` is added::

        v = rho * v + (1 - rho) * g^2           d = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d^2           p -= lr * d

    Args:
        params: parameters or groups of them.
        lr: factor of the step.
        rho: decay of both mean squares.
        eps: keeps both from zero.
        weight_decay: share of the parameter added to the gradient.
        maximize: climb in place of descending.

    Reference:
        Zeiler, ADADELTA, 2012.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        _kernels.optimizer_adadelta(
            *self._gather(params, ("square_avg", "acc_delta")),
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            group["rho"],
            group["eps"],
        )
