"""Gradient descent. Arguments, defaults, formulas and the names of the state are PyTorch's."""

from typing import Any, ClassVar

import numpy as np

from lamina import _kernels
from lamina.optim.optimizer import Optimizer, Parameters
from lamina.tensor import Array, Tensor


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

    _counts: ClassVar[bool] = False

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

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        buffers: list[Array] = []
        steps = [2] * len(params)
        if group["momentum"] != 0:
            for i, p in enumerate(params):
                # PyTorch keeps no step here, so a missing buffer is what tells the first one.
                buffer = self.state.get(p, {}).get("momentum_buffer")
                if buffer is None:
                    buffer, steps[i] = np.zeros(p.data.shape, p.data.dtype), 1
                buffers.append(buffer)
        _kernels.optimizer_sgd(
            [p.data for p in params],
            [p.grad for p in params if p.grad is not None],
            buffers,
            steps,
            group["lr"],
            group["weight_decay"],
            group["maximize"],
            group["momentum"],
            group["dampening"],
            group["nesterov"],
        )
        for p, buffer in zip(params, buffers, strict=False):
            self.state.setdefault(p, {})["momentum_buffer"] = buffer
