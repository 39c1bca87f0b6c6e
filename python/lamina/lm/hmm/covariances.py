"""Covariances in their four forms: spherical, diag, full, tied."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lamina import _kernels

Array = npt.NDArray[Any]

TYPES = ("spherical", "diag", "full", "tied")

_TINY = np.finfo(np.float64).tiny
# Added to the diagonal of a matrix that rounding has made singular.
_RIDGE = 1e-7
# Of the variance of the data, the least that a component is given: below that a few observations
# would make its likelihood infinite.
_LEAST = 1e-7


def log_densities(x: Array, means: Array, covars: Array) -> Array:
    """Of ``x`` ``[T, D]`` under K normal distributions, ``[T, K]``.

    Args:
        x: observations.
        means: ``[K, D]``.
        covars: variances ``[K, D]``, or matrices ``[K, D, D]``.

    Raises:
        ValueError: a matrix is not positive definite.
    """
    k, d = means.shape
    constant = d * math.log(2 * math.pi)
    if covars.ndim == 2:
        variances = np.maximum(covars, _TINY)
        offsets = 0.5 * (constant + np.log(variances).sum(1))
        return _kernels.hmm_gaussian(x, means, 1 / variances, False, offsets)
    factors = factor(covars)
    offsets = 0.5 * constant + np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    return _kernels.hmm_gaussian(x, means, factors.reshape(k * d, d), True, offsets)


def factor(covars: Array) -> Array:
    """Cholesky factors of matrices ``[..., D, D]``, the lower triangles."""
    for ridge in (0.0, _RIDGE):
        try:
            return np.linalg.cholesky(covars + ridge * np.eye(covars.shape[-1]))
        except np.linalg.LinAlgError:
            continue
    raise ValueError("covars_: expected symmetric positive definite matrices")


def least(x: Array, min_covar: float) -> float:
    """The least variance of a component in any direction, for observations ``x`` ``[T, D]``."""
    return _LEAST * max(float(x.var(0).mean()), min_covar, _TINY / _LEAST)


def floored(covars: Array, kind: str, floor: float) -> Array:
    """The most likely covariances without a variance below ``floor``.

    They have the eigenvectors of those without a floor, ``covars``, and their eigenvalues, where
    these are not below it.
    """
    if kind in ("spherical", "diag"):
        return np.maximum(covars, floor)
    values, vectors = np.linalg.eigh(covars)
    if (values >= floor).all():
        return covars
    values = np.maximum(values, floor)[..., None, :]
    return (vectors * values) @ np.swapaxes(vectors, -1, -2)


def by_component(covars: Array, kind: str, shape: tuple[int, ...]) -> Array:
    """Covariances as :func:`log_densities` takes them.

    The components are ``shape[:-1]``, of ``shape[-1]`` dimensions. Those that are tied are shared
    along the last axis of components.
    """
    *components, d = shape
    if kind == "diag":
        return covars.reshape(-1, d)
    if kind == "spherical":
        return np.repeat(covars.reshape(-1, 1), d, axis=1)
    if kind == "full":
        return covars.reshape(-1, d, d)
    shared = covars[None] if covars.ndim == 2 else covars
    return np.repeat(shared, components[-1], axis=0)


def matrices(covars: Array, kind: str, shape: tuple[int, ...]) -> Array:
    """Covariances of components ``shape[:-1]`` of ``shape[-1]`` dimensions, ``[K, D, D]``."""
    forms = by_component(covars, kind, shape)
    return forms if forms.ndim == 3 else forms[:, :, None] * np.eye(shape[-1])


def compact(covars: npt.ArrayLike, kind: str) -> Array:
    """Covariances in the form of ``kind``, given in it or as matrices ``[K, D, D]``."""
    given = np.array(covars, np.float64)
    if given.ndim != 3 or kind == "full":
        return given
    if kind == "tied":
        return given[0]
    diagonals = np.diagonal(given, axis1=1, axis2=2).copy()
    return diagonals if kind == "diag" else diagonals[:, 0].copy()


def check(name: str, covars: Array, kind: str, shape: tuple[int, ...]) -> Array:
    """The covariances of components ``shape[:-1]``, or an error that says what is wrong."""
    *components, d = shape
    wanted = {
        "spherical": (*components,),
        "diag": (*components, d),
        "full": (*components, d, d),
        "tied": (*components[:-1], d, d),
    }[kind]
    given = np.ascontiguousarray(covars, np.float64)
    if given.shape != wanted:
        raise ValueError(
            f"{name}: covars_: expected shape {list(wanted)} for {kind!r}, got {list(given.shape)}"
        )
    if not np.isfinite(given).all():
        raise ValueError(f"{name}: covars_: expected finite numbers")
    if kind in ("spherical", "diag"):
        if (given <= 0).any():
            raise ValueError(f"{name}: covars_: expected variances above 0")
    elif not np.allclose(given, np.swapaxes(given, -1, -2)):
        raise ValueError(f"{name}: covars_: expected symmetric positive definite matrices")
    else:
        factor(given)
    return given


def log_prior(covars: Array, kind: str, scatter: Array, weight: Array) -> float:
    """What a prior adds to the log-likelihood.

    It is that of ``weight`` observations more of each component, whose scatter is ``scatter``. Both
    have the form of the covariances.
    """
    if kind in ("spherical", "diag"):
        values = np.maximum(covars, _TINY)
        return float(-0.5 * (weight * np.log(values) + scatter / values).sum())
    lower = factor(covars)
    log_dets = 2 * np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(-1)
    inside = np.linalg.solve(covars, np.broadcast_to(scatter, covars.shape))
    traces = np.trace(inside, axis1=-2, axis2=-1)
    return float(-0.5 * (weight * log_dets + traces).sum())


def unpack(triangle: Array, d: int) -> Array:
    """Symmetric matrices ``[K, D, D]`` from their lower triangles, row by row."""
    rows, columns = np.tril_indices(d)
    out = np.empty((len(triangle), d, d))
    out[:, rows, columns] = triangle
    out[:, columns, rows] = triangle
    return out


def of_data(x: Array, more: float) -> Array:
    """The covariance ``[D, D]`` of all observations, with ``more`` on its diagonal."""
    d = x.shape[1]
    found = np.atleast_2d(np.cov(x.T)) if len(x) > 1 else np.zeros((d, d))
    return found + more * np.eye(d)
