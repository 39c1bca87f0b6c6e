"""Schedules of the learning rate made of others: one after the other, or all at once."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from lamina.optim.optimizer import Optimizer
from lamina.optim.schedule import LRScheduler, refuse_unknown


class SequentialLR(LRScheduler):
    """One schedule after the other, each counting its own steps from 0.

    Args:
        optimizer: the one that all schedules were made for.
        schedulers: the schedules.
        milestones: the steps at which the second, third, ... takes over.
        last_epoch: steps already taken, -1 for none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: milestones: expected {max(len(schedulers) - 1, 0)} for "
                f"{len(schedulers)} schedulers, got {len(milestones)}"
            )
        for scheduler in schedulers:
            if scheduler.optimizer is not optimizer:
                raise ValueError("SequentialLR: schedulers: expected all of the same optimizer")
        self._schedulers = list(schedulers)
        self.milestones = list(milestones)
        if last_epoch == -1:
            # Each of the schedules set its own first rate when it was made.
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"]
        super().__init__(optimizer, last_epoch)

    def _set(self, t: int, restart: bool = False) -> None:
        index = bisect_right(self.milestones, t)
        own = t - self.milestones[index - 1] if index else t
        self._schedulers[index]._set(own, restart or (index > 0 and own == 0))
        self.last_epoch = t

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, with the state of each schedule."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        refuse_unknown(self, state_dict)
        _load_each(self, self._schedulers, state_dict)
        own = {key: value for key, value in state_dict.items() if key != "schedulers"}
        super().load_state_dict(own)


class ChainedScheduler:
    """Several schedules of one optimiser that are stepped together, each from the other's rate.

    Args:
        schedulers: the schedules.
        optimizer: theirs, which is also the default.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if not schedulers:
            raise ValueError("ChainedScheduler: schedulers: expected at least one, got none")
        self.optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        if any(scheduler.optimizer is not self.optimizer for scheduler in schedulers):
            raise ValueError("ChainedScheduler: schedulers: expected all of the same optimizer")
        self._schedulers = list(schedulers)

    def step(self) -> None:
        """Move each schedule on by one step."""
        for scheduler in self._schedulers:
            scheduler.step()

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The state of each schedule."""
        return {"schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        _load_each(self, self._schedulers, state_dict)


def _load_each(
    owner: object, schedulers: Sequence[LRScheduler], state_dict: dict[str, Any]
) -> None:
    states = state_dict.get("schedulers", [])
    if len(states) != len(schedulers):
        raise ValueError(
            f"{type(owner).__name__}: load_state_dict: expected {len(schedulers)} schedulers, "
            f"got {len(states)}"
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)
