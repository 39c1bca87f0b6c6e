"""Adam and its variants. Arguments, defaults, formulas and names of the state are PyTorch's."""

from typing import Any, ClassVar

from lamina import _kernels
from lamina.optim.optimizer import Optimizer, Parameters
from lamina.tensor import Tensor


class Adam(Optimizer):
    """Adam: gradients over the root of their mean square.

    With gradient ``g``, to which ``weight_decay * p`` is added, at step t::

        m = b1 * m + (1 - b1) * g           v = b2 * v + (1 - b2) * g^2
        p -= lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: b1, b2.
        eps: keeps the divisor from zero.
        weight_decay: share of the parameter added to the gradient.
        amsgrad: divide by the largest v so far.
        maximize: climb in place of descending.

    Reference:
        Kingma & Ba, Adam, 2015; Reddi et al., On the Convergence of Adam and Beyond, 2018.
    """

    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        beta1, beta2 = group["betas"]
        _kernels.optimizer_adam(
            *self._gather(params, names if group["amsgrad"] else names[:2]),
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            beta1,
            beta2,
            group["eps"],
            group["amsgrad"],
            self._decoupled,
        )


class AdamW(Adam):
    """:class:`Adam` with weight decay apart from the gradient: first ``p *= 1 - lr * decay``.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the mean and of the mean square.
        eps: keeps the divisor from zero.
        weight_decay: share of the parameter, times the rate, that each step takes away.
        amsgrad: divide by the largest mean square so far.
        maximize: climb in place of descending.

    Reference:
        Loshchilov & Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    _decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class Adamax(Optimizer):
    """:class:`Adam` with the largest decayed magnitude in place of the mean square.

    With gradient ``g``, to which ``weight_decay * p`` is added, at step t::

        m = b1 * m + (1 - b1) * g           u = max(b2 * u, |g| + eps)
        p -= lr / (1 - b1^t) * m / u

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: b1, b2.
        eps: keeps u from zero.
        weight_decay: share of the parameter added to the gradient.
        maximize: climb in place of descending.

    Reference:
        Kingma & Ba, Adam, 2015.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        _kernels.optimizer_adamax(
            *self._gather(params, ("exp_avg", "exp_inf")),
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            beta1,
            beta2,
            group["eps"],
        )


class NAdam(Optimizer):
    """:class:`Adam` with Nesterov's look ahead.

    With gradient ``g``, m and v as in Adam and the momenta
    ``mu_t = b1 * (1 - 0.96^(t * momentum_decay) / 2)``, at step t::

        p -= lr * ((1 - mu_t) / (1 - mu_1...mu_t) * g + mu_t+1 / (1 - mu_1...mu_t+1) * m)
             / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: b1, b2.
        eps: keeps the divisor from zero.
        weight_decay: share of the parameter added to the gradient.
        momentum_decay: decay of the schedule of momenta.
        decoupled_weight_decay: shrink the parameter itself, as :class:`AdamW` does.
        maximize: climb in place of descending.

    Reference:
        Dozat, Incorporating Nesterov Momentum into Adam, 2016.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        lists = self._gather(params, ("exp_avg", "exp_avg_sq"))
        states = [self.state[p] for p in params]
        products = [state.get("mu_product", 1.0) for state in states]
        beta1, beta2 = group["betas"]
        _kernels.optimizer_nadam(
            *lists,
            products,
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            beta1,
            beta2,
            group["eps"],
            group["momentum_decay"],
            group["decoupled_weight_decay"],
        )
        for state, product in zip(states, products, strict=True):
            power = (state["step"] + 1) * group["momentum_decay"]
            state["mu_product"] = product * beta1 * (1 - 0.5 * 0.96**power)


class RAdam(Optimizer):
    """:class:`Adam` that divides by the mean square only once enough of them are known.

    With gradient ``g``, to which ``weight_decay * p`` is added, m and v as in Adam and
    ``rho = 2 / (1 - b2) - 1``, ``rho_t = rho - 2 t * b2^t / (1 - b2^t)``, at step t::

        p -= lr * m / (1 - b1^t) * r * sqrt(1 - b2^t) / (sqrt(v) + eps)     where rho_t > 5
        p -= lr * m / (1 - b1^t)                                            else
        r^2 = (rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t)

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: b1, b2.
        eps: keeps the divisor from zero.
        weight_decay: share of the parameter added to the gradient.
        decoupled_weight_decay: shrink the parameter itself, as :class:`AdamW` does.
        maximize: climb in place of descending.

    Reference:
        Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        _kernels.optimizer_radam(
            *self._gather(params, ("exp_avg", "exp_avg_sq")),
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            beta1,
            beta2,
            group["eps"],
            group["decoupled_weight_decay"],
        )
