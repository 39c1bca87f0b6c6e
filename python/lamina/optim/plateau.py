"""A schedule of the learning rate that follows a measure."""

import math
from collections.abc import Sequence
from typing import Any

from lamina.optim.optimizer import Optimizer
from lamina.optim.schedule import refuse_unknown


class ReduceLROnPlateau:
    """Rates that fall when a measure has stopped to improve.

    Args:
        optimizer: whose rate is set.
        mode: ``"min"`` where smaller measures are better, ``"max"`` where larger are.
        factor: what the rate is multiplied with, below 1.
        patience: steps without improvement that change nothing.
        threshold: what counts as improvement.
        threshold_mode: ``"rel"``: a share of the best measure; ``"abs"``: a difference.
        cooldown: steps after a change that count for nothing.
        min_lr: the least rate, or one for each group.
        eps: smaller changes of a rate are not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor: expected 0 to below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode: expected 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: threshold_mode: expected 'rel' or 'abs', "
                f"got {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else min_lr
        self._lows()
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0

    def step(self, metrics: float) -> None:
        """Take in one measure, and lower the rates where it is time."""
        measure = float(metrics)
        lows = self._lows()
        self.last_epoch += 1
        if self._is_better(measure):
            self.best = measure
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, low in zip(self.optimizer.param_groups, lows, strict=True):
                rate = max(group["lr"] * self.factor, low)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _lows(self) -> list[float]:
        groups = len(self.optimizer.param_groups)
        lows = self.min_lrs if isinstance(self.min_lrs, list) else [self.min_lrs] * groups
        if len(lows) != groups:
            raise ValueError(f"ReduceLROnPlateau: min_lr: expected {groups} rates, got {len(lows)}")
        return lows

    def _is_better(self, measure: float) -> bool:
        relative = self.threshold_mode == "rel"
        if self.mode == "min":
            best = self.best * (1 - self.threshold) if relative else self.best - self.threshold
            return measure < best
        best = self.best * (1 + self.threshold) if relative else self.best + self.threshold
        return measure > best

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        refuse_unknown(self, state_dict)
        self.__dict__.update(state_dict)
