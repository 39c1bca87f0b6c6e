"""Hidden Markov models whose states emit counts: Poisson and multinomial distributions."""

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.lm.hmm.base import Array, BaseHMM, Observations, distribution, log_dirichlet


class _CountHMM(BaseHMM):
    """What models of counts share."""

    def _observe(self, X: npt.ArrayLike, *, fitting: bool) -> tuple[Array, Array]:
        values = self._numbers(X, fitting=fitting)
        if (values < 0).any() or (values != np.floor(values)).any():
            raise ValueError(f"{type(self).__name__}: X: expected counts, integers from 0 on")
        return values, np.zeros(1)

    def _logs(self, x: Array, rates: Array, offsets: Array, base: Array) -> Array:
        with np.errstate(divide="ignore"):
            log_rates = np.log(np.ascontiguousarray(rates.T))
        return _kernels.hmm_counts(x, log_rates, offsets, base)

    def _collect(self, data: Observations, posteriors: Array) -> Array:
        """Mass of each state and the sums of its counts, ``[S, 1 + D]``."""
        return _kernels.hmm_moments(posteriors, data.values, 0)


class PoissonHMM(_CountHMM):
    """States emit independent counts of Poisson distributions.

    The likelihood is::

        p(x_t | z_t = s) = prod_d Poisson(x_td; lambdas[s, d])

    Attributes:
        lambdas_: ``[S, D]``; at the start of a fit drawn so that mean and variance are the data's.

    Args:
        n_components: S.
        startprob_prior: parameters of the Dirichlet prior of ``startprob_``, ``[S]`` or a number.
        transmat_prior: those of the rows of ``transmat_``, ``[S, S]`` or a number.
        lambdas_prior: added to the sums of the counts, ``[S, D]`` or a number: one less than the
            shape of a gamma prior.
        lambdas_weight: observations that this is worth, its rate.
        algorithm: that of ``decode``, ``"viterbi"`` or ``"map"``.
        n_iter: updates at most.
        tol: stop when one gains less than this.
        n_init: starts, of which the best counts.
        params: what a fit updates: ``s``tart, ``t``ransitions, ``l``ambdas; all of them.
        init_params: what it starts anew; the rest starts from what it is.
        verbose: print each update to the standard error.
        seed: makes the start values repeat; without it they come from ``rng``.
        rng: source of the start values; by default the library's generator.
    """

    _LETTERS: ClassVar[str] = "stl"
    _ARRAYS: ClassVar[tuple[str, ...]] = ("lambdas_",)

    lambdas_: Array

    def __init__(
        self,
        n_components: int = 1,
        *,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        lambdas_prior: npt.ArrayLike = 0.0,
        lambdas_weight: npt.ArrayLike = 0.0,
        algorithm: str = "viterbi",
        n_iter: int = 10,
        tol: float = 1e-2,
        n_init: int = 1,
        params: str | None = None,
        init_params: str | None = None,
        verbose: bool = False,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            n_components,
            startprob_prior=startprob_prior,
            transmat_prior=transmat_prior,
            algorithm=algorithm,
            n_iter=n_iter,
            tol=tol,
            n_init=n_init,
            params=params,
            init_params=init_params,
            verbose=verbose,
            seed=seed,
            rng=rng,
        )
        self.lambdas_prior = lambdas_prior
        self.lambdas_weight = lambdas_weight

    def _options(self) -> dict[str, Any]:
        return {
            **super()._options(),
            "lambdas_prior": self.lambdas_prior,
            "lambdas_weight": self.lambdas_weight,
        }

    def _init_emissions(self, data: Observations, rng: np.random.Generator) -> None:
        if self._needs("l", "lambdas_"):
            mean, variance = max(data.values.mean(), 1e-3), max(data.values.var(), 1e-3)
            shape = self.n_components, data.values.shape[1]
            drawn = rng.gamma(mean**2 / variance, variance / mean, shape)
            self.lambdas_ = np.maximum(drawn, 1e-3 * mean)

    def _check_emissions(self) -> None:
        shape = self.n_components, self._columns()
        self.lambdas_ = self._array("lambdas_", shape)
        if (self.lambdas_ < 0).any():
            raise ValueError("PoissonHMM: lambdas_: expected rates from 0 on")

    def _emit(self, data: Observations) -> tuple[Array, Array | None]:
        rates = self.lambdas_
        return self._logs(data.values, rates, rates.sum(1), -log_factorials(data.values)), None

    def _maximize_emissions(self, emissions: Array) -> None:
        if "l" in self.params:
            total: Array = emissions[:, :1] + np.asarray(self.lambdas_weight, np.float64)
            seen = total > 0
            found = (emissions[:, 1:] + self.lambdas_prior) / np.where(seen, total, 1)
            self.lambdas_ = np.where(seen, found, self.lambdas_)

    def _emission_log_prior(self) -> float:
        shape = np.asarray(self.lambdas_prior, np.float64)
        total = -(self.lambdas_ * self.lambdas_weight).sum()
        if shape.any():
            total += (shape * np.log(np.maximum(self.lambdas_, 1e-300))).sum()
        return float(total)

    def _emission_parameters(self) -> int:
        return self.n_components * (self._columns())

    def _draw(self, states: Array, rng: np.random.Generator) -> Array:
        return rng.poisson(self.lambdas_[states])


