"""Hidden Markov models whose states emit symbols."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lamina.lm.hmm.base import Array, BaseHMM, Observations, distribution, log_dirichlet

# Symbols of a model at most, so that tables can be indexed.
_MOST = 2**31


class CategoricalHMM(BaseHMM):
    """States emit symbols by tables of probabilities.

    The likelihood is::

        p(x_t = v | z_t = s) = emissionprob[s, v]

    Attributes:
        emissionprob_: ``[S, V]``; at the start of a fit random rows.

    Args:
        n_components: S.
        n_features: V; one more than the largest symbol of the training data, if not given.
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

    Reference:
        Rabiner, A tutorial on hidden Markov models, 1989.
    """

    _LETTERS: ClassVar[str] = "ste"
    _ARRAYS: ClassVar[tuple[str, ...]] = ("emissionprob_",)
    _COUNTS_SYMBOLS = True

    emissionprob_: Array

    def __init__(
        self,
        n_components: int = 1,
        *,
        n_features: int | None = None,
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
        self.n_features = n_features
        self._given_size = n_features
        self.emissionprob_prior = emissionprob_prior

    def _options(self) -> dict[str, Any]:
        return {
            **super()._options(),
            "n_features": self._given_size,
            "emissionprob_prior": self.emissionprob_prior,
        }

    def _observe(self, X: npt.ArrayLike, *, fitting: bool) -> tuple[Array, Array]:
        values = np.asarray(X)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.size == 0:
            return np.zeros(0, np.uint32), np.zeros(1)
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(
                f"CategoricalHMM: X: expected symbols, integers [T, 1] or [T], "
                f"got {values.dtype} of shape {list(values.shape)}"
            )
        if fitting and self._given_size is None and self._takes_size():
            self.n_features = None
            size = _MOST
        else:
            size = self._columns()
        if values.min() < 0 or values.max() >= size:
            raise ValueError(
                f"CategoricalHMM: X: expected symbols from 0 to {size - 1}, "
                f"got {values.min()} to {values.max()}"
            )
        return np.ascontiguousarray(values, np.uint32), np.zeros(1)

    def _init_emissions(self, data: Observations, rng: np.random.Generator) -> None:
        if self.n_features is None and self._takes_size():
            self.n_features = int(data.values.max()) + 1
        if self._needs("e", "emissionprob_"):
            rows = rng.random((self.n_components, self._columns()))
            self.emissionprob_ = rows / rows.sum(1, keepdims=True)

    def _check_emissions(self) -> None:
        shape = (self.n_components, self._columns())
        self.emissionprob_ = self._probabilities("emissionprob_", shape)

    def _emit(self, data: Observations) -> tuple[Array, Array | None]:
        return np.ascontiguousarray(self.emissionprob_.T), data.values

    def _collect(self, data: Observations, posteriors: Array) -> Array:
        counts = np.zeros((self._columns(), self.n_components))
        np.add.at(counts, data.values, posteriors)
        return counts

    def _collect_known(self, data: Observations, path: Array, each: Array) -> Array:
        shape = self._columns(), self.n_components
        cells = data.values.astype(np.int64) * shape[1] + path
        return np.bincount(cells, each, shape[0] * shape[1]).reshape(shape)

    def _maximize_emissions(self, emissions: Array) -> None:
        if "e" in self.params:
            self.emissionprob_ = distribution(
                emissions.T, self.emissionprob_prior, self.emissionprob_
            )

    def _emission_log_prior(self) -> float:
        return log_dirichlet(self.emissionprob_, self.emissionprob_prior)

    def _emission_parameters(self) -> int:
        return self.n_components * (self._columns() - 1)

    def _draw(self, states: Array, rng: np.random.Generator) -> Array:
        symbols = np.empty(len(states), np.int64)
        for state in np.unique(states):
            chosen = states == state
            edges = np.cumsum(self.emissionprob_[state])
            draws = rng.random(int(chosen.sum()))
            symbols[chosen] = np.searchsorted(edges / edges[-1], draws, side="right")
        return symbols[:, None]
