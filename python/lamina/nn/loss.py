"""Losses as modules; the functions are in :mod:`lamina.ops`."""

from collections.abc import Sequence

from lamina import ops
from lamina.nn.module import Module
from lamina.ops.loss import constant
from lamina.tensor import Array, Operand, Tensor


class _Loss(Module):
    """What all losses have: a reduction."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        if reduction not in ("none", "mean", "sum", *self._more_reductions):
            raise ValueError(
                f"{type(self).__name__}: reduction: expected 'none', 'mean' or 'sum', "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    _more_reductions: tuple[str, ...] = ()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class _WeightedLoss(_Loss):
    weight: Array | None

    def __init__(self, weight: Operand | None, reduction: str) -> None:
        super().__init__(reduction)
        self._buffer("weight", weight)

    def _buffer(self, name: str, value: Operand | None) -> None:
        array = None if value is None else constant(type(self).__name__, name, value)
        self.register_buffer(name, array)


class CrossEntropyLoss(_WeightedLoss):
    """Cross-entropy of logits, ``-log softmax(x)[target]``.

    Args:
        weight: of each class ``[C]``.
        ignore_index: targets that count for nothing.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: share of the target that is spread evenly over the classes.

    Reference:
        Szegedy et al., Rethinking the Inception Architecture, 2016 (smoothing).
    """

    def __init__(
        self,
        weight: Operand | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing: expected 0 to 1, got {label_smoothing}"
            )
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of logits ``[N, C, ...]`` against indices ``[N, ...]`` or probabilities."""
        return ops.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(_WeightedLoss):
    """Negative log-likelihood of log-probabilities, ``-x[target]``.

    Args:
        weight: of each class ``[C]``.
        ignore_index: targets that count for nothing.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(
        self, weight: Operand | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of log-probabilities ``[N, C, ...]`` against indices ``[N, ...]``."""
        return ops.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """Squared error, ``(x - target)^2``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """Absolute error, ``|x - target|``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """``d^2 / (2 beta)`` where ``d = |x - target| < beta``, else ``d - beta/2``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        beta: where the square ends; 0 gives the absolute error.

    Reference:
        Girshick, Fast R-CNN, 2015.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"SmoothL1Loss: beta: expected at least 0, got {beta}")
        self.beta = beta

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """``d^2 / 2`` where ``d = |x - target| <= delta``, else ``delta (d - delta/2)``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: where the square ends, above 0.

    Reference:
        Huber, Robust Estimation of a Location Parameter, 1964.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss: delta: expected above 0, got {delta}")
        self.delta = delta

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_WeightedLoss):
    """Binary cross-entropy of probabilities.

    Args:
        weight: factor of each loss, broadcast to the input.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, weight: Operand | None = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """Binary cross-entropy of ``sigmoid(x)``, without its loss of small numbers.

    Args:
        weight: factor of each loss, broadcast to the input.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        pos_weight: factor of positive targets, broadcast to the input.
    """

    pos_weight: Array | None

    def __init__(
        self,
        weight: Operand | None = None,
        reduction: str = "mean",
        pos_weight: Operand | None = None,
    ) -> None:
        super().__init__(weight, reduction)
        self._buffer("pos_weight", pos_weight)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class KLDivLoss(_Loss):
    """Divergence of log-probabilities from a target distribution.

    Args:
        reduction: ``"batchmean"`` (the divergence itself), ``"mean"`` (over all elements),
            ``"sum"`` or ``"none"``.
        log_target: whether targets are log-probabilities too.

    Reference:
        Kullback & Leibler, On Information and Sufficiency, 1951.
    """

    _more_reductions = ("batchmean",)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Operand, target: Operand) -> Tensor:
        """Loss of two arrays of one shape."""
        return ops.kl_div(input, target, self.reduction, self.log_target)


class CTCLoss(_Loss):
    """Minus the log-probability of all alignments of labels with a longer input.

    Args:
        blank: the class that stands for no label.
        reduction: ``"mean"`` (of the losses over their target lengths), ``"sum"``, ``"none"``.
        zero_infinity: targets that do not fit their input cost nothing.

    Reference:
        Graves et al., Connectionist Temporal Classification, 2006.
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self,
        log_probs: Operand,
        targets: Operand,
        input_lengths: Operand | Sequence[int],
        target_lengths: Operand | Sequence[int],
    ) -> Tensor:
        """Loss of log-probabilities ``[T, N, C]`` against labels ``[N, S]`` or concatenated."""
        return ops.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )
