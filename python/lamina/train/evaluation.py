"""A model on data it is not trained on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina.data import DataLoader, TensorDataset
from lamina.nn import Module
from lamina.tape import no_grad
from lamina.tensor import Tensor
from lamina.train.batches import as_array, as_batches, count_items, loss_number, split_batch

Loss = Callable[[Any, Any], Tensor]
Metric = Callable[[Any, Any], Any]
Metrics = Mapping[str, Metric] | Sequence[Metric]


def evaluate(
    model: Module,
    loader: Iterable[Any],
    *,
    loss: Loss | None = None,
    metrics: Metrics = (),
    batch_size: int = 32,
) -> dict[str, float]:
    """Mean of the loss and of metrics over the items of all batches.

    The model is switched to evaluation and back.

    Args:
        model: called with the inputs of a batch.
        loader: batches ``(inputs..., target)``, a data set, or a tuple of arrays.
        loss: from output and target to a mean over the batch.
        metrics: the same by name, or functions that have one; they get output and target as arrays.
        batch_size: items in a batch where ``loader`` is a data set or arrays.

    Returns:
        ``loss`` and the metrics by name.

    Raises:
        ValueError: there is no batch, or two measures have one name.
    """
    functions = named(metrics, "loss" if loss is not None else None)
    sums: dict[str, float] = {}
    count = 0
    with no_grad(), evaluation_mode(model):
        for batch in as_batches(loader, batch_size):
            inputs, target = split_batch(batch)
            output = model(*inputs)
            size = count_items(inputs, target)
            if loss is not None:
                value = loss_number(loss(output, target), "evaluate")
                sums["loss"] = sums.get("loss", 0.0) + value * size
            for name, metric in functions.items():
                value = _number(metric(as_arrays(output), as_arrays(target)), name)
                sums[name] = sums.get(name, 0.0) + value * size
            count += size
    if count == 0:
        raise ValueError("evaluate: loader: gave no batch")
    return {name: value / count for name, value in sums.items()}


def _number(value: Any, name: str) -> float:
    array = as_array(value)
    if array.size != 1:
        raise ValueError(f"evaluate: metrics: {name}: expected a number, got shape {array.shape}")
    return float(array.item())


def predict(model: Module, x: npt.ArrayLike | Iterable[Any], *, batch_size: int = 32) -> Any:
    """Outputs of the model for all items, one array (or a tuple of them) ``[N, ...]``.

    The model is switched to evaluation and back.

    Args:
        model: called with batches of inputs.
        x: an array of inputs, or a loader of batches: arrays, or tuples of the inputs alone.
        batch_size: items in a batch where ``x`` is an array.
    """
    if isinstance(x, np.ndarray | list | Tensor):
        x = DataLoader(TensorDataset(as_array(x)), batch_size)
    outputs: list[Any] = []
    with no_grad(), evaluation_mode(model):
        for batch in x:  # type: ignore[union-attr]
            output = model(*batch) if isinstance(batch, tuple | list) else model(batch)
            several = isinstance(output, tuple)
            outputs.append(tuple(map(as_array, output)) if several else as_array(output))
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


def named(metrics: Metrics, taken: str | None = None) -> dict[str, Metric]:
    """Metrics by name; none may have that of another, or the one that is ``taken``."""
    if isinstance(metrics, Mapping):
        functions = dict(metrics)
    else:
        functions = {}
        for metric in metrics:
            name = getattr(metric, "__name__", type(metric).__name__)
            if name in functions:
                raise ValueError(
                    f"metrics: two are named {name!r}, expected a mapping that gives each its own"
                )
            functions[name] = metric
    if taken in functions:
        raise ValueError(f"metrics: {taken!r} is the name of the loss, expected another")
    return functions


def as_arrays(value: Any) -> Any:
    """Arrays instead of tensors, in tuples and mappings too."""
    if isinstance(value, Mapping):
        return {key: as_arrays(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(as_arrays, value))
    return as_array(value)
