"""The training loop."""

import inspect
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Protocol

from lamina import optim
from lamina.nn import Module
from lamina.train.callbacks import Callback, TerminateOnNaN
from lamina.train.evaluation import (
    Loss,
    Metrics,
    evaluate,
    restore_modes,
    split_batch,
)
from lamina.train.history import History
from lamina.train.interrupt import Interrupts
from lamina.train.progress import Reporter, reporter


class Optimizer(Protocol):
    """What the loop needs of an optimiser."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Change the parameters."""


class Schedule(Protocol):
    """What the loop needs of a schedule of the learning rate.

    One whose ``step`` takes an argument ``metrics`` gets the loss of validation (else of training)
    after each epoch; any other is called after each step.
    """

    def step(self, *metrics: Any) -> Any:
        """Set the rate of what follows."""


class Run:
    """A training as its callbacks see it.

    Attributes:
        model: the model that is trained.
        optimizer: its optimiser.
        history: the rows so far.
        step: number of steps done.
    """

    def __init__(self, model: Module, optimizer: Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.history = History()
        self.step = 0
        self.stopping = False

    def stop(self, reason: str) -> None:
        """End the training after the current step and its callbacks."""
        self.stopping = True
        self.history.stopped = reason


def fit(
    model: Module,
    loader: Iterable[Any],
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    validation: Iterable[Any] | None = None,
    metrics: Metrics = (),
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    eval_every: int | None = None,
) -> History:
    """Train a model on batches until the first of the limits is reached.

    Each step computes ``loss(model(*inputs), target)``, its gradients, and a step of the optimiser,
    then one of the schedule, so that schedules count steps. A row of the history, with the
    validation and ``on_epoch_end``, comes after each pass over the loader or, with ``eval_every``,
    after so many steps, and at the end.

    Ctrl-C is taken between the kernels of a step but not inside the optimiser, so that parameters
    and the state of the optimiser are those after the last whole step; running statistics of
    normalisation may have seen the batch of the one given up. ``on_train_end`` of the callbacks
    runs, then ``KeyboardInterrupt`` goes on to the caller, with the history as its ``history``.

    Args:
        model: a module; in the mode of training during steps, as found afterwards.
        loader: batches ``(inputs..., target)``; iterated over once for each epoch.
        loss: from output and target to a mean over the batch.
        optimizer: of the parameters to train.
        epochs: number of passes; 1 where no limit is given.
        steps: number of steps.
        seconds: duration; the step at its end is finished.
        schedule: its ``step`` is called after each step.
        clip_norm: largest norm of all gradients together.
        validation: batches for ``val_loss`` and metrics.
        metrics: functions of output and target as arrays, by name or with one; need ``validation``.
        callbacks: called in this order.
        progress: a bar on a terminal and lines elsewhere; nothing with ``False``; a bar on a
            terminal and nothing elsewhere with ``None``.
        eval_every: number of steps in a row of the history.

    Returns:
        The history.

    Raises:
        FloatingPointError: the loss is not finite; the message names step and parameter.
        ValueError: a limit is not positive, or the loader gives no batch.
        TypeError: a batch is not ``(inputs..., target)``.
        KeyboardInterrupt: Ctrl-C.
    """
    limits = {"epochs": epochs, "steps": steps, "seconds": seconds}
    limits |= {"clip_norm": clip_norm, "eval_every": eval_every}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(f"fit: {name}: expected a positive number, got {limit}")
    if metrics and validation is None:
        raise ValueError("fit: metrics: expected validation with them, got none")
    if epochs is None and steps is None and seconds is None:
        epochs = 1
    run = Run(model, optimizer)
    loop = _Loop(run, loader, loss, epochs, steps, seconds, schedule, clip_norm)
    loop.validation, loop.metrics, loop.eval_every = validation, metrics, eval_every
    loop.callbacks = list(callbacks)
    if not any(isinstance(callback, TerminateOnNaN) for callback in callbacks):
        loop.callbacks.insert(0, TerminateOnNaN())
    for callback in loop.callbacks:
        callback.run = run
    loop.reporter = reporter(progress, loop.total_steps())
    modes = [(module, module.training) for module in model.modules()]
    try:
        with Interrupts() as interrupts:
            for callback in loop.callbacks:
                callback.on_train_begin()
            try:
                loop.train(interrupts)
            except KeyboardInterrupt as error:
                optimizer.zero_grad()
                run.stop("interrupted")
                # Not a class of its own: shells stop a script's loop only after the plain one.
                error.history = run.history  # type: ignore[attr-defined]
                loop.end()
                raise
            loop.end()
    finally:
        loop.reporter.close()
        restore_modes(modes)
    return run.history


class _Loop:
    """One call of :func:`fit`."""

    validation: Iterable[Any] | None
    metrics: Metrics
    eval_every: int | None
    callbacks: list[Callback]
    reporter: Reporter

    def __init__(
        self,
        run: Run,
        loader: Iterable[Any],
        loss: Loss,
        epochs: int | None,
        steps: int | None,
        seconds: float | None,
        schedule: Schedule | None,
        clip_norm: float | None,
    ) -> None:
        self.run = run
        self.loader = loader
        self.loss = loss
        self.epochs = epochs
        self.steps = steps
        self.seconds = seconds
        self.schedule = schedule
        self.by_epoch = schedule and "metrics" in inspect.signature(schedule.step).parameters
        self.clip_norm = clip_norm
        self.start = time.monotonic()
        self.loss_sum = 0.0
        self.items = 0

    def total_steps(self) -> int | None:
        """Number of steps, where the limits give it."""
        totals = [] if self.steps is None else [self.steps]
        if self.epochs is not None and isinstance(self.loader, Sized):
            totals.append(self.epochs * len(self.loader))
        return min(totals, default=None)

    def train(self, interrupts: Interrupts) -> None:
        """Steps until a limit or a callback says stop."""
        run = self.run
        done = 0
        while done == 0 or not self._is_over(done):
            batches = 0
            run.model.train()
            for batch in self._batches():
                batches += 1
                self._step(batch, interrupts)
                if self.eval_every is not None and run.step % self.eval_every == 0:
                    self._end_epoch()
                if self._is_over(done):
                    break
            if batches == 0:
                raise ValueError(f"fit: loader: gave no batch in epoch {done}")
            done += 1
            if self.eval_every is None:
                self._end_epoch()
        if self.items:
            self._end_epoch()

    def _batches(self) -> Iterator[Any]:
        try:
            return iter(self.loader)
        except TypeError:
            raise TypeError(
                f"fit: loader: expected batches to iterate over, got {type(self.loader).__name__}"
            ) from None

    def _is_over(self, done: int) -> bool:
        return (
            self.run.stopping
            or (self.epochs is not None and done >= self.epochs)
            or (self.steps is not None and self.run.step >= self.steps)
            or (self.seconds is not None and time.monotonic() - self.start >= self.seconds)
        )

    def _step(self, batch: Any, interrupts: Interrupts) -> None:
        run = self.run
        inputs, target = split_batch(batch)
        for callback in self.callbacks:
            callback.on_train_batch_begin(run.step)
        run.optimizer.zero_grad()
        value = self.loss(run.model(*inputs), target)
        logs = {"loss": float(value.data)}
        for callback in self.callbacks:
            callback.on_loss(run.step, logs)
        value.backward()
        if self.clip_norm is not None:
            norm = optim.clip_grad_norm_(run.model.parameters(), self.clip_norm)
            logs["grad_norm"] = float(norm)
        for callback in self.callbacks:
            callback.on_gradients(run.step, logs)
        with interrupts.held():
            run.optimizer.step()
            if self.schedule is not None and not self.by_epoch:
                self.schedule.step()
            run.step += 1
        size = len(target)
        self.loss_sum += logs["loss"] * size
        self.items += size
        for callback in self.callbacks:
            callback.on_train_batch_end(run.step - 1, logs)
        self.reporter.step(run.step, logs["loss"])

    def _end_epoch(self) -> None:
        run = self.run
        row = {"loss": self.loss_sum / max(self.items, 1)}
        self.loss_sum, self.items = 0.0, 0
        if self.validation is not None:
            values = evaluate(run.model, self.validation, loss=self.loss, metrics=self.metrics)
            row |= {f"val_{name}": value for name, value in values.items()}
        row["lr"] = float(run.optimizer.param_groups[0]["lr"])
        row["seconds"] = time.monotonic() - self.start
        row["steps"] = run.step
        if self.schedule is not None and self.by_epoch:
            self.schedule.step(row.get("val_loss", row["loss"]))
        epoch = len(run.history)
        run.history.append(row)
        self.reporter.epoch(epoch, row)
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, row)

    def end(self) -> None:
        """Tell the callbacks."""
        for callback in self.callbacks:
            callback.on_train_end()
