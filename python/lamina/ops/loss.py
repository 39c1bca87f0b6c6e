"""Losses. Names, arguments and defaults are those of ``torch.nn.functional``."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina import _kernels
from lamina.ops.softmax import log_softmax
from lamina.tape import Gradients, is_grad_enabled
from lamina.tensor import Array, Operand, Tensor, as_tensor


def cross_entropy(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``-log softmax(input)[target]``, in one kernel.

    Args:
        input: logits ``[N, C]``, ``[C]`` or ``[N, C, d1, ...]``: classes on axis 1.
        target: class indices ``[N]``, ``[]`` or ``[N, d1, ...]``; or probabilities of the shape and
            type of ``input``, which gradients flow to as well.
        weight: of each class ``[C]``.
        ignore_index: rows with this target count for nothing; only for class indices.
        reduction: ``"mean"`` (over what counts, by weight), ``"sum"`` or ``"none"``.
        label_smoothing: share of the target that is spread evenly over the classes.

    Raises:
        ValueError: an index outside the classes, or shapes that do not agree.
    """
    x, t = as_tensor(input), as_tensor(target)
    _check_reduction("cross_entropy", reduction)
    if t.data.dtype.kind == "f":
        return _soft_cross_entropy(x, t, weight, reduction, label_smoothing)
    logits, shape = _rows("cross_entropy", x.data)
    targets = _class_indices("cross_entropy", t.data, shape)
    weights = _class_weight("cross_entropy", weight, logits.dtype)
    ignored = _ignored("cross_entropy", ignore_index)
    options = weights, ignored, float(label_smoothing), reduction
    wanted = x.requires_grad and is_grad_enabled()
    loss, stats, unit = _kernels.cross_entropy_forward(logits, targets, *options, wanted)
    # Most losses are backed up from with a gradient of one, for which the work is already done.
    ready = [unit]

    def vjp(dy: Array) -> Gradients:
        dlogits = ready.pop() if ready else None
        if dlogits is None or reduction == "none" or dy != 1:
            dy = dy.reshape(-1)
            dlogits = _kernels.cross_entropy_backward(dy, logits, targets, stats, *options)
        return (_unrows(dlogits, x_shape),)

    x_shape = x.data.shape
    return Tensor.record(loss.reshape(shape) if reduction == "none" else loss, (x,), vjp)


