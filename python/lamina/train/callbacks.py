"""What may happen while a model is trained."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.nn import Module, Pretrained, save_weights
from lamina.tensor import Array, Tensor

if TYPE_CHECKING:
    from lamina.train.loop import Run

STATE = "training_state.safetensors"

Logs = Mapping[str, float]

# Words in the names of measures: of which less is better, and of which more.
_LESS = re.compile(
    "loss|error|err|cost|mse|mae|rmse|msle|rmsle|mape|smape|nll|ppl|perplexity|entropy|brier|hinge|"
    "crossentropy|bits|bpb|bpc|bpt|cer|wer|ter|eer|divergence|kl|kld|distance|fid"
)
_MORE = re.compile(
    "acc|accuracy|auc|auroc|auprc|f1|precision|recall|sensitivity|specificity|bleu|rouge|chrf|r2|"
    "iou|miou|jaccard|dice|score|map|mrr|ndcg|psnr|ssim|reward"
)


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
        """After the last step, also after Ctrl-C or a loss that is not finite, not other errors."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training must give back: arrays, numbers, texts, and dicts and lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave, after ``on_train_begin``."""


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


def better(monitor: str, mode: str, name: str) -> str:
    """``min`` or ``max``: what ``mode`` says or, with ``auto``, the name of the measure.

    Raises:
        ValueError: the name does not tell, or ``mode`` is another.
    """
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise ValueError(f"{name}: mode: expected auto, min or max, got {mode!r}")
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", monitor).lower()
    words = set(re.findall(r"[a-z]+[0-9]*", apart))
    words |= {word.rstrip("0123456789") for word in words}
    if "loss" in apart or any(map(_LESS.fullmatch, words)):
        return "min"
    if any(map(_MORE.fullmatch, words)):
        return "max"
    raise ValueError(
        f"{name}: mode: expected min or max, as the name {monitor!r} does not tell which is better"
    )


