"""What may happen while a model is trained."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.nn import Module, Pretrained, save_weights
from lamina.tensor import Array

if TYPE_CHECKING:
    from lamina.train.loop import Run

Logs = Mapping[str, float]


class Callback:
    """Base of callbacks; every method does nothing.

    An epoch is a pass over the loader, or ``eval_every`` steps where :func:`fit` was given that.
    ``self.run`` has the model, the optimiser, the number of steps done, and ``stop(reason)``.
    """

    run: "Run"

    def on_train_begin(self) -> None:
        """Before the first step."""

    def on_train_batch_begin(self, step: int) -> None:
        """Before step number ``step``, from 0."""

    def on_loss(self, step: int, logs: Logs) -> None:
        """After the loss of a step, in ``logs``, before its gradients."""

    def on_gradients(self, step: int, logs: Logs) -> None:
        """After the gradients of a step, before parameters change; with ``grad_norm`` if known."""

    def on_train_batch_end(self, step: int, logs: Logs) -> None:
        """After a step; ``logs`` has its loss."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation; ``logs`` is the new row of the history."""

    def on_train_end(self) -> None:
        """After the last step, also after Ctrl-C, not after an error."""


class LambdaCallback(Callback):
    """Functions as a callback, each called with the arguments of the method it stands for."""

    def __init__(
        self,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_batch_end: Callable[[int, Logs], Any] | None = None,
        on_train_begin: Callable[[], Any] | None = None,
        on_train_end: Callable[[], Any] | None = None,
    ) -> None:
        self._on_epoch_end = on_epoch_end
        self._on_train_batch_end = on_train_batch_end
        self._on_train_begin = on_train_begin
        self._on_train_end = on_train_end

    def on_train_begin(self) -> None:
        """Call the function given."""
        if self._on_train_begin is not None:
            self._on_train_begin()

    def on_train_batch_end(self, step: int, logs: Logs) -> None:
        """Call the function given."""
        if self._on_train_batch_end is not None:
            self._on_train_batch_end(step, logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Call the function given."""
        if self._on_epoch_end is not None:
            self._on_epoch_end(epoch, logs)

    def on_train_end(self) -> None:
        """Call the function given."""
        if self._on_train_end is not None:
            self._on_train_end()


class _Monitor(Callback):
    """Notes whether a value of the history got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        name = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{name}: mode: expected auto, min or max, got {mode!r}")
        if min_delta < 0:
            raise ValueError(f"{name}: min_delta: expected at least 0, got {min_delta}")
        if mode == "auto":
            mode = "min" if "loss" in monitor or "perplexity" in monitor else "max"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = min_delta
        self.best = np.inf if mode == "min" else -np.inf

    def improved(self, logs: Logs) -> bool:
        """Whether the value is the best so far, which is then kept."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: monitor: {self.monitor!r} is not recorded, "
                f"expected one of {', '.join(logs)}"
            )
        value = logs[self.monitor]
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best = value
            return True
        return False


class EarlyStopping(_Monitor):
    """Stop when a value of the history gets no better.

    Args:
        monitor: name of the value.
        min_delta: by how much it must get better to count.
        patience: epochs without it after which training stops; 0 is as 1.
        mode: ``min`` or ``max`` is better; ``auto`` takes ``min`` for losses.
        restore_best_weights: whether the model ends with the weights of the best epoch.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        restore_best_weights: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if patience < 0:
            raise ValueError(f"EarlyStopping: patience: expected at least 0, got {patience}")
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.best_epoch: int | None = None
        self._start = self.best
        self._best_weights: dict[str, Array] | None = None

    def on_train_begin(self) -> None:
        """Forget an earlier training."""
        self.best, self.best_epoch, self._best_weights = self._start, None, None
        self._waited = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and stop after enough epochs without a gain."""
        if self.improved(logs):
            self.best_epoch = epoch
            self._waited = 0
            if self.restore_best_weights:
                state = self.run.model.state_dict()
                self._best_weights = {name: array.copy() for name, array in state.items()}
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.run.stop(f"{self.monitor} did not get better than {self.best:.6g}")

    def on_train_end(self) -> None:
        """Put the best weights back."""
        if self._best_weights is not None:
            self.run.model.load_state_dict(self._best_weights)


class ModelCheckpoint(_Monitor):
    """Write the model to a folder after each epoch, whole or not at all.

    Models with ``save_pretrained`` are written by it, any other module by
    :func:`lamina.nn.save_weights`.

    Args:
        folder: ``{epoch}`` and ``{step}`` in it are replaced, giving a folder each time.
        monitor: name of the value that says which is best.
        save_best_only: whether to write only when it got better.
        mode: ``min`` or ``max`` is better; ``auto`` takes ``min`` for losses.
        save_every: steps between two further writes within an epoch; none where ``None``.
        save_options: passed on to ``save_pretrained``, for example a tokenizer.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        save_every: int | None = None,
        **save_options: Any,
    ) -> None:
        super().__init__(monitor, mode)
        if save_every is not None and save_every < 1:
            raise ValueError(f"ModelCheckpoint: save_every: expected at least 1, got {save_every}")
        self.folder = os.fspath(folder)
        self.save_best_only = save_best_only
        self.save_every = save_every
        self.save_options = save_options

    def on_train_batch_end(self, step: int, logs: Logs) -> None:
        """Write after every ``save_every`` steps."""
        del logs
        if self.save_every is not None and (step + 1) % self.save_every == 0:
            self._save(len(self.run.history))

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write, where asked only the best."""
        if not self.save_best_only or self.improved(logs):
            self._save(epoch)

    def _save(self, epoch: int) -> None:
        step = str(self.run.step)
        folder = Path(self.folder.replace("{epoch}", str(epoch)).replace("{step}", step))
        folder.parent.mkdir(parents=True, exist_ok=True)
        model = self.run.model
        if isinstance(model, Pretrained):
            model.save_pretrained(folder, **self.save_options)
        else:
            save_weights(model, folder)


class TerminateOnNaN(Callback):
    """Stop with an error when the loss, or a gradient, is NaN or infinite.

    Part of every training; the parameters are as they were before the step that failed.

    Args:
        gradients: whether to look at every gradient too, which costs a pass over them each step.
            Without it a bad gradient is found by its norm where clipping computes it, or one step
            later by the loss.
    """

    def __init__(self, gradients: bool = False) -> None:
        self.gradients = gradients

    def on_loss(self, step: int, logs: Logs) -> None:
        """Raise ``FloatingPointError`` that names the step and what is not finite."""
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"fit: step {step}: the loss is {logs['loss']}; {_blame_state(self.run.model)}"
            )

    def on_gradients(self, step: int, logs: Logs) -> None:
        """Raise ``FloatingPointError`` that names the step and the parameter."""
        if not np.isfinite(logs.get("grad_norm", 0.0)):
            raise FloatingPointError(
                f"fit: step {step}: the norm of the gradients is {logs['grad_norm']}; "
                f"{_blame_gradient(self.run.model)}"
            )
        if self.gradients and (found := _blame_gradient(self.run.model)):
            raise FloatingPointError(f"fit: step {step}: {found}")


def _blame_state(model: Module) -> str:
    for name, array in model.state_dict().items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} is not finite since an earlier step"
    return "all parameters are finite, so look at the batch and the loss function"


def _blame_gradient(model: Module) -> str:
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not np.isfinite(parameter.grad).all():
            return f"the gradient of {name} is not finite"
    return ""
