"""Linear-chain conditional random fields with the arguments of CRFsuite."""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.random import generator
from lamina.tagging.folder import load_model, save_model

Array = npt.NDArray[Any]
Sequences = Iterable[Iterable[Any]]
Row = dict[str, float]

_ALGORITHMS = ("lbfgs", "l2sgd", "ap", "pa", "arow")
# What CRFsuite takes where nothing is given.
_DEFAULTS: dict[str, dict[str, float]] = {
    "lbfgs": {"max_iterations": 1 << 40, "epsilon": 1e-5, "delta": 1e-5},
    "l2sgd": {"max_iterations": 1000, "epsilon": 0.0, "delta": 1e-6},
    "ap": {"max_iterations": 100, "epsilon": 0.0, "delta": 0.0},
    "pa": {"max_iterations": 100, "epsilon": 0.0, "delta": 0.0},
    "arow": {"max_iterations": 100, "epsilon": 0.0, "delta": 0.0},
}


class Explanation(NamedTuple):
    """The strongest weights of a label, each list in falling order of the absolute weight.

    Attributes:
        attributes: attribute and weight.
        before: label before and weight.
        after: label after and weight.
    """

    attributes: list[tuple[str, float]]
    before: list[tuple[str, float]]
    after: list[tuple[str, float]]


class Info(NamedTuple):
    """What a model holds.

    Attributes:
        labels: names of the labels.
        num_attributes: attributes with a weight.
        num_state_features: weights of attributes with labels.
        num_transitions: weights of a label after another.
        transitions: those weights by labels.
        state_features: weights by attribute and label.
    """

    labels: list[str]
    num_attributes: int
    num_state_features: int
    num_transitions: int
    transitions: dict[tuple[str, str], float]
    state_features: dict[tuple[str, str], float]


