"""Callbacks that keep a record, set the learning rate, or average the weights."""

import csv
import io
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lamina import files, optim
from lamina.tensor import Array
from lamina.train.callbacks import Callback, Logs, Monitor


class CSVLogger(Callback):
    """Write the history to a file after each epoch: a row for each, a column for each value.

    Args:
        filename: replaced whole each time.
        separator: between the columns.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",") -> None:
        self.filename = os.fspath(filename)
        self.separator = separator

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the file anew."""
        del epoch, logs
        history = self.run.history
        text = io.StringIO()
        rows = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        rows.writerow(["epoch", *history.history])
        rows.writerows(zip(history.epoch, *history.history.values(), strict=True))
        files.write_file(self.filename, text.getvalue())


class LearningRateScheduler(Callback):
    """Set the rate of each epoch.

    Args:
        schedule: from the number of the epoch, from 0, and the rate before to the new one.
    """

    def __init__(self, schedule: Callable[[int, float], float]) -> None:
        self.schedule = schedule

    def on_train_begin(self) -> None:
        """Set the first rate."""
        self._set(0)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Set the next rate."""
        del logs
        self._set(epoch + 1)

    def _set(self, epoch: int) -> None:
        for group in self.run.optimizer.param_groups:
            rate = float(self.schedule(epoch, float(group["lr"])))
            if not 0 <= rate < np.inf:
                raise ValueError(
                    f"LearningRateScheduler: schedule: expected a number of at least 0, got {rate}"
                )
            group["lr"] = rate


class ReduceLROnPlateau(Monitor):
    """Multiply the rate when a value of the history gets no better.

    Args:
        monitor: name of the value.
        factor: below 1.
        patience: epochs without a gain after which the rate falls; 0 is as 1.
        mode: ``min`` or ``max`` is better; ``auto`` knows the names of common losses and scores.
        min_delta: by how much it must get better to count.
        cooldown: epochs after a change that count for nothing.
        min_lr: the least rate.
    """

    _schedule: optim.ReduceLROnPlateau

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor: expected 0 to below 1, got {factor}")
        self.factor = factor
        self.patience = patience
        self.cooldown = cooldown
        self.min_lr = min_lr

    def on_train_begin(self) -> None:
        """Forget an earlier training."""
        self._schedule = optim.ReduceLROnPlateau(
            self.run.optimizer,  # type: ignore[arg-type]
            self.mode,
            self.factor,
            # PyTorch counts the epochs that change nothing, Keras the one that does too.
            max(self.patience - 1, 0),
            self.min_delta,
            "abs",
            self.cooldown,
            self.min_lr,
        )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and lower the rate after enough epochs without a gain."""
        del epoch
        self._schedule.step(self.value(logs))

    def state_dict(self) -> dict[str, Any]:
        """The best value and the epochs since."""
        return self._schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self._schedule.load_state_dict(dict(state))


class EMA(Callback):
    """Keep the exponential moving average of the parameters, which the model ends with.

    After each step, for every parameter p, ``average = decay * average + (1 - decay) * p``.

    Args:
        decay: share of the average that a step keeps.
        swap: whether the model ends with the average; else ``weights`` has it.
    """

    def __init__(self, decay: float = 0.999, swap: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay: expected 0 to below 1, got {decay}")
        self.decay = decay
        self.swap = swap
        self.weights: dict[str, Array] = {}

    def on_train_begin(self) -> None:
        """Start from the parameters as they are."""
        named = self.run.model.named_parameters()
        self.weights = {name: parameter.data.copy() for name, parameter in named}

    def on_train_batch_end(self, step: int, logs: Logs) -> None:
        """Take in the parameters."""
        del step, logs
        for name, parameter in self.run.model.named_parameters():
            average = self.weights[name]
            average += (1 - self.decay) * (parameter.data - average)

    def on_train_end(self) -> None:
        """Put the average into the model."""
        if self.swap:
            for name, parameter in self.run.model.named_parameters():
                parameter.data[...] = self.weights[name]

    def state_dict(self) -> dict[str, Any]:
        """The average."""
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.weights = dict(state["weights"])
