"""The training loop."""

import inspect
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from lamina import optim
from lamina.data import DataLoader, TensorDataset
from lamina.nn import Module
from lamina.train.batches import as_array, as_batches, count_items, loss_number, split_batch
from lamina.train.callbacks import Callback, ModelCheckpoint, TerminateOnNaN
from lamina.train.evaluation import Loss, Metrics, evaluate, named, restore_modes
from lamina.train.history import History
from lamina.train.interrupt import Interrupts
from lamina.train.progress import Reporter, reporter
from lamina.train.state import Progress, read_state, write_state


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
        batch: inputs and target of the step under way.
        write_state: writes to a path all that the training needs to go on, less the weights.
    """

    write_state: Callable[[Path], None]

    def __init__(self, model: Module, optimizer: Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.history = History()
        self.step = 0
        self.batch: tuple[tuple[Any, ...], Any] = ((), None)
        self.stopping = False

    def stop(self, reason: str) -> None:
        """End the training after the current step and its callbacks."""
        self.stopping = True
        self.history.stopped = reason


def fit(
    model: Module,
    loader: Iterable[Any],
    target: Any = None,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    schedule: Schedule | None = None,
    schedule_by: str = "step",
    clip_norm: float | None = None,
    validation: Iterable[Any] | None = None,
    validation_split: float = 0.0,
    metrics: Metrics = (),
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    eval_every: int | None = None,
    batch_size: int = 32,
    shuffle: bool = True,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model on batches until the first of the limits is reached.

    Each step computes ``loss(model(*inputs), target)``, its gradients, and a step of the optimiser,
    then one of the schedule, so that schedules count steps. A row of the history, with the
    validation and ``on_epoch_end``, comes after each pass over the loader or, with ``eval_every``,
    after so many steps, and at the end.

    Ctrl-C is taken between the kernels of a step but not inside the optimiser, so that parameters
    and the state of the optimiser are those after the last whole step; running statistics of
    normalisation may have seen the batch of the one given up. ``on_train_end`` of the callbacks
    runs, then ``KeyboardInterrupt`` goes on to the caller, with the history as its ``history``. So
    do errors, but only one for a loss that is not finite after ``on_train_end``.

    Args:
        model: a module; in the mode of training during steps, as found afterwards.
        loader: batches ``(inputs..., target)``, iterated over once for each epoch; a data set; or,
            with ``target``, an array of inputs or a tuple of them.
        target: an array, where ``loader`` is the inputs.
        loss: from output and target to a mean over the batch.
        optimizer: of the parameters to train.
        epochs: number of passes; 1 where no limit is given.
        steps: number of steps.
        seconds: duration; the step at its end is finished.
        schedule: its ``step`` is called after each step.
        schedule_by: ``"epoch"`` for after each row of the history instead.
        clip_norm: largest norm of all gradients together.
        validation: batches for ``val_loss`` and metrics, a data set, or a tuple of arrays.
        validation_split: share of the arrays, from their end, that is the validation.
        metrics: functions of output and target as arrays, by name or with one; need ``validation``.
        callbacks: called in this order, but those that save the state of the training last.
        progress: a bar on a terminal and lines elsewhere; nothing with ``False``; a bar on a
            terminal and nothing elsewhere with ``None``.
        eval_every: number of steps in a row of the history.
        batch_size: items in a batch where there is no loader.
        shuffle: whether each epoch has an order of its own where there is no loader.
        resume: folder that ``ModelCheckpoint(save_state=True)`` wrote in a training with the same
            arguments, to go on with it to the last bit. Limits count from its beginning. What the
            loader draws from generators of its own, and batches of one that gives others each
            time it is iterated over, are not known to it.

    Returns:
        The history.

    Raises:
        FloatingPointError: the loss is not finite; the message names step and parameter.
        ValueError: a limit is not positive, the loader gives no batch, or a loss is no number.
        TypeError: a batch is not ``(inputs..., target)``.
        FormatError: ``resume`` is not a state of such a training.
        KeyboardInterrupt: Ctrl-C.
    """
    limits = {"epochs": epochs, "steps": steps, "seconds": seconds}
    limits |= {"clip_norm": clip_norm, "eval_every": eval_every}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(f"fit: {name}: expected a positive number, got {limit}")
    if schedule_by not in ("step", "epoch"):
        raise ValueError(f"fit: schedule_by: expected 'step' or 'epoch', got {schedule_by!r}")
    loader, held_out = _training_data(loader, target, validation_split, batch_size, shuffle)
    if held_out is not None and validation is not None:
        raise ValueError("fit: validation_split: expected no validation with it")
    validation = held_out if validation is None else as_batches(validation, batch_size)
    if metrics and validation is None:
        raise ValueError("fit: metrics: expected validation with them, got none")
    named(metrics, "loss")
    if isinstance(validation, Iterator) and epochs is not None and epochs > 1:
        raise ValueError(
            "fit: validation: an iterator gives its batches once, "
            f"expected a loader or a list for {epochs} epochs"
        )
    if epochs is None and steps is None and seconds is None:
        epochs = 1
    run = Run(model, optimizer)
    loop = _Loop(run, loader, loss, epochs, steps, seconds, schedule, clip_norm)
    loop.validation, loop.metrics, loop.eval_every = validation, metrics, eval_every
    run.write_state = lambda path: write_state(path, loop.progress())
    loop.by_row = loop.by_row or schedule_by == "epoch"
    # A state is whole once the others have seen what it is the state of.
    loop.callbacks = sorted(
        callbacks, key=lambda c: isinstance(c, ModelCheckpoint) and c.save_state
    )
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
            if resume is not None:
                loop.resume(resume)
            try:
                loop.train(interrupts)
            except BaseException as error:
                # Not classes of their own: shells stop a script's loop only after the plain one.
                error.history = run.history  # type: ignore[attr-defined]
                if isinstance(error, KeyboardInterrupt):
                    optimizer.zero_grad()
                    run.stop("interrupted")
                    loop.end()
                elif isinstance(error, FloatingPointError):
                    run.stop(str(error))
                    loop.end()
                raise
            loop.end()
    finally:
        loop.reporter.close()
        restore_modes(modes)
        # What callbacks keep of the run should not keep the batch and the loop.
        run.batch = ((), None)
        del run.write_state
    return run.history


