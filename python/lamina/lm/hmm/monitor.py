"""The record of a run of expectation-maximisation."""

import sys
import warnings

# A fall below this share of the log-likelihood is rounding.
_ROUNDING = 1e-9


class Monitor:
    """What happened while a model was fitted, and whether to go on.

    Attributes:
        history: log-likelihood of the data before each update.
        objective: the same plus the logarithm of the priors, which is what an update raises.
        iter: updates made.
    """

    def __init__(self, name: str, tol: float, n_iter: int, verbose: bool) -> None:
        self.history: list[float] = []
        self.objective: list[float] = []
        self.iter = 0
        self.tol = tol
        self.n_iter = n_iter
        self._name = name
        self._verbose = verbose

    @property
    def converged(self) -> bool:
        """Whether the last update gained less than ``tol``."""
        return len(self.objective) > 1 and self.objective[-1] - self.objective[-2] < self.tol

    def report(self, log_likelihood: float, log_prior: float) -> None:
        """Note an update; warn where the objective fell, which no update should do."""
        objective = log_likelihood + log_prior
        before = self.objective[-1] if self.objective else objective
        if self._verbose:
            print(
                f"{self.iter + 1:>6} {log_likelihood:>18.6f} {objective - before:>+15.6f}",
                file=sys.stderr,
            )
        if objective < before - _ROUNDING * max(abs(before), 1):
            warnings.warn(
                f"{self._name}: the likelihood fell from {before:.9g} to {objective:.9g} in "
                f"iteration {self.iter + 1}, which it never should: the parameters are at the "
                f"edge of what numbers can express",
                UserWarning,
                stacklevel=3,
            )
        self.history.append(log_likelihood)
        self.objective.append(objective)
        self.iter += 1