def _soft_cross_entropy(
    x: Tensor, t: Tensor, weight: Operand | None, reduction: str, label_smoothing: float
) -> Tensor:
    if t.shape != x.shape:
        raise ValueError(
            f"cross_entropy: target: expected probabilities of shape {x.shape}, got {t.shape}"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing: expected 0 to 1, got {label_smoothing}")
    axis = min(1, x.ndim - 1)
    classes = x.shape[axis]
    if label_smoothing:
        t = t * (1 - label_smoothing) + label_smoothing / classes
    terms = t * log_softmax(x, axis)
    if weight is not None:
        factor = as_tensor(weight).to(x.dtype)
        if factor.shape != (classes,):
            raise ValueError(
                f"cross_entropy: weight: expected shape ({classes},), got {factor.shape}"
            )
        terms = terms * factor.reshape(classes, *[1] * (x.ndim - 1 - axis))
    if reduction == "none":
        return -terms.sum(axis)
    return -terms.sum() / (x.size // classes if reduction == "mean" else 1)


def nll_loss(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """``-input[target]`` of log-probabilities; shapes and arguments as in :func:`cross_entropy`."""
    x = as_tensor(input)
    _check_reduction("nll_loss", reduction)
    rows, shape = _rows("nll_loss", x.data)
    targets = _class_indices("nll_loss", as_tensor(target).data, shape)
    weights = _class_weight("nll_loss", weight, rows.dtype)
    options = targets, weights, _ignored("nll_loss", ignore_index), reduction
    loss = _kernels.nll_forward(rows, *options)
    x_shape, classes = x.data.shape, rows.shape[1]

    def vjp(dy: Array) -> Gradients:
        return (_unrows(_kernels.nll_backward(dy.reshape(-1), classes, *options), x_shape),)

    return Tensor.record(loss.reshape(shape) if reduction == "none" else loss, (x,), vjp)


def mse_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """``(input - target)^2``."""
    return _elementwise("mse_loss", "mse", input, target, reduction)


def l1_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """``|input - target|``; gradient zero where they are equal."""
    return _elementwise("l1_loss", "l1", input, target, reduction)


def smooth_l1_loss(
    input: Operand, target: Operand, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """``d^2 / (2 beta)`` where ``d = |input - target| < beta``, else ``d - beta/2``."""
    return _elementwise("smooth_l1_loss", "smooth_l1", input, target, reduction, parameter=beta)


def huber_loss(
    input: Operand, target: Operand, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """``d^2 / 2`` where ``d = |input - target| <= delta``, else ``delta (d - delta/2)``."""
    return _elementwise("huber_loss", "huber", input, target, reduction, parameter=delta)


def binary_cross_entropy(
    input: Operand, target: Operand, weight: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """``-target log(input) - (1 - target) log(1 - input)``, logarithms at least -100.

    ``input`` holds probabilities; ``weight`` is broadcast to its shape.
    """
    name = "binary_cross_entropy"
    return _elementwise(name, "bce", input, target, reduction, weight)


def binary_cross_entropy_with_logits(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: str = "mean",
    pos_weight: Operand | None = None,
) -> Tensor:
    """:func:`binary_cross_entropy` of ``sigmoid(input)``, without its loss of small numbers.

    ``pos_weight`` multiplies the first term; it and ``weight`` are broadcast to ``input``.
    """
    name = "binary_cross_entropy_with_logits"
    return _elementwise(name, "bce_with_logits", input, target, reduction, weight, pos_weight)


def kl_div(
    input: Operand, target: Operand, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """``target (log target - input)``: divergence of log-probabilities from probabilities.

    Args:
        input: log-probabilities.
        target: probabilities or, with ``log_target``, log-probabilities.
        reduction: ``"batchmean"`` (the sum over the length of axis 0, which is the divergence
            itself), ``"mean"`` (over all elements), ``"sum"`` or ``"none"``.
        log_target: what ``target`` holds.
    """
    kernel = "kl_log" if log_target else "kl"
    if reduction != "batchmean":
        return _elementwise("kl_div", kernel, input, target, reduction)
    total = _elementwise("kl_div", kernel, input, target, "sum")
    batch = np.shape(as_tensor(input).data)[:1]
    return total / (batch[0] if batch else 1)


def ctc_loss(
    log_probs: Operand,
    targets: Operand,
    input_lengths: Operand | Sequence[int],
    target_lengths: Operand | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of all alignments of the targets with the input.

    The gradient is that of the loss itself. PyTorch's is the same once it has passed through
    ``log_softmax``, and differs by ``exp(log_probs)`` before.

    Args:
        log_probs: ``[T, N, C]`` or ``[T, C]``.
        targets: labels ``[N, S]``, whatever stands beyond a length, or one after the other.
        input_lengths: steps of each sequence ``[N]``.
        target_lengths: labels of each sequence ``[N]``.
        blank: the class that stands for no label.
        reduction: ``"mean"`` (of the losses over their target lengths), ``"sum"``, ``"none"``.
        zero_infinity: targets that do not fit their input cost nothing; without it their loss is
            infinite and their gradient NaN.

    Reference:
        Graves et al., Connectionist Temporal Classification, 2006.
    """
    x = as_tensor(log_probs)
    _check_reduction("ctc_loss", reduction)
    if x.ndim not in (2, 3):
        raise ValueError(f"ctc_loss: log_probs: expected 2 or 3 axes, got {x.ndim}")
    y = x.data if x.ndim == 3 else x.data[:, None]
    labels = _integers("ctc_loss", "targets", targets)
    stride = labels.shape[1] if labels.ndim == 2 and x.ndim == 3 else 0
    steps = _integers("ctc_loss", "input_lengths", input_lengths).reshape(-1)
    counts = _integers("ctc_loss", "target_lengths", target_lengths).reshape(-1)
    if stride and labels.shape[0] != y.shape[1]:
        raise ValueError(
            f"ctc_loss: targets: expected {y.shape[1]} rows, one a sequence, got {labels.shape[0]}"
        )
    wanted = x.requires_grad and is_grad_enabled()
    losses, unit = _kernels.ctc_forward(
        y, labels.reshape(-1), stride, steps, counts, blank, zero_infinity, wanted
    )
    scale = np.ones_like(losses)
    if reduction == "mean":
        scale /= np.maximum(counts, 1) * max(losses.size, 1)

    def vjp(dy: Array) -> Gradients:
        if unit is None:
            return (None,)
        return (np.multiply(unit, (dy * scale)[:, None]).reshape(x_shape),)

    x_shape = x.data.shape
    if reduction != "none":
        return Tensor.record(np.asarray((losses * scale).sum(dtype=losses.dtype)), (x,), vjp)
    return Tensor.record(losses if x.ndim == 3 else losses.reshape(()), (x,), vjp)


def _elementwise(
    op: str,
    kernel: str,
    input: Operand,
    target: Operand,
    reduction: str,
    weight: Operand | None = None,
    pos_weight: Operand | None = None,
    parameter: float = 0.0,
) -> Tensor:
    x, t = as_tensor(input), as_tensor(target)
    _check_reduction(op, reduction)
    shape = x.data.shape
    if t.data.shape != shape:
        raise ValueError(f"{op}: target: expected shape {shape}, got {t.data.shape}")
    factors = _spread(op, "weight", weight, x.data), _spread(op, "pos_weight", pos_weight, x.data)
    flat = x.data.reshape(-1), t.data.astype(x.dtype, copy=False).reshape(-1)
    args = *flat, *factors, float(parameter), reduction
    loss = _kernels.loss_forward(kernel, *args)
    needs = x.requires_grad, t.requires_grad

    def vjp(dy: Array) -> Gradients:
        dy = dy.reshape(-1)
        dx, dt = (
            _kernels.loss_backward(kernel, of_target, dy, *args).reshape(shape) if needed else None
            for of_target, needed in zip((False, True), needs, strict=True)
        )
        return dx, dt

    return Tensor.record(loss.reshape(shape) if reduction == "none" else loss, (x, t), vjp)


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction: expected 'none', 'mean' or 'sum', got {reduction!r}")


def _rows(op: str, x: Array) -> tuple[Array, tuple[int, ...]]:
    """``x`` with its classes, axis 1, as rows ``[R, C]``, and the shape of the targets."""
    if x.ndim == 0:
        raise ValueError(f"{op}: input: expected at least 1 axis, got none")
    if x.ndim <= 2:
        return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), x.shape[:-1]
    moved = np.moveaxis(x, 1, -1)
    return moved.reshape(math.prod(moved.shape[:-1]), x.shape[1]), moved.shape[:-1]


def _unrows(rows: Array, shape: tuple[int, ...]) -> Array:
    if len(shape) <= 2:
        return rows.reshape(shape)
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def _class_indices(op: str, target: Array, shape: tuple[int, ...]) -> Array:
    if target.shape != shape:
        raise ValueError(
            f"{op}: target: expected class indices of shape {shape}, got {target.shape}"
        )
    return _integers(op, "target", target).reshape(-1)


def _integers(op: str, name: str, value: Any) -> Array:
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{op}: {name}: expected integers, got {array.dtype} array")
    return array.astype(np.int64, copy=False)


def _ignored(op: str, ignore_index: int) -> int:
    try:
        index = operator.index(ignore_index)
    except TypeError:
        kind = type(ignore_index).__name__
        raise TypeError(f"{op}: ignore_index: expected an integer, got {kind}") from None
    if not -(2**63) <= index < 2**63:
        raise ValueError(f"{op}: ignore_index: expected what fits 64 bits, got {index}")
    return index


def _class_weight(op: str, weight: Operand | None, dtype: "np.dtype[Any]") -> Array | None:
    return None if weight is None else constant(op, "weight", weight).astype(dtype, copy=False)


def constant(op: str, name: str, value: Operand) -> Array:
    """The array of an argument that no gradient flows to; one that asks for it is refused."""
    tensor = as_tensor(value)
    if tensor.requires_grad:
        raise ValueError(
            f"{op}: {name}: expected a tensor without gradient, got one that requires it; "
            "pass detach() of it"
        )
    return tensor.data


def _spread(op: str, name: str, factor: Operand | None, x: Array) -> Array | None:
    """``factor`` broadcast to ``x``, flat."""
    if factor is None:
        return None
    array = constant(op, name, factor)
    try:
        return np.broadcast_to(array.astype(x.dtype, copy=False), x.shape).reshape(-1)
    except ValueError:
        raise ValueError(
            f"{op}: {name}: expected a shape that broadcasts to {x.shape}, got {array.shape}"
        ) from None