def _training_data(
    loader: Any, target: Any, share: float, batch_size: int, shuffle: bool
) -> tuple[Iterable[Any], Iterable[Any] | None]:
    """Batches to train on and, of arrays, those held out."""
    if not 0 <= share < 1:
        raise ValueError(f"fit: validation_split: expected 0 to below 1, got {share}")
    if target is None:
        if share:
            raise ValueError("fit: validation_split: expected arrays of inputs and target with it")
        return as_batches(loader, batch_size, shuffle), None
    inputs = loader if isinstance(loader, tuple) else (loader,)
    data = TensorDataset(*map(as_array, (*inputs, target)))
    count = len(data) - int(len(data) * share)
    if share and count in (0, len(data)):
        raise ValueError(f"fit: validation_split: {share} of {len(data)} items leaves a part empty")
    parts = [
        TensorDataset(*(array[part] for array in data.arrays))
        for part in (slice(count), slice(count, None))
    ]
    held_out = DataLoader(parts[1], batch_size) if share else None
    return DataLoader(parts[0], batch_size, shuffle), held_out


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
        self.takes_measure = (
            schedule is not None and "metrics" in inspect.signature(schedule.step).parameters
        )
        self.by_row = self.takes_measure
        self.clip_norm = clip_norm
        self.start = time.monotonic()
        # Passes over the loader, batches of the one under way, and what the next row is made of.
        self.passes = 0
        self.batches = 0
        self.loss_sum = 0.0
        self.items = 0
        self.steps_since_row = 0

    def total_steps(self) -> int | None:
        """Number of steps, where the limits give it."""
        totals = [] if self.steps is None else [self.steps]
        length = _length(self.loader)
        if self.epochs is not None and length is not None:
            totals.append(self.epochs * length)
        return min(totals, default=None)

    def progress(self) -> Progress:
        """How far the training has come, with all that has a state."""
        run = self.run
        return Progress(
            parts={
                "optimizer": run.optimizer,
                "schedule": self.schedule,
                "loader": self.loader,
                "validation": self.validation,
            },
            needed=("optimizer", "schedule"),
            callbacks=self.callbacks,
            history=run.history,
            model=run.model,
            numbers={
                "step": run.step,
                "passes": self.passes,
                "batches": self.batches,
                "loss_sum": self.loss_sum,
                "items": self.items,
                "steps_since_row": self.steps_since_row,
                "seconds": time.monotonic() - self.start,
            },
        )

    def resume(self, folder: str | os.PathLike[str]) -> None:
        """Go on where the training stood that saved its state in ``folder``."""
        numbers = read_state(folder, self.progress())
        self.run.step = numbers["step"]
        self.passes, self.batches = numbers["passes"], numbers["batches"]
        self.loss_sum, self.items = numbers["loss_sum"], numbers["items"]
        self.steps_since_row = numbers["steps_since_row"]
        self.start = time.monotonic() - numbers["seconds"]

    def train(self, interrupts: Interrupts) -> None:
        """Steps until a limit or a callback says stop."""
        if self.steps_since_row:
            self._end_row_if_due()
        while not self._is_over():
            self._pass(interrupts)
        if self.steps_since_row:
            self._end_row()

    def _pass(self, interrupts: Interrupts) -> None:
        run = self.run
        run.model.train()
        for batch in self._batches():
            self.batches += 1
            self._step(batch, interrupts)
            self._end_row_if_due()
            if self._is_over():
                return
        if self.batches == 0:
            if self.passes == 0:
                raise ValueError("fit: loader: gave no batch in epoch 0")
            reason = (
                f"the loader gave no batch in epoch {self.passes}; "
                "an iterator is used up after one pass, a DataLoader or a list is not"
            )
            warnings.warn(f"fit: training ends early: {reason}", stacklevel=4)
            run.stop(reason)
            return
        self.passes += 1
        self.batches = 0
        if self.eval_every is None and self.steps_since_row:
            self._end_row()

    def _batches(self) -> Iterator[Any]:
        try:
            if self.batches == 0:
                return iter(self.loader)
            # Resumed: what stands in the pass before this place was done then.
            if self.batches == _length(self.loader):
                return iter(())
            if hasattr(self.loader, "load_state_dict"):
                return iter(self.loader)
            return itertools.islice(self.loader, self.batches, None)
        except TypeError:
            raise TypeError(
                f"fit: loader: expected batches to iterate over, got {type(self.loader).__name__}"
            ) from None

    def _is_over(self) -> bool:
        step = self.run.step
        return (
            self.run.stopping
            or (self.epochs is not None and self.passes >= self.epochs)
            or (self.steps is not None and step >= self.steps)
            or (
                self.seconds is not None
                and step > 0
                and time.monotonic() - self.start >= self.seconds
            )
        )

    def _step(self, batch: Any, interrupts: Interrupts) -> None:
        run = self.run
        inputs, target = run.batch = split_batch(batch)
        size = count_items(inputs, target)
        for callback in self.callbacks:
            callback.on_train_batch_begin(run.step)
        run.optimizer.zero_grad()
        value = self.loss(run.model(*inputs), target)
        logs = {"loss": loss_number(value, "fit")}
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
            if self.schedule is not None and not self.by_row:
                self.schedule.step()
            run.step += 1
        self.loss_sum += logs["loss"] * size
        self.items += size
        self.steps_since_row += 1
        for callback in self.callbacks:
            callback.on_train_batch_end(run.step - 1, logs)
        self.reporter.step(run.step, logs["loss"])

    def _end_row_if_due(self) -> None:
        if self.eval_every is not None and self.run.step % self.eval_every == 0:
            self._end_row()

    def _end_row(self) -> None:
        run = self.run
        row = {"loss": self.loss_sum / max(self.items, 1)}
        self.loss_sum, self.items, self.steps_since_row = 0.0, 0, 0
        if self.validation is not None:
            if isinstance(self.validation, Iterator) and len(run.history):
                raise ValueError(
                    f"fit: validation: gave no batch in epoch {len(run.history)}: an iterator is "
                    "used up after one pass, expected a loader or a list"
                )
            values = evaluate(run.model, self.validation, loss=self.loss, metrics=self.metrics)
            row |= {f"val_{name}": value for name, value in values.items()}
        row["lr"] = float(run.optimizer.param_groups[0]["lr"])
        row["seconds"] = time.monotonic() - self.start
        row["steps"] = run.step
        if self.schedule is not None and self.by_row:
            measure = (row.get("val_loss", row["loss"]),) if self.takes_measure else ()
            self.schedule.step(*measure)
        epoch = len(run.history)
        run.history.append(row)
        self.reporter.epoch(epoch, row)
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, row)

    def end(self) -> None:
        """Tell the callbacks."""
        for callback in self.callbacks:
            callback.on_train_end()


def _length(loader: Iterable[Any]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None
