"""Hidden Markov models whose states emit vectors of a mixture of normal distributions."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lamina import _kernels
from lamina.lm.hmm import clusters, covariances
from lamina.lm.hmm.base import Array, BaseHMM, Observations, log_dirichlet
from lamina.lm.hmm.gaussian import Moments, moments, scatter


class GMMHMM(BaseHMM):
    """States emit vectors of mixtures of normal distributions.

    The likelihood is::

        p(x_t | z_t = s) = sum_m weights[s, m] N(x_t; means[s, m], covars[s, m])

    Priors are those of hmmlearn, by default none. No variance in any direction falls below 1e-7 of
    the data's. A component without observations keeps its parameters.

    Attributes:
        weights_: ``[S, M]``; at the start of a fit equal ones.
        means_: ``[S, M, D]``; at the start those of k-means.
        covars_: ``[S, M]`` for ``"spherical"``, ``[S, M, D]`` for ``"diag"``, ``[S, M, D, D]`` for
            ``"full"``, and for ``"tied"`` ``[S, D, D]``: one for the components of a state.

    Args:
        n_components: S.
        n_mix: M.
        covariance_type: as above.
        min_covar: added to the variances at the start.
        startprob_prior: parameters of the Dirichlet prior of ``startprob_``, ``[S]`` or a number.
        transmat_prior: those of the rows of ``transmat_``, ``[S, S]`` or a number.
        weights_prior: those of the rows of ``weights_``, ``[S, M]`` or a number.
        means_prior: mean of the normal prior of ``means_``, ``[S, M, D]`` or a number.
        means_weight: how many observations that is worth, ``[S, M]`` or a number.
        covars_prior: first parameter of the prior of ``covars_``: the shape of the inverse gamma
            distribution, or the scatter of the inverse Wishart distribution.
        covars_weight: the second: its scale, or its degrees of freedom.
        algorithm: that of ``decode``, ``"viterbi"`` or ``"map"``.
        n_iter: updates at most.
        tol: stop when one gains less than this.
        n_init: starts, of which the best counts.
        params: what a fit updates: ``s``tart, ``t``ransitions, ``m``eans, ``c``ovariances,
            ``w``eights; all of them.
        init_params: what it starts anew; the rest starts from what it is.
        verbose: print each update to the standard error.
        seed: makes the start values repeat; without it they come from ``rng``.
        rng: source of the start values; by default the library's generator.
    """

    _LETTERS: ClassVar[str] = "stmcw"
    _ARRAYS: ClassVar[tuple[str, ...]] = ("means_", "covars_", "weights_")
    _EM_WITHIN_STATES = True

    weights_: Array
    means_: Array
    covars_: Array

    def __init__(
        self,
        n_components: int = 1,
        n_mix: int = 1,
        covariance_type: str = "diag",
        *,
        min_covar: float = 1e-3,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        weights_prior: npt.ArrayLike = 1.0,
        means_prior: npt.ArrayLike = 0.0,
        means_weight: npt.ArrayLike = 0.0,
        covars_prior: npt.ArrayLike | None = None,
        covars_weight: npt.ArrayLike | None = None,
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
        if isinstance(n_mix, bool) or not isinstance(n_mix, int | np.integer) or n_mix < 1:
            raise ValueError(f"GMMHMM: n_mix: expected a positive integer, got {n_mix!r}")
        if covariance_type not in covariances.TYPES:
            raise ValueError(
                f"GMMHMM: covariance_type: expected one of {covariances.TYPES}, "
                f"got {covariance_type!r}"
            )
        self._least = min_covar
        self.n_mix = int(n_mix)
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.weights_prior = weights_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight

    def _options(self) -> dict[str, Any]:
        return {
            **super()._options(),
            "n_mix": self.n_mix,
            "covariance_type": self.covariance_type,
            "min_covar": self.min_covar,
            "weights_prior": self.weights_prior,
            "means_prior": self.means_prior,
            "means_weight": self.means_weight,
            "covars_prior": self.covars_prior,
            "covars_weight": self.covars_weight,
        }

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
        x, size, mixed = data.values, self.n_components, self.n_mix
        d = x.shape[1]
        if self._needs("w", "weights_"):
            self.weights_ = np.full((size, mixed), 1 / mixed)
        if self._needs("m", "means_"):
            groups = clusters.means(x, size, rng)[1]
            means = np.empty((size, mixed, d))
            for state in range(size):
                own = x[groups == state]
                # Too few for as many centres: any observations.
                means[state] = clusters.means(own if len(own) >= mixed else x, mixed, rng)[0]
            self.means_ = means + data.shift
        if self._needs("c", "covars_"):
            whole = covariances.of_data(x, self.min_covar)
            covars = {
                "spherical": np.full((size, mixed), np.diagonal(whole).mean()),
                "diag": np.tile(np.diagonal(whole), (size, mixed, 1)),
                "full": np.tile(whole, (size, mixed, 1, 1)),
                "tied": np.tile(whole, (size, 1, 1)),
            }[self.covariance_type]
            self.covars_ = covariances.floored(covars, self.covariance_type, self._least)

    def _check_emissions(self) -> None:
        shape = (self.n_components, self.n_mix, self._columns())
        self.weights_ = self._probabilities("weights_", shape[:2])
        self.means_ = self._array("means_", shape)
        if getattr(self, "covars_", None) is None:
            raise RuntimeError("GMMHMM: covars_ is not set: call fit, or set it")
        self.covars_ = covariances.check("GMMHMM", self.covars_, self.covariance_type, shape)

    def _components(self, data: Observations) -> Array:
        """Log-densities of the components with their weights, ``[T, S M]``."""
        means = self.means_ - data.shift
        covars = covariances.by_component(self.covars_, self.covariance_type, means.shape)
        logs = covariances.log_densities(data.values, means.reshape(-1, means.shape[-1]), covars)
        with np.errstate(divide="ignore"):
            logs += np.log(self.weights_.ravel())
        return logs

    def _emit(self, data: Observations) -> tuple[Array, Array | None]:
        return _kernels.hmm_mixture(self._components(data), self.n_mix), None

    def _collect(self, data: Observations, posteriors: Array) -> Moments:
        components = self._components(data)
        frames = _kernels.hmm_mixture(components, self.n_mix)
        weights = _kernels.hmm_responsibilities(components, frames, posteriors)
        return moments(data, weights, pairs=self._pairs)

    def _maximize_emissions(self, emissions: Moments) -> None:
        size, mixed, d = self.means_.shape
        mass = emissions.mass.reshape(size, mixed)
        before = (self.means_ - emissions.shift).reshape(-1, d)
        if "w" in self.params:
            counts = np.maximum(mass + np.asarray(self.weights_prior, np.float64) - 1, 0)
            sums = counts.sum(1, keepdims=True)
            self.weights_ = np.where(sums > 0, counts / np.where(sums > 0, sums, 1), self.weights_)
        if "m" in self.params:
            weight = np.broadcast_to(np.asarray(self.means_weight, np.float64), mass.shape)
            prior = np.asarray(self.means_prior, np.float64) - emissions.shift
            total = (mass + weight)[:, :, None]
            first = emissions.first.reshape(size, mixed, d) + weight[:, :, None] * prior
            seen = total > 0
            found = np.where(seen, first / np.where(seen, total, 1), before.reshape(first.shape))
            self.means_ = found + emissions.shift
        if "c" in self.params:
            # About the means before, as hmmlearn does: the likelihood rises all the same.
            self._maximize_covars(scatter(emissions, before), mass)

    def _maximize_covars(self, spread: Array, mass: Array) -> None:
        kind = self.covariance_type
        size, mixed, d = self.means_.shape
        extra, weight = self._covars_priors()
        if kind == "tied":
            new = spread.reshape(size, mixed, d, d).sum(1) + extra
            total = mass.sum(1) + weight
        elif kind == "full":
            new, total = spread.reshape(size, mixed, d, d) + extra, mass + weight
        elif kind == "diag":
            new, total = spread.reshape(size, mixed, d) + extra, mass[:, :, None] + weight
        else:
            new, total = spread.sum(1).reshape(size, mixed) + extra, d * mass + weight
        total = total.reshape(*total.shape, *[1] * (new.ndim - total.ndim))
        seen = total > 0
        new = covariances.floored(new / np.where(seen, total, 1), kind, self._least)
        visited = (mass.sum(1) if kind == "tied" else mass) > 0
        visited = visited.reshape(*visited.shape, *[1] * (new.ndim - visited.ndim))
        self.covars_ = np.where(seen & visited, new, self.covars_)

    def _covars_priors(self) -> tuple[Array, Array]:
        """Scatter and observations that the priors add, in the form of the covariances."""
        kind = self.covariance_type
        size, mixed, d = self.means_.shape
        away = self.means_ - np.asarray(self.means_prior, np.float64)
        weight = np.broadcast_to(np.asarray(self.means_weight, np.float64), (size, mixed))
        default_prior, default_weight = {
            "spherical": (-(mixed + 2.0) / 2.0, 0.0),
            "diag": (-1.5, 0.0),
            "full": (0.0, -(d + 2.0)),
            "tied": (0.0, -(mixed + d + 1.0)),
        }[kind]
        first = np.asarray(default_prior if self.covars_prior is None else self.covars_prior)
        second = np.asarray(default_weight if self.covars_weight is None else self.covars_weight)
        if kind == "diag":
            extra = weight[:, :, None] * away**2 + 2 * second
            return extra, np.broadcast_to(1 + 2 * (first + 1), extra.shape)
        if kind == "spherical":
            extra = weight * (away**2).sum(2) + 2 * second
            return extra, np.broadcast_to(d + 2 * (first + 1), extra.shape)
        square = away[..., :, None] * away[..., None, :] * weight[..., None, None]
        turned = np.swapaxes(first, -1, -2) if first.ndim > 1 else first
        if kind == "full":
            return square + turned, np.broadcast_to(second + d + 2, (size, mixed))
        return square.sum(1) + turned, np.broadcast_to(mixed + second + d + 1, (size,))

    def _emission_log_prior(self) -> float:
        extra, weight = self._covars_priors()
        total = covariances.log_prior(self.covars_, self.covariance_type, extra, weight)
        return total + log_dirichlet(self.weights_, self.weights_prior)

    def _emission_parameters(self) -> int:
        size, mixed, d = self.n_components, self.n_mix, self._columns()
        covars = {
            "spherical": size * mixed,
            "diag": size * mixed * d,
            "full": size * mixed * d * (d + 1) // 2,
            "tied": size * d * (d + 1) // 2,
        }[self.covariance_type]
        return size * mixed * d + covars + size * (mixed - 1)

    def _draw(self, states: Array, rng: np.random.Generator) -> Array:
        _, mixed, d = self.means_.shape
        covars = covariances.matrices(self.covars_, self.covariance_type, self.means_.shape)
        means = self.means_.reshape(-1, d)
        out = np.empty((len(states), d))
        edges = np.cumsum(self.weights_, 1)
        picks = (rng.random((len(states), 1)) > (edges / edges[:, -1:])[states]).sum(1)
        components = states * mixed + picks
        for component in np.unique(components):
            chosen = components == component
            noise = rng.standard_normal((int(chosen.sum()), d))
            out[chosen] = means[component] + noise @ covariances.factor(covars[component]).T
        return out