class CRF:
    """Labels sequences: ``p(y | x) = exp(sum of weights) / Z(x)``.

    There is a weight for each attribute with each label, and for each label after another. Items
    are lists of strings, of ``(string, number)`` pairs, or dicts from names to a number, a bool, a
    string (the attribute ``name:string``), a list of such or another dict.

    Args:
        algorithm: ``"lbfgs"`` (with ``c1`` orthant-wise), ``"l2sgd"``, ``"ap"`` (averaged
            perceptron), ``"pa"`` (passive aggressive) or ``"arow"``.
        min_freq: weights of attributes and labels seen together less often are left out.
        all_possible_states: have a weight for every attribute with every label.
        all_possible_transitions: have one for every label after every other.
        c1: factor of the sum of absolute weights.
        c2: factor of the sum of squared weights.
        max_iterations: at most; by default without a limit for ``"lbfgs"``, 1000 for ``"l2sgd"``,
            else 100.
        num_memories: steps that L-BFGS remembers.
        epsilon: L-BFGS ends where the gradient is that small beside the weights, 1e-5 by default;
            perceptrons where their mean loss is, 0 by default.
        period: iterations over which the improvement is measured; 0 for no such test.
        delta: training ends where the improvement is that small beside the objective: 1e-5 for
            ``"lbfgs"`` and 1e-6 for ``"l2sgd"`` by default.
        max_linesearch: evaluations of a line search at most.
        batch_size: sequences between two updates of ``"l2sgd"`` and of :meth:`partial_fit`.
        learning_rate: of :meth:`partial_fit`, which adapts it for each weight.
        calibration_eta, calibration_rate, calibration_samples, calibration_candidates,
            calibration_max_trials: how ``"l2sgd"`` finds its first rate.
        pa_type: 0 without slack variables, 1 with, 2 with their squares.
        c: most that ``"pa"`` changes at a time.
        error_sensitive: whether ``"pa"`` minds the number of wrong labels.
        averaging: whether ``"pa"`` averages its weights.
        variance: of a weight at first, for ``"arow"``.
        gamma: trade-off of ``"arow"`` between the loss and the change of weights.
        verbose: print a line after each iteration.
        rng: source of the order of sequences.

    Attributes:
        training_log_: a row for each iteration: ``iteration``, ``loss``, ``feature_norm``,
            ``error_norm``, ``active_features``, ``step``, ``evaluations``, ``seconds``, and with
            held-out data ``dev_accuracy`` and ``dev_sequence_accuracy``.

    Reference:
        Lafferty, McCallum & Pereira, Conditional Random Fields, 2001; Okazaki, CRFsuite, 2007
        (arguments and their defaults).
    """

    def __init__(
        self,
        algorithm: str = "lbfgs",
        *,
        min_freq: float = 0,
        all_possible_states: bool = False,
        all_possible_transitions: bool = False,
        c1: float = 0.0,
        c2: float = 1.0,
        max_iterations: int | None = None,
        num_memories: int = 6,
        epsilon: float | None = None,
        period: int = 10,
        delta: float | None = None,
        max_linesearch: int = 20,
        batch_size: int = 1,
        learning_rate: float = 0.2,
        calibration_eta: float = 0.1,
        calibration_rate: float = 2.0,
        calibration_samples: int = 1000,
        calibration_candidates: int = 10,
        calibration_max_trials: int = 20,
        pa_type: int = 1,
        c: float = 1.0,
        error_sensitive: bool = True,
        averaging: bool = True,
        variance: float = 1.0,
        gamma: float = 1.0,
        verbose: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.min_freq = min_freq
        self.all_possible_states = all_possible_states
        self.all_possible_transitions = all_possible_transitions
        self.c1, self.c2 = c1, c2
        self.max_iterations = max_iterations
        self.num_memories = num_memories
        self.epsilon = epsilon
        self.period = period
        self.delta = delta
        self.max_linesearch = max_linesearch
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.calibration_eta = calibration_eta
        self.calibration_rate = calibration_rate
        self.calibration_samples = calibration_samples
        self.calibration_candidates = calibration_candidates
        self.calibration_max_trials = calibration_max_trials
        self.pa_type = pa_type
        self.c = c
        self.error_sensitive = error_sensitive
        self.averaging = averaging
        self.variance, self.gamma = variance, gamma
        self.verbose = verbose
        self.rng = rng
        self.training_log_: list[Row] = []
        self._fitted: _kernels.CRFModel | None = None
        self._squares: Array | None = None
        self._check()

    def _check(self) -> None:
        """Refuse options that make no sense."""
        if self.algorithm not in _ALGORITHMS:
            expected = ", ".join(_ALGORITHMS)
            raise ValueError(f"CRF: algorithm: expected one of {expected}, got {self.algorithm!r}")
        for name in ("min_freq", "c1", "c2", "epsilon", "period", "delta", "max_iterations"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"CRF: {name}: expected zero or more, got {value}")
        positive = (
            "num_memories",
            "max_linesearch",
            "batch_size",
            "learning_rate",
            "c",
            "variance",
        )
        more = ("gamma", "calibration_eta", "calibration_samples", "calibration_max_trials")
        for name in (*positive, *more):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"CRF: {name}: expected a positive number, got {value}")
        if not self.calibration_rate > 1:
            raise ValueError(
                f"CRF: calibration_rate: expected more than 1, got {self.calibration_rate}"
            )
        if self.pa_type not in (0, 1, 2):
            raise ValueError(f"CRF: pa_type: expected 0, 1 or 2, got {self.pa_type!r}")

    # Parameters, as scikit-learn wants them.

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """Arguments of the constructor by name."""
        return {name: getattr(self, name) for name in _parameters()}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor."""
        for name, value in params.items():
            if name not in _parameters():
                raise ValueError(f"CRF: {name!r} is no parameter")
            setattr(self, name, value)
        self._check()
        return self

    def __repr__(self) -> str:
        given = {
            name: value
            for name, value in self.get_params().items()
            if value != inspect.signature(CRF).parameters[name].default
        }
        return f"CRF({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    # Training.

    def fit(
        self,
        X: Sequences,
        y: Iterable[Iterable[str]],
        X_dev: Sequences | None = None,
        y_dev: Iterable[Iterable[str]] | None = None,
        *,
        callback: Callable[[Row], bool | None] | None = None,
    ) -> Self:
        """Find the weights, forgetting earlier ones.

        Args:
            X: items of each sequence.
            y: their labels.
            X_dev: sequences that are labelled after each iteration.
            y_dev: their labels.
            callback: gets the row of each iteration; ``False`` ends the training.

        Raises:
            ValueError: no items, a number that is not finite, or lengths that do not agree.
            TypeError: an item or a label of another type; the message says where.
        """
        self._check()
        if (X_dev is None) != (y_dev is None):
            raise ValueError("CRF: X_dev and y_dev: expected both or neither")
        data = _kernels.CRFData(X, y, [])
        holdout = None if X_dev is None else data.read(X_dev, y_dev)
        log: list[Row] = []

        def report(row: Row) -> bool:
            log.append(row)
            if self.verbose:
                print(_line(row), flush=True)
            return callback is None or callback(row) is not False

        settings = self._settings()
        self._fitted = _kernels.CRFModel.train(data, holdout, settings, report)
        self.training_log_ = log
        self._squares = None
        return self

    def _settings(self) -> dict[str, Any]:
        names = _parameters() - {"verbose", "rng", "learning_rate"}
        settings = {name: getattr(self, name) for name in names}
        for name, value in _DEFAULTS[self.algorithm].items():
            if settings[name] is None:
                settings[name] = value
        settings["seed"] = int(generator(self.rng).integers(1 << 62))
        return settings

    def partial_fit(
        self,
        X: Sequences,
        y: Iterable[Iterable[str]],
        classes: Sequence[str] | None = None,
    ) -> Self:
        """Go on from the weights there are with one pass over more sequences.

        Attributes and labels that are new get weights. Each weight has a rate of its own, which
        falls with its gradients so far; there is no penalty. How the rates have fallen is not
        saved with the model.

        Args:
            X: items of each sequence.
            y: their labels.
            classes: labels that later calls may bring; they can be new all the same.
        """
        self._check()
        if self._fitted is None:
            self._fitted = _kernels.CRFModel(list(classes or ()))
        data = self._fitted.collect(X, y)
        squares = np.zeros(0) if self._squares is None else self._squares
        self._fitted, self._squares, loss = self._fitted.adapt(
            data, squares, float(self.learning_rate), int(self.batch_size)
        )
        self.training_log_.append({"iteration": len(self.training_log_) + 1, "loss": loss})
        return self

    @property
    def _model(self) -> _kernels.CRFModel:
        if self._fitted is None:
            raise RuntimeError("CRF: not fitted yet: call fit, partial_fit or load")
        return self._fitted

    # Labelling.

    def predict(self, X: Sequences) -> list[list[str]]:
        """The most likely labels of each sequence."""
        return self._model.tag(self._model.read(X))

    def predict_single(self, xseq: Iterable[Any]) -> list[str]:
        """The most likely labels of one sequence."""
        return self.predict([xseq])[0]

    def predict_nbest(self, X: Sequences, n: int = 5) -> list[list[tuple[list[str], float]]]:
        """The ``n`` most likely labellings of each sequence and their log-probabilities.

        Best first; fewer where a sequence has no more.
        """
        if n < 1:
            raise ValueError(f"CRF: n: expected at least 1, got {n}")
        return self._model.best_few(self._model.read(X), n)

    def predict_proba(self, X: Sequences) -> list[Array]:
        """Probabilities of labels, ``[L, C]`` of each sequence, in the order of ``classes_``."""
        data = self._model.read(X)
        return np.split(self._model.marginals(data)[0], np.cumsum(data.lengths())[:-1])[: len(data)]

    def predict_marginals(self, X: Sequences) -> list[list[dict[str, float]]]:
        """The same as a dict from labels to probabilities for each item."""
        names = self.classes_
        return [
            [dict(zip(names, row, strict=True)) for row in rows.tolist()]
            for rows in self.predict_proba(X)
        ]

    def predict_marginals_single(self, xseq: Iterable[Any]) -> list[dict[str, float]]:
        """:meth:`predict_marginals` of one sequence."""
        return self.predict_marginals([xseq])[0]

    def log_prob(self, X: Sequences, y: Iterable[Iterable[str]]) -> Array:
        """Logarithm of the probability of the labels of each sequence, ``[N]``.

        Raises:
            ValueError: a label the model does not have.
        """
        data = self._model.read(X, y)
        return self._model.scores(data) - self._model.marginals(data)[1]

    def log_partition(self, X: Sequences) -> Array:
        """Logarithm of Z of each sequence, ``[N]``."""
        return self._model.marginals(self._model.read(X))[1]

    def score(self, X: Sequences, y: Iterable[Iterable[str]]) -> float:
        """Share of items whose label is found."""
        data = self._model.read(X, y)
        return self._model.accuracy(data)[0]

    # What was learned.

    @property
    def classes_(self) -> list[str]:
        """The labels in the order in which they were seen."""
        return self._model.labels()

    @property
    def transition_features_(self) -> dict[tuple[str, str], float]:
        """Weights of a label after another, by both."""
        names = self.classes_
        _, _, _, _, _, _, _, weights, present = self._model.parts()
        found = np.flatnonzero(present)
        pairs = zip(*np.divmod(found, max(len(names), 1)), strict=True)
        values = weights[found].tolist()
        return {(names[i], names[j]): w for (i, j), w in zip(pairs, values, strict=True)}

    @property
    def state_features_(self) -> dict[tuple[str, str], float]:
        """Weights of an attribute with a label, by both."""
        labels, attributes = self.classes_, self._model.attributes()
        owners, of, weights = self._states()
        rows = zip(owners.tolist(), of.tolist(), weights.tolist(), strict=True)
        return {(attributes[a], labels[label]): weight for a, label, weight in rows}

    @property
    def num_attributes_(self) -> int:
        """Attributes with a weight."""
        return len(self._model.attributes())

    def _states(self) -> tuple[Array, Array, Array]:
        """Attribute, label and value of each weight of an attribute."""
        ends, labels, weights = self._model.parts()[4:7]
        owners = np.repeat(np.arange(ends.size), np.diff(ends, prepend=0))
        return owners, labels, weights

    def explain(self, label: str, n: int = 10) -> Explanation:
        """The ``n`` strongest weights for and against a label, and those of its neighbours."""
        names = self.classes_
        if label not in names:
            raise ValueError(f"CRF: label: expected one of {', '.join(names)}, got {label!r}")
        owners, labels, weights = self._states()
        own = np.flatnonzero(labels == names.index(label))
        best = own[np.argsort(-np.abs(weights[own]), kind="stable")[:n]]
        attributes = self._model.attributes()
        pairs = [(attributes[owners[i]], float(weights[i])) for i in best]
        transitions = self.transition_features_
        before = {a: weight for (a, b), weight in transitions.items() if b == label}
        after = {b: weight for (a, b), weight in transitions.items() if a == label}
        return Explanation(pairs, _strongest(before, n), _strongest(after, n))

    def info(self) -> Info:
        """Labels, sizes and all weights."""
        transitions, states = self.transition_features_, self.state_features_
        counts = self.num_attributes_, len(states), len(transitions)
        return Info(self.classes_, *counts, transitions, states)

    # Files.

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model to a folder: ``config.json`` and ``model.safetensors``."""
        params = {name: value for name, value in self.get_params().items() if name != "rng"}
        save_model(folder, self._model.parts(), params)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The model that :meth:`save` wrote.

        Raises:
            FormatError: a file is broken; nothing is run that is in it.
            FileNotFoundError: there is no such folder or a file is missing in it.
        """
        model, params = load_model(folder, frozenset(_parameters() - {"rng"}), cls)
        params._fitted = model
        return params


def _parameters() -> set[str]:
    return set(inspect.signature(CRF).parameters)


def _strongest(weights: Mapping[str, float], n: int) -> list[tuple[str, float]]:
    return sorted(weights.items(), key=lambda pair: -abs(pair[1]))[:n]


def _line(row: Row) -> str:
    shown = f"iteration {row['iteration']:4.0f}  loss {row['loss']:.4f}"
    shown += f"  |w| {row['feature_norm']:.3f}  |g| {row['error_norm']:.4f}"
    if "dev_accuracy" in row:
        shown += f"  dev {100 * row['dev_accuracy']:.2f} %"
    return f"{shown}  {row['seconds']:.3f} s"
