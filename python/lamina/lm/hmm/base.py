"""What hidden Markov models share, whatever their states emit."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from lamina import _kernels, random
from lamina.lm.hmm import storage
from lamina.lm.hmm.monitor import Monitor

Array = npt.NDArray[Any]
PathLike = storage.PathLike

_SCORE, _POSTERIORS, _COUNTS = 0, 1, 2


class Observations(NamedTuple):
    """Observations as the kernels take them.

    Attributes:
        values: symbols ``[T]`` or numbers ``[T, D]``, less ``shift``.
        lengths: of the sequences, int64 ``[N]``.
        shift: ``[D]``, or zero: sums of squares are exact only near their mean.
    """

    values: Array
    lengths: Array
    shift: Array


class Statistics(NamedTuple):
    """Expected counts of a data set.

    Attributes:
        start: first states, ``[S]``.
        trans: transitions, ``[S, S]``.
        emissions: what the states emitted, in the form of each family.
    """

    start: Array
    trans: Array
    emissions: Any


class BaseHMM(ABC):
    """A chain of hidden states, each of which emits an observation.

    Together they have the probability::

        p(x, z) = startprob[z_1] prod_t transmat[z_{t-1}, z_t] prod_t p(x_t | z_t)

    Names and conventions are those of hmmlearn: data are ``X`` ``[T, D]`` with the ``lengths`` of
    the sequences in it. Likelihoods are scaled, and computed in logarithms where that would lose
    a state; there is nothing to choose.

    Attributes:
        startprob_: ``[S]``. transmat_: ``[S, S]``, a row for each state left.
        monitor_: the :class:`~lamina.lm.hmm.monitor.Monitor` of the last fit.
    """

    _LETTERS: ClassVar[str]
    _ARRAYS: ClassVar[tuple[str, ...]]
    """Names of the arrays of the emissions, which are saved; the rows of the first are as long as
    observations, or as there are symbols."""
    _EM_WITHIN_STATES = False
    """Whether emissions need several updates where the states are known."""
    _COUNTS_SYMBOLS = False
    """Whether the statistics of the emissions are counts, which can be smoothed."""

    startprob_: Array
    transmat_: Array

    def __init__(
        self,
        n_components: int,
        *,
        startprob_prior: npt.ArrayLike,
        transmat_prior: npt.ArrayLike,
        algorithm: str,
        n_iter: int,
        tol: float,
        n_init: int,
        params: str | None,
        init_params: str | None,
        verbose: bool,
        seed: int | None,
        rng: np.random.Generator | None,
    ) -> None:
        name = type(self).__name__
        for option, value in (
            ("n_components", n_components),
            ("n_iter", n_iter),
            ("n_init", n_init),
        ):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name}: {option}: expected a positive integer, got {value!r}")
        if algorithm not in ("viterbi", "map"):
            raise ValueError(f"{name}: algorithm: expected 'viterbi' or 'map', got {algorithm!r}")
        self.params = self._LETTERS if params is None else params
        self.init_params = self._LETTERS if init_params is None else init_params
        for option, letters in (("params", self.params), ("init_params", self.init_params)):
            if not set(letters) <= set(self._LETTERS):
                raise ValueError(
                    f"{name}: {option}: expected letters of {self._LETTERS!r}, got {letters!r}"
                )
        self.n_components = int(n_components)
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.algorithm = algorithm
        self.n_iter = int(n_iter)
        self.tol = tol
        self.n_init = int(n_init)
        self.verbose = verbose
        self.seed = seed
        self._rng = rng
        self.n_features: int | None = None
        self.monitor_ = self._new_monitor()

    def _new_monitor(self) -> Monitor:
        return Monitor(type(self).__name__, self.tol, self.n_iter, self.verbose)

    def _random(self) -> np.random.Generator:
        return (
            np.random.default_rng(self.seed)
            if self.seed is not None
            else random.generator(self._rng)
        )

    # What families define.

    @abstractmethod
    def _observe(self, X: npt.ArrayLike, *, fitting: bool) -> tuple[Array, Array]:
        """``X`` checked, in the form of the kernels, and its shift."""

    @abstractmethod
    def _init_emissions(self, data: Observations, rng: np.random.Generator) -> None:
        """Start values of the emissions, where ``init_params`` asks for them or they lack."""

    @abstractmethod
    def _check_emissions(self) -> None:
        """Fail unless the parameters of the emissions make sense."""

    @abstractmethod
    def _emit(self, data: Observations) -> tuple[Array, Array | None]:
        """What states think of observations.

        Returns:
            Log-likelihoods ``[T, S]`` and ``None``, or probabilities ``[V, S]`` and symbols.
        """

    @abstractmethod
    def _collect(self, data: Observations, posteriors: Array) -> Any:
        """Statistics of the emissions from the posteriors ``[T, S]`` of the states."""

    @abstractmethod
    def _maximize_emissions(self, emissions: Any) -> None:
        """The best parameters for these statistics."""

    @abstractmethod
    def _emission_log_prior(self) -> float:
        """Logarithm of the prior of the parameters, less a constant."""

    @abstractmethod
    def _emission_parameters(self) -> int:
        """How many numbers the emissions are free to choose."""

    @abstractmethod
    def _draw(self, states: Array, rng: np.random.Generator) -> Array:
        """An observation for each of ``states`` ``[T]``."""

    # Estimation.

    def fit(
        self,
        X: npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Estimate the parameters by expectation-maximisation (Baum-Welch).

        Args:
            X: observations ``[T, D]``.
            lengths: of the sequences in ``X``, ``[N]``; without, it is one.
            sample_weight: how much each sequence counts, ``[N]``.

        Raises:
            ValueError: no observations, or a sequence is impossible under the start values.

        Warns:
            UserWarning: the likelihood fell, or states were never visited.
        """
        data = self._observations(X, lengths, fitting=True)
        if not len(data.values):
            raise ValueError(f"{type(self).__name__}: X: expected at least one observation, got 0")
        weights = self._sample_weight(sample_weight, len(data.lengths))
        rng = self._random()
        best: tuple[float, dict[str, Array], Monitor] | None = None
        for _ in range(self.n_init):
            self._init(data, rng)
            self._check()
            self._run(data, weights)
            if self.n_init > 1:
                found = self._expect(data, weights, _SCORE)[1] + self._log_prior()
                if best is None or found > best[0]:
                    best = found, self._state(), self.monitor_
        if best is not None:
            self._set_state(best[1])
            self.monitor_ = best[2]
        return self

    def _run(self, data: Observations, weights: Array | None) -> None:
        self.monitor_ = self._new_monitor()
        for _ in range(self.n_iter):
            statistics, log_likelihood = self._expect(data, weights, _COUNTS)
            if not math.isfinite(log_likelihood):
                raise ValueError(
                    f"{type(self).__name__}: X: a sequence has probability zero under the "
                    f"parameters, so nothing can be learnt from it"
                )
            log_prior = self._log_prior()
            self._maximize(statistics)
            self.monitor_.report(log_likelihood, log_prior)
            if self.monitor_.converged:
                break

    def fit_supervised(
        self,
        X: npt.ArrayLike,
        states: npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        smoothing: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Estimate the parameters by counting, where the states are known.

        Args:
            X: observations ``[T, D]``.
            states: the state of each, ``[T]``.
            lengths: of the sequences in ``X``, ``[N]``; without, it is one.
            smoothing: added to each count of first states, transitions and symbols.
            sample_weight: how much each sequence counts, ``[N]``.
        """
        name = type(self).__name__
        data = self._observations(X, lengths, fitting=True)
        path = np.asarray(states)
        if path.shape != (len(data.values),) or path.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: states: expected integers [{len(data.values)}], "
                f"got {path.dtype} of shape {list(path.shape)}"
            )
        if not len(path):
            raise ValueError(f"{name}: X: expected at least one observation, got 0")
        size = self.n_components
        if path.min() < 0 or path.max() >= size:
            raise ValueError(
                f"{name}: states: expected 0 to {size - 1}, got {path.min()} to {path.max()}"
            )
        if not smoothing >= 0:
            raise ValueError(f"{name}: smoothing: expected 0 or more, got {smoothing}")
        weights = self._sample_weight(sample_weight, len(data.lengths))
        each = np.ones(len(path)) if weights is None else np.repeat(weights, data.lengths)
        ends = np.cumsum(data.lengths)
        first = (ends - data.lengths)[data.lengths > 0]
        start = np.bincount(path[first], each[first], size) + smoothing
        inside = np.ones(len(path), bool)
        inside[first] = False
        pairs = np.ravel_multi_index((path[:-1][inside[1:]], path[inside]), (size, size))
        trans = np.bincount(pairs, each[inside], size * size).reshape(size, size) + smoothing
        # A start that forbids nothing, as counts alone should say what is possible.
        self.startprob_ = np.full(size, 1 / size)
        self.transmat_ = np.full((size, size), 1 / size)
        self._init_emissions(data, self._random())
        for _ in range(self.n_iter if self._EM_WITHIN_STATES else 1):
            emissions = self._collect_known(data, path, each)
            if self._COUNTS_SYMBOLS:
                emissions = emissions + smoothing
            self._maximize(Statistics(start, trans, emissions))
        self.monitor_ = self._new_monitor()
        return self

    def _collect_known(self, data: Observations, path: Array, each: Array) -> Any:
        posteriors = np.zeros((len(path), self.n_components))
        posteriors[np.arange(len(path)), path] = each
        return self._collect(data, posteriors)

    def _init(self, data: Observations, rng: np.random.Generator) -> None:
        size = self.n_components
        if self._needs("s", "startprob_"):
            self.startprob_ = rng.dirichlet(np.full(size, 1 / size))
        if self._needs("t", "transmat_"):
            self.transmat_ = rng.dirichlet(np.full(size, 1 / size), size)
        self._init_emissions(data, rng)

    def _needs(self, letter: str, name: str) -> bool:
        return letter in self.init_params or getattr(self, name, None) is None

    def _expect(
        self, data: Observations, weights: Array | None, want: int
    ) -> tuple[Statistics, float]:
        emissions, symbols = self._emit(data)
        logs, start, trans, counts, posteriors = _kernels.hmm_expect(
            self.startprob_, self.transmat_, emissions, symbols, data.lengths, weights, want
        )
        # Not minus infinity times nothing.
        total = logs.sum() if weights is None else (logs[weights > 0] @ weights[weights > 0])
        emitted: Any = None
        if want == _COUNTS:
            emitted = counts if symbols is not None else self._collect(data, posteriors)
        elif want == _POSTERIORS:
            emitted = posteriors
        return Statistics(start, trans, emitted), float(total)

    def _maximize(self, statistics: Statistics) -> None:
        if "s" in self.params:
            self.startprob_ = distribution(
                statistics.start, self.startprob_prior, self.startprob_, zeros=True
            )
        if "t" in self.params:
            self.transmat_ = distribution(
                statistics.trans, self.transmat_prior, self.transmat_, zeros=True
            )
        self._maximize_emissions(statistics.emissions)

    def _log_prior(self) -> float:
        total = log_dirichlet(self.startprob_, self.startprob_prior)
        total += log_dirichlet(self.transmat_, self.transmat_prior)
        return total + self._emission_log_prior()

    # Checks.

    def _observations(
        self, X: npt.ArrayLike, lengths: npt.ArrayLike | None, *, fitting: bool = False
    ) -> Observations:
        if not fitting:
            self._check()
        values, shift = self._observe(X, fitting=fitting)
        given = np.array([len(values)]) if lengths is None else np.asarray(lengths)
        if given.size == 0:
            given = given.astype(np.int64)
        if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
            raise ValueError(
                f"{type(self).__name__}: lengths: expected integers [N] from 0 on, "
                f"got {given.dtype} of shape {list(given.shape)}"
            )
        if given.sum() != len(values):
            raise ValueError(
                f"{type(self).__name__}: lengths: expected a sum of {len(values)}, "
                f"got {given.sum()}"
            )
        return Observations(values, given.astype(np.int64), shift)

    def _numbers(self, X: npt.ArrayLike, *, fitting: bool) -> Array:
        """``X`` as float64 ``[T, D]``."""
        name = type(self).__name__
        values = np.asarray(X)
        if values.ndim != 2 or values.dtype.kind not in "iufb":
            raise ValueError(
                f"{name}: X: expected numbers [T, D], "
                f"got {values.dtype} of shape {list(values.shape)}"
            )
        values = np.ascontiguousarray(values, np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: X: expected finite numbers, got NaN or infinity")
        if not values.shape[1]:
            raise ValueError(f"{name}: X: expected at least one column, got none")
        if fitting and self._takes_size():
            self.n_features = values.shape[1]
        elif self._columns() != values.shape[1]:
            raise ValueError(
                f"{name}: X: expected {self.n_features} columns, got {values.shape[1]}"
            )
        return values

    def _columns(self) -> int:
        """D or V, where the parameters say it."""
        if self.n_features is None:
            self.n_features = np.shape(getattr(self, self._ARRAYS[0], [[0]]))[-1]
        return self.n_features

    def _takes_size(self) -> bool:
        """Whether a fit may choose the number of columns."""
        known = [getattr(self, name, None) is not None for name in self._ARRAYS]
        fixed = set(self._LETTERS) - set("st") - set(self.init_params)
        return not (fixed and any(known))

    def _sample_weight(self, given: npt.ArrayLike | None, count: int) -> Array | None:
        if given is None:
            return None
        weights = np.ascontiguousarray(given, np.float64)
        if weights.shape != (count,) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(
                f"{type(self).__name__}: sample_weight: expected {count} numbers from 0 on, "
                f"one of each sequence, got shape {list(weights.shape)}"
            )
        return weights

    def _check(self) -> None:
        if getattr(self, "startprob_", None) is None or getattr(self, "transmat_", None) is None:
            raise RuntimeError(
                f"{type(self).__name__}: not fitted yet: call fit, or set its parameters"
            )
        size = self.n_components
        self.startprob_ = self._probabilities("startprob_", (size,))
        self.transmat_ = self._probabilities("transmat_", (size, size))
        self._check_emissions()

    def _probabilities(self, name: str, shape: tuple[int, ...]) -> Array:
        array = self._array(name, shape)
        if (array < 0).any() or not np.allclose(array.sum(-1), 1):
            raise ValueError(
                f"{type(self).__name__}: {name}: expected probabilities whose rows sum to 1"
            )
        return array

    def _array(self, name: str, shape: tuple[int, ...]) -> Array:
        if getattr(self, name, None) is None:
            raise RuntimeError(f"{type(self).__name__}: {name} is not set: call fit, or set it")
        array = np.ascontiguousarray(getattr(self, name), np.float64)
        if array.shape != shape:
            raise ValueError(
                f"{type(self).__name__}: {name}: expected shape {list(shape)}, "
                f"got {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{type(self).__name__}: {name}: expected finite numbers")
        return array

    # Use.

    def score(self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> float:
        """Log-likelihood of the observations; minus infinity where they are impossible."""
        return float(self.score_sequences(X, lengths).sum())

    def score_sequences(self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> Array:
        """Log-likelihood of each sequence, ``[N]``."""
        data = self._observations(X, lengths)
        emissions, symbols = self._emit(data)
        return _kernels.hmm_expect(
            self.startprob_, self.transmat_, emissions, symbols, data.lengths, None, _SCORE
        )[0]

    def score_samples(
        self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Log-likelihood and the posteriors ``[T, S]`` of the states.

        The posteriors of a sequence that is impossible are zero.
        """
        statistics, total = self._expect(self._observations(X, lengths), None, _POSTERIORS)
        return total, statistics.emissions

    def predict_proba(self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> Array:
        """Posteriors ``[T, S]`` of the states."""
        return self.score_samples(X, lengths)[1]

    def decode(
        self,
        X: npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        algorithm: str | None = None,
    ) -> tuple[float, Array]:
        """The states that explain the observations best.

        Args:
            X: observations ``[T, D]``.
            lengths: of the sequences in ``X``, ``[N]``; without, it is one.
            algorithm: ``"viterbi"`` for the most likely path, ``"map"`` for the most likely state
                of each observation; by default that of the model.

        Returns:
            The log-probability of the paths, or for ``"map"`` the expected number of states that
            are right; and the states, int64 ``[T]``.
        """
        chosen = self.algorithm if algorithm is None else algorithm
        if chosen == "map":
            posteriors = self.predict_proba(X, lengths)
            return float(posteriors.max(1).sum()), posteriors.argmax(1)
        if chosen != "viterbi":
            raise ValueError(
                f"{type(self).__name__}: algorithm: expected 'viterbi' or 'map', got {chosen!r}"
            )
        data = self._observations(X, lengths)
        emissions, symbols = self._emit(data)
        if symbols is not None:
            with np.errstate(divide="ignore"):
                emissions = np.log(emissions)
        logs, path = _kernels.hmm_decode(
            self.startprob_, self.transmat_, emissions, symbols, data.lengths
        )
        return float(logs.sum()), path.astype(np.int64)

    def predict(self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> Array:
        """The states of :meth:`decode`."""
        return self.decode(X, lengths)[1]

    def sample(
        self,
        n_samples: int = 1,
        *,
        currstate: int | None = None,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Array]:
        """Draw a sequence of observations and the states behind it.

        Args:
            n_samples: T.
            currstate: the first state; by default it is drawn too.
            seed: makes the draws repeat; without it they come from ``rng``.
            rng: source of the draws; by default the library's generator.

        Returns:
            ``X`` ``[T, D]`` and states ``[T]``.
        """
        self._check()
        source = random.generator(rng) if seed is None else np.random.default_rng(seed)
        states = np.empty(n_samples, np.int64)
        steps = np.cumsum(self.transmat_, 1)
        edges, draws = np.cumsum(self.startprob_), source.random(n_samples)
        for t in range(n_samples):
            if t == 0 and currstate is not None:
                states[t] = currstate
            else:
                # The sum of a row may be a little below one.
                states[t] = np.searchsorted(edges / edges[-1], draws[t], side="right")
            edges = steps[states[t]]
        return self._draw(states, source), states

    def get_stationary_distribution(self) -> Array:
        """Probabilities of the states after many steps, ``[S]``."""
        self._check()
        size = self.n_components
        system = np.vstack([self.transmat_.T - np.eye(size), np.ones(size)])
        found = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]
        found = np.maximum(found, 0)
        return found / found.sum()

    @property
    def num_parameters(self) -> int:
        """How many numbers the model is free to choose."""
        size = self.n_components
        return size - 1 + size * (size - 1) + self._emission_parameters()

    def aic(self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> float:
        """Akaike's criterion, ``2 num_parameters - 2 score``; lower is better."""
        return 2 * self.num_parameters - 2 * self.score(X, lengths)

    def bic(self, X: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> float:
        """Bayes' criterion, ``num_parameters ln T - 2 score``; lower is better."""
        return self.num_parameters * math.log(len(np.asarray(X))) - 2 * self.score(X, lengths)

    # Files.

    def _options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "n_components": self.n_components,
            "startprob_prior": self.startprob_prior,
            "transmat_prior": self.transmat_prior,
            "algorithm": self.algorithm,
            "n_iter": self.n_iter,
            "tol": self.tol,
            "n_init": self.n_init,
            "params": self.params,
            "init_params": self.init_params,
            "seed": self.seed,
        }

    def _state(self) -> dict[str, Array]:
        names = ("startprob_", "transmat_", *self._ARRAYS)
        return {name: np.array(getattr(self, name)) for name in names}

    def _set_state(self, state: dict[str, Array]) -> None:
        for name, array in state.items():
            setattr(self, name, array)

    def save(self, folder: PathLike) -> None:
        """Write the model to a folder that :meth:`load` reads, whole or not."""
        self._check()
        storage.save(folder, type(self).__name__, self._options(), self._state())

    @classmethod
    def load(cls, folder: PathLike) -> Self:
        """Read a model that :meth:`save` wrote.

        Raises:
            FormatError: the folder holds another kind of model, or a broken one.
        """
        options, state = storage.load(folder, cls.__name__)
        with storage.refusing(folder):
            model = cls(**options)
            expected = {"startprob_", "transmat_", *cls._ARRAYS}
            if set(state) != expected:
                raise ValueError(f"expected the arrays {sorted(expected)}, got {sorted(state)}")
            model._set_state(state)
            model._check()
        return model

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_components={self.n_components})"


def distribution(
    counts: Array, prior: npt.ArrayLike, before: Array, *, zeros: bool = False
) -> Array:
    """The rows most likely after ``counts`` under a Dirichlet ``prior``.

    Without any count they are those of ``before``; ``zeros`` says whether what was impossible
    stays so.
    """
    weights = np.maximum(counts + np.asarray(prior, np.float64) - 1, 0)
    if zeros:
        weights = np.where(before == 0, 0, weights)
    sums = weights.sum(-1, keepdims=True)
    return np.where(sums > 0, weights / np.where(sums > 0, sums, 1), before)


def log_dirichlet(probabilities: Array, prior: npt.ArrayLike) -> float:
    """Logarithm of a Dirichlet prior, less a constant; what is impossible counts for nothing."""
    weights = np.broadcast_to(np.asarray(prior, np.float64) - 1, probabilities.shape)
    if not weights.any():
        return 0.0
    possible = probabilities > 0
    return float(weights[possible] @ np.log(probabilities[possible]))