class MultinomialHMM(_CountHMM):
    """States emit how often each of V symbols came in some trials.

    The likelihood is::

        p(x_t | z_t = s) = Multinomial(x_t; sum_v x_tv, emissionprob[s])

    Attributes:
        emissionprob_: ``[S, V]``; at the start of a fit random rows.

    Args:
        n_components: S.
        n_trials: trials of an observation; checked where given, and needed to sample.
        startprob_prior: parameters of the Dirichlet prior of ``startprob_``, ``[S]`` or a number.
        transmat_prior: those of the rows of ``transmat_``, ``[S, S]`` or a number.
        emissionprob_prior: those of the rows of ``emissionprob_``, ``[S, V]`` or a number.
        algorithm: that of ``decode``, ``"viterbi"`` or ``"map"``.
        n_iter: updates at most.
        tol: stop when one gains less than this.
        n_init: starts, of which the best counts.
        params: what a fit updates: ``s``tart, ``t``ransitions, ``e``missions; all of them.
        init_params: what it starts anew; the rest starts from what it is.
        verbose: print each update to the standard error.
        seed: makes the start values repeat; without it they come from ``rng``.
        rng: source of the start values; by default the library's generator.
    """

    _LETTERS: ClassVar[str] = "ste"
    _ARRAYS: ClassVar[tuple[str, ...]] = ("emissionprob_",)
    _COUNTS_SYMBOLS = True

    emissionprob_: Array

    def __init__(
        self,
        n_components: int = 1,
        *,
        n_trials: int | None = None,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        emissionprob_prior: npt.ArrayLike = 1.0,
        algorithm: str = "viterbi",
        n_iter: int = 10,
        tol: float = 1e-2,
        n_init: int = 1,
        params: str | None = None,
        init_params: str | None = None,
        verbose: bool = False,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            n_components,
            startprob_prior=startprob_prior,
            transmat_prior=transmat_prior,
            algorithm=algorithm,
            n_iter=n_iter,
            tol=tol,
            n_init=n_init,
            params=params,
            init_params=init_params,
            verbose=verbose,
            seed=seed,
            rng=rng,
        )
        self.n_trials = n_trials
        self.emissionprob_prior = emissionprob_prior

    def _options(self) -> dict[str, Any]:
        return {
            **super()._options(),
            "n_trials": self.n_trials,
            "emissionprob_prior": self.emissionprob_prior,
        }

    def _observe(self, X: npt.ArrayLike, *, fitting: bool) -> tuple[Array, Array]:
        values, shift = super()._observe(X, fitting=fitting)
        if self.n_trials is not None and (values.sum(1) != self.n_trials).any():
            raise ValueError(
                f"MultinomialHMM: X: expected rows that sum to n_trials, {self.n_trials}"
            )
        return values, shift

    def _init_emissions(self, data: Observations, rng: np.random.Generator) -> None:
        if self._needs("e", "emissionprob_"):
            rows = rng.random((self.n_components, data.values.shape[1]))
            self.emissionprob_ = rows / rows.sum(1, keepdims=True)

    def _check_emissions(self) -> None:
        shape = self.n_components, self._columns()
        self.emissionprob_ = self._probabilities("emissionprob_", shape)

    def _emit(self, data: Observations) -> tuple[Array, Array | None]:
        x = data.values
        base = log_factorials(x.sum(1, keepdims=True)) - log_factorials(x)
        return self._logs(x, self.emissionprob_, np.zeros(self.n_components), base), None

    def _maximize_emissions(self, emissions: Array) -> None:
        if "e" in self.params:
            self.emissionprob_ = distribution(
                emissions[:, 1:], self.emissionprob_prior, self.emissionprob_
            )

    def _emission_log_prior(self) -> float:
        return log_dirichlet(self.emissionprob_, self.emissionprob_prior)

    def _emission_parameters(self) -> int:
        return self.n_components * (self._columns() - 1)

    def _draw(self, states: Array, rng: np.random.Generator) -> Array:
        if self.n_trials is None:
            raise ValueError("MultinomialHMM: n_trials: expected a number to sample, got None")
        return rng.multinomial(self.n_trials, self.emissionprob_[states])


def log_factorials(counts: Array) -> Array:
    """Sum of the logarithms of the factorials of each row of ``counts`` ``[T, D]``."""
    values, places = np.unique(counts, return_inverse=True)
    logs = np.array([math.lgamma(value + 1) for value in values.tolist()])
    return logs[places.reshape(counts.shape)].sum(1)