class Monitor(Callback):
    """Notes whether a value of the history got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        name = type(self).__name__
        if min_delta < 0:
            raise ValueError(f"{name}: min_delta: expected at least 0, got {min_delta}")
        self.monitor = monitor
        self.mode = better(monitor, mode, name)
        self.min_delta = min_delta
        self.best = np.inf if self.mode == "min" else -np.inf

    def value(self, logs: Logs) -> float:
        """The value in a row of the history."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: monitor: {self.monitor!r} is not recorded, "
                f"expected one of {', '.join(logs)}"
            )
        return logs[self.monitor]

    def improved(self, logs: Logs) -> bool:
        """Whether the value is the best so far, which is then kept."""
        value = self.value(logs)
        if self.is_gain(value, self.best):
            self.best = value
            return True
        return False

    def is_gain(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than ``best`` by more than ``min_delta``."""
        gain = best - value if self.mode == "min" else value - best
        return gain > self.min_delta

    def state_dict(self) -> dict[str, Any]:
        """The best value."""
        return {"best": float(self.best)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.best = state["best"]


class EarlyStopping(Monitor):
    """Stop when a value of the history gets no better.

    Args:
        monitor: name of the value.
        min_delta: by how much it must get better to count.
        patience: epochs without it after which training stops; 0 is as 1.
        mode: ``min`` or ``max`` is better; ``auto`` knows the names of common losses and scores.
        restore_best_weights: whether the model ends with the weights of the best epoch.
        baseline: a value that must be passed for a gain to count as one.
        start_from_epoch: epochs at the beginning that count for nothing.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        restore_best_weights: bool = False,
        baseline: float | None = None,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if patience < 0:
            raise ValueError(f"EarlyStopping: patience: expected at least 0, got {patience}")
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self.baseline = baseline
        self.start_from_epoch = start_from_epoch
        self.best_epoch: int | None = None
        self._start = self.best
        self._best_weights: dict[str, Array] | None = None
        self._waited = 0

    def on_train_begin(self) -> None:
        """Forget an earlier training."""
        self.best, self.best_epoch, self._best_weights = self._start, None, None
        self._waited = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and stop after enough epochs without a gain."""
        if epoch < self.start_from_epoch:
            return
        self._waited += 1
        if self.improved(logs):
            self.best_epoch = epoch
            if self.baseline is None or self.is_gain(self.best, self.baseline):
                self._waited = 0
            if self.restore_best_weights:
                state = self.run.model.state_dict()
                self._best_weights = {name: array.copy() for name, array in state.items()}
        if self._waited and self._waited >= self.patience:
            best = self.best if self.baseline is None else self.baseline
            self.run.stop(f"{self.monitor} did not get better than {best:.6g}")

    def on_train_end(self) -> None:
        """Put the best weights back."""
        if self._best_weights is not None:
            self.run.model.load_state_dict(self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        """The best value with its epoch and weights, and the epochs since."""
        own = {"best_epoch": self.best_epoch, "waited": self._waited, "weights": self._best_weights}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.best_epoch, self._waited = state["best_epoch"], state["waited"]
        self._best_weights = state["weights"]


class ModelCheckpoint(Monitor):
    """Write the model to a folder after each epoch, whole or not at all.

    Models with ``save_pretrained`` are written by it, any other module by
    :func:`lamina.nn.save_weights`.

    Args:
        folder: ``{epoch}``, ``{step}`` and values of the history, such as ``{val_loss:.2f}``, are
            replaced in it, giving a folder each time.
        monitor: name of the value that says which is best.
        save_best_only: whether to write only when it got better.
        mode: ``min`` or ``max`` is better; ``auto`` knows the names of common losses and scores.
        save_every: steps between two further writes within an epoch; none where ``None``.
        save_state: whether the folder also gets what ``fit(resume=folder)`` needs to go on.
        save_options: passed on to ``save_pretrained``, for example a tokenizer.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        save_every: int | None = None,
        save_state: bool = False,
        **save_options: Any,
    ) -> None:
        # Without a best, which is better does not matter.
        super().__init__(monitor, mode if save_best_only or mode != "auto" else "min")
        if save_every is not None and save_every < 1:
            raise ValueError(f"ModelCheckpoint: save_every: expected at least 1, got {save_every}")
        self.folder = os.fspath(folder)
        self.save_best_only = save_best_only
        self.save_every = save_every
        self.save_state = save_state
        self.save_options = save_options

    def on_train_batch_end(self, step: int, logs: Logs) -> None:
        """Write after every ``save_every`` steps."""
        if self.save_every is not None and (step + 1) % self.save_every == 0:
            self._save(len(self.run.history), logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write, where asked only the best."""
        if not self.save_best_only or self.improved(logs):
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: Logs) -> None:
        values = {**logs, "epoch": epoch, "step": self.run.step}

        def replace(found: re.Match[str]) -> str:
            name, form = found.groups()
            if name not in values:
                raise ValueError(
                    f"ModelCheckpoint: folder: {name!r} is not recorded, "
                    f"expected one of {', '.join(values)}"
                )
            return format(values[name], form or "")

        folder = Path(re.sub(r"\{(\w+)(?::([^{}]*))?\}", replace, self.folder))
        more = {STATE: self.run.write_state} if self.save_state else None
        model = self.run.model
        if not isinstance(model, Pretrained):
            save_weights(model, folder, more=more)
        elif more is None:
            model.save_pretrained(folder, **self.save_options)
        else:
            model.save_pretrained(folder, more=more, **self.save_options)


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
            blame = _blame_state(self.run.model, self.run.batch)
            raise FloatingPointError(f"fit: step {step}: the loss is {logs['loss']}; {blame}")

    def on_gradients(self, step: int, logs: Logs) -> None:
        """Raise ``FloatingPointError`` that names the step and the parameter."""
        if not np.isfinite(logs.get("grad_norm", 0.0)):
            raise FloatingPointError(
                f"fit: step {step}: the norm of the gradients is {logs['grad_norm']}; "
                f"{_blame_gradient(self.run.model)}"
            )
        if self.gradients and (found := _blame_gradient(self.run.model)):
            raise FloatingPointError(f"fit: step {step}: {found}")


def _blame_state(model: Module, batch: tuple[tuple[Any, ...], Any]) -> str:
    for name, parameter in model.named_parameters():
        if not np.isfinite(parameter.data).all():
            return f"{name} is not finite since an earlier step"
    inputs, target = batch
    parts = {"target": target, **{f"input {i}": x for i, x in enumerate(inputs)}}
    for name, part in reversed(parts.items()):
        array = part.data if isinstance(part, Tensor) else part
        if (
            isinstance(array, np.ndarray)
            and array.dtype.kind == "f"
            and not np.isfinite(array).all()
        ):
            seen = [n for n, b in model.named_buffers() if not np.isfinite(b).all()]
            note = f"; {', '.join(seen)} have taken it in" if seen else ""
            return f"all parameters are finite, but {name} of the batch is not{note}"
    return "all parameters are finite, so look at the batch and the loss function"


def _blame_gradient(model: Module) -> str:
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not np.isfinite(parameter.grad).all():
            return f"the gradient of {name} is not finite"
    return ""
