"""A model on data it is not trained on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data import DataLoader, TensorDataset
from lamina.nn import Module
from lamina.tape import no_grad
from lamina.tensor import Array, Tensor

Loss = Callable[[Any, Any], Tensor]
Metric = Callable[[Any, Any], Any]
Metrics = Mapping[str, Metric] | Sequence[Metric]


def evaluate(
    model: Module, loader: Iterable[Any], *, loss: Loss | None = None, metrics: Metrics = ()
) -> dict[str, float]:
    """Mean of the loss and of metrics over the items of all batches.

    The model is switched to evaluation and back.

    Args:
        model: called with the inputs of a batch.
        loader: batches ``(inputs..., target)``.
        loss: from output and target to a mean over the batch.
        metrics: the same by name, or functions that have one; they get output and target as arrays.

    Returns:
        ``loss`` and the metrics by name.

    Raises:
        ValueError: there is no batch.
    """
    functions = named(metrics)
    sums: dict[str, float] = {}
    count = 0
    with no_grad(), evaluation_mode(model):
        for batch in loader:
            inputs, target = split_batch(batch)
            output = model(*inputs)
            size = len(target)
            if loss is not None:
                sums["loss"] = sums.get("loss", 0.0) + float(loss(output, target).data) * size
            for name, metric in functions.items():
                value = metric(_array(output), _array(target))
                sums[name] = sums.get(name, 0.0) + float(value) * size
            count += size
    if count == 0:
        raise ValueError("evaluate: loader: gave no batch")
    return {name: value / count for name, value in sums.items()}


def predict(model: Module, x: npt.ArrayLike | Iterable[Any], *, batch_size: int = 32) -> Any:
    """Outputs of the model for all items, one array (or a tuple of them) ``[N, ...]``.

    The model is switched to evaluation and back.

    Args:
        model: called with batches of inputs.
        x: an array of inputs, or a loader of batches: arrays, or tuples of the inputs alone.
        batch_size: items in a batch where ``x`` is an array.
    """
    if isinstance(x, np.ndarray | list | Tensor):
        x = DataLoader(TensorDataset(_array(x)), batch_size)
    outputs: list[Any] = []
    with no_grad(), evaluation_mode(model):
        for batch in x:  # type: ignore[union-attr]
            output = model(*batch) if isinstance(batch, tuple | list) else model(batch)
            several = isinstance(output, tuple)
            outputs.append(tuple(map(_array, output)) if several else _array(output))
    if not outputs:
        raise ValueError("predict: x: expected at least one item, got none")
    if isinstance(outputs[0], tuple):
        return tuple(np.concatenate(part) for part in zip(*outputs, strict=True))
    return np.concatenate(outputs)


class evaluation_mode:  # noqa: N801 - used like no_grad
    """Every module of the model in the mode of evaluation inside the ``with`` block."""

    def __init__(self, model: Module) -> None:
        self._modes = [(module, module.training) for module in model.modules()]
        self._model = model

    def __enter__(self) -> None:
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        restore_modes(self._modes)


def restore_modes(modes: Iterable[tuple[Module, bool]]) -> None:
    """Give every module the mode noted for it."""
    for module, mode in modes:
        object.__setattr__(module, "training", mode)


def split_batch(batch: Any) -> tuple[tuple[Any, ...], Any]:
    """Inputs and target of a batch."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        kind = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"loader: expected batches (inputs..., target), got {kind}")
    return tuple(batch[:-1]), batch[-1]


def named(metrics: Metrics) -> dict[str, Metric]:
    """Metrics by name."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    return {getattr(metric, "__name__", type(metric).__name__): metric for metric in metrics}


def _array(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else np.asarray(value)
