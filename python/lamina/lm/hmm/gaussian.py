"""Hidden Markov models whose states emit vectors of a normal distribution."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.lm.hmm import clusters, covariances
from lamina.lm.hmm.base import Array, BaseHMM, Observations

# Observations that a state must be worth for its covariance to be estimated anew: below that the
# prior would be divided by nearly nothing.
_LEAST_MASS = 1e-5


class Moments(NamedTuple):
    """Sums over observations, weighted by the posterior of each component.

    Attributes:
        mass: of the weights, ``[K]``.
        first: of the observations, ``[K, D]``.
        second: of their squares ``[K, D]`` or products ``[K, D, D]``.
        shift: what the observations are less by, ``[D]``.
    """

    mass: Array
    first: Array
    second: Array
    shift: Array


def moments(data: Observations, weights: Array, *, pairs: bool) -> Moments:
    """The moments of observations for ``weights`` ``[T, K]``."""
    d = data.values.shape[1]
    sums = _kernels.hmm_moments(weights, data.values, 2 if pairs else 1)
    second = covariances.unpack(sums[:, d + 1 :], d) if pairs else sums[:, d + 1 :]
    return Moments(sums[:, 0], sums[:, 1 : d + 1], second, data.shift)


def scatter(found: Moments, means: Array) -> Array:
    """Weighted squares or products of the distances from ``means`` ``[K, D]``."""
    if found.second.ndim == 2:
        return found.second - 2 * means * found.first + means**2 * found.mass[:, None]
    cross = found.first[:, :, None] * means[:, None, :]
    square = means[:, :, None] * means[:, None, :]
    return found.second - cross - np.swapaxes(cross, 1, 2) + square * found.mass[:, None, None]


class GaussianHMM(BaseHMM):
    """States emit vectors of normal distributions.

    The likelihood is::

        p(x_t | z_t = s) = N(x_t; means[s], covars[s])

    Priors are those of hmmlearn, by default a weak one on the covariances: what rises with each
    update is the log-likelihood and their logarithm together. No variance in any direction falls
    below 1e-7 of the data's. A state that no observation visits keeps its parameters.

    Attributes:
        means_: ``[S, D]``; at the start of a fit those of k-means.
        covars_: ``[S, D, D]``. They may be set so, or as what they depend on: ``[S]`` for
            ``"spherical"``, ``[S, D]`` for ``"diag"``, ``[D, D]`` for ``"tied"``.

    Args:
        n_components: S.
        covariance_type: ``"spherical"``: one variance a state; ``"diag"``: one a dimension;
            ``"full"``: a matrix; ``"tied"``: a matrix for all states.
        min_covar: added to the variances at the start.
        startprob_prior: parameters of the Dirichlet prior of ``startprob_``, ``[S]`` or a number.
        transmat_prior: those of the rows of ``transmat_``, ``[S, S]`` or a number.
        means_prior: mean of the normal prior of ``means_``, ``[S, D]`` or a number.
        means_weight: how many observations that is worth.
        covars_prior: scatter that is added to that of the data; where covariances are matrices, to
            each of their entries.
        covars_weight: one more, or for matrices D more, than the observations that is worth.
        algorithm: that of ``decode``, ``"viterbi"`` or ``"map"``.
        n_iter: updates at most.
        tol: stop when one gains less than this.
        n_init: starts, of which the best counts.
        params: what a fit updates: ``s``tart, ``t``ransitions, ``m``eans, ``c``ovariances; all.
        init_params: what it starts anew; the rest starts from what it is.
        verbose: print each update to the standard error.
        seed: makes the start values repeat; without it they come from ``rng``.
        rng: source of the start values; by default the library's generator.

    Reference:
        Huang, Acero & Hon, Spoken Language Processing, 2001, chapter 8.
    """

    _LETTERS: ClassVar[str] = "stmc"
    _ARRAYS: ClassVar[tuple[str, ...]] = ("means_", "_covars_")

    means_: Array
    _covars_: Array

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        *,
        min_covar: float = 1e-3,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        means_prior: npt.ArrayLike = 0.0,
        means_weight: float = 0.0,
        covars_prior: float = 1e-2,
        covars_weight: float = 1.0,
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
        if covariance_type not in covariances.TYPES:
            raise ValueError(
                f"GaussianHMM: covariance_type: expected one of {covariances.TYPES}, "
                f"got {covariance_type!r}"
            )
        self._least = min_covar
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight

    def _options(self) -> dict[str, Any]:
        return {
            **super()._options(),
            "covariance_type": self.covariance_type,
            "min_covar": self.min_covar,
            "means_prior": self.means_prior,
            "means_weight": self.means_weight,
            "covars_prior": self.covars_prior,
            "covars_weight": self.covars_weight,
        }

    @property
    def covars_(self) -> Array:
        """Covariances of the states, ``[S, D, D]``."""
        self._check_emissions()
        return covariances.matrices(self._covars_, self.covariance_type, self.means_.shape)

    @covars_.setter
    def covars_(self, covars: npt.ArrayLike) -> None:
        self._covars_ = covariances.compact(covars, self.covariance_type)

    @property
    def _pairs(self) -> bool:
        return self.covariance_type in ("full", "tied")

    def _observe(self, X: npt.ArrayLike, *, fitting: bool) -> tuple[Array, Array]:
        values = self._numbers(X, fitting=fitting)
        if not fitting or not len(values):
            return values, np.zeros(values.shape[1])
        self._least = covariances.least(values, self.min_covar)
        shift = values.mean(0)
        return values - shift, shift

    def _init_emissions(self, data: Observations, rng: np.random.Generator) -> None:
        if self._needs("m", "means_"):
            self.means_ = clusters.means(data.values, self.n_components, rng)[0] + data.shift
        if self._needs("c", "_covars_"):
            whole = covariances.of_data(data.values, self.min_covar)
            size = self.n_components
            covars = {
                "spherical": np.full(size, np.diagonal(whole).mean()),
                "diag": np.tile(np.diagonal(whole), (size, 1)),
                "full": np.tile(whole, (size, 1, 1)),
                "tied": whole,
            }[self.covariance_type]
            self._covars_ = covariances.floored(covars, self.covariance_type, self._least)

    def _check_emissions(self) -> None:
        shape = (self.n_components, self._columns())
        self.means_ = self._array("means_", shape)
        if getattr(self, "_covars_", None) is None:
            raise RuntimeError("GaussianHMM: covars_ is not set: call fit, or set it")
        self._covars_ = covariances.check("GaussianHMM", self._covars_, self.covariance_type, shape)

    def _emit(self, data: Observations) -> tuple[Array, Array | None]:
        means = self.means_ - data.shift
        covars = covariances.by_component(self._covars_, self.covariance_type, means.shape)
        return covariances.log_densities(data.values, means, covars), None

    def _collect(self, data: Observations, posteriors: Array) -> Moments:
        return moments(data, posteriors, pairs=self._pairs)

    def _maximize_emissions(self, emissions: Moments) -> None:
        mass = emissions.mass[:, None]
        weight = self.means_weight
        means = self.means_ - emissions.shift
        prior = np.asarray(self.means_prior, np.float64) - emissions.shift
        if "m" in self.params:
            seen = weight + mass > 0
            found = (weight * prior + emissions.first) / np.where(seen, weight + mass, 1)
            means = np.where(seen, found, means)
            self.means_ = means + emissions.shift
        if "c" in self.params:
            self._maximize_covars(scatter(emissions, means), emissions.mass, means - prior)

    def _maximize_covars(self, spread: Array, mass: Array, away: Array) -> None:
        kind = self.covariance_type
        total = self._prior_weight() + mass
        spread = spread + self._prior_scatter(away)
        if kind in ("diag", "spherical"):
            found = spread / np.maximum(total, _LEAST_MASS)[:, None]
            new = found if kind == "diag" else found.mean(1)
        elif kind == "tied":
            # The prior counts once, whatever the number of states.
            extra = self.covars_prior * (len(mass) - 1)
            new = (spread.sum(0) - extra) / (self._prior_weight() + mass.sum())
        else:
            new = spread / np.maximum(total, _LEAST_MASS)[:, None, None]
        new = covariances.floored(new, kind, self._least)
        if kind == "tied":
            self._covars_ = new
        else:
            seen = (mass >= _LEAST_MASS).reshape(-1, *[1] * (new.ndim - 1))
            self._covars_ = np.where(seen, new, self._covars_)

    def _prior_weight(self) -> float:
        """Observations that the prior of the covariances is worth."""
        less = self._columns() if self._pairs else 1
        return max(self.covars_weight - less, 0)

    def _prior_scatter(self, away: Array) -> Array:
        """Scatter that the priors add, from the distances of the means from their prior."""
        square = away[:, :, None] * away[:, None, :] if self._pairs else away**2
        return self.covars_prior + self.means_weight * square

    def _emission_log_prior(self) -> float:
        away = self.means_ - np.asarray(self.means_prior, np.float64)
        extra, kind = self._prior_scatter(away), self.covariance_type
        weight = np.asarray(self._prior_weight())
        if kind == "spherical":
            d = self.means_.shape[1]
            return covariances.log_prior(self._covars_, kind, extra.sum(1), d * weight)
        if kind == "tied":
            extra = extra.sum(0) - self.covars_prior * (self.n_components - 1)
        return covariances.log_prior(self._covars_, kind, extra, weight)

    def _emission_parameters(self) -> int:
        size, d = self.n_components, self._columns()
        return (
            size * d
            + {
                "spherical": size,
                "diag": size * d,
                "full": size * d * (d + 1) // 2,
                "tied": d * (d + 1) // 2,
            }[self.covariance_type]
        )

    def _draw(self, states: Array, rng: np.random.Generator) -> Array:
        covars = self.covars_
        out = np.empty((len(states), self.means_.shape[1]))
        for state in np.unique(states):
            chosen = states == state
            noise = rng.standard_normal((int(chosen.sum()), out.shape[1]))
            out[chosen] = self.means_[state] + noise @ covariances.factor(covars[state]).T
        return out
