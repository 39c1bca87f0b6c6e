"""Gradient descent. Arguments, defaults, formulas and the names of the state are PyTorch's."""

from typing import Any

import numpy as np

from lamina import _kernels
from lamina.optim.optimizer import Optimizer, Parameters
from lamina.tensor import Array


class SGD(Optimizer):
    """Gradient descent.

    With gradient ``g``, to which ``weight_decay * p`` is added::

        b = momentum * b + (1 - dampening) * g        (b = g at first)
        p -= lr * b     or, with nesterov,     p -= lr * (g + momentum * b)

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum: share of the last direction that is kept.
        dampening: share of the gradient that momentum leaves out.
        weight_decay: share of the parameter added to the gradient.
        nesterov: look ahead by the momentum.
        maximize: climb in place of descending.

    Reference:
        Sutskever et al., On the importance of initialization and momentum, 2013.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: nesterov: expected a momentum and no dampening with it")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any]) -> None:
        params: list[Array] = []
        grads: list[Array] = []
        buffers: list[Array] = []
        steps: list[int] = []
        for p in group["params"]:
            if p.grad is None:
                continue
            params.append(p.data)
            grads.append(p.grad)
            steps.append(2)
            if group["momentum"] != 0:
                state = self.state.setdefault(p, {})
                # PyTorch keeps no step here, so a missing buffer is what tells the first one.
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = np.zeros(p.data.shape, p.data.dtype)
                    steps[-1] = 1
                buffers.append(state["momentum_buffer"])
        _kernels.optimizer_sgd(
            params,
            grads,
            buffers,
            steps,
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            group["momentum"],
            group["dampening"],
            group["nesterov"],
        )
