"""Writes golden.npz: what hmmlearn 0.3.3 says of small models, before and after ten updates.

Run it with a Python that has hmmlearn: python make.py
"""

import warnings
from pathlib import Path

import numpy as np
from hmmlearn import hmm

LENGTHS = [1, 40, 7, 52]
S, D, V, M = 3, 2, 6, 2


def spread(kind, rng, *components):
    square = rng.standard_normal((*components, D, D)) * 0.3
    matrix = square @ np.swapaxes(square, -1, -2) + np.eye(D)
    return {
        "spherical": matrix[..., 0, 0],
        "diag": np.diagonal(matrix, axis1=-2, axis2=-1),
        "full": matrix,
        "tied": matrix[0] if len(components) == 1 else matrix[:, 0],
    }[kind].copy()


def cases(rng):
    rows = sum(LENGTHS)
    states = rng.integers(0, S, rows)
    vectors = rng.standard_normal((rows, D)) + 2 * states[:, None] * np.array([1, -0.5]) + 5
    counts = rng.poisson(1 + 3 * states[:, None] * np.array([1, 0.3]))
    options = {"n_iter": 10, "tol": -np.inf, "init_params": ""}
    model = hmm.CategoricalHMM(S, params="ste", **options)
    model.emissionprob_ = rng.dirichlet(np.ones(V), S)
    yield "categorical", model, rng.integers(0, V, (rows, 1)), ["emissionprob_"]
    model = hmm.PoissonHMM(S, params="stl", **options)
    model.lambdas_ = rng.random((S, D)) * 5 + 0.5
    yield "poisson", model, counts, ["lambdas_"]
    model = hmm.MultinomialHMM(S, n_trials=5, params="ste", **options)
    model.emissionprob_ = rng.dirichlet(np.ones(V), S)
    yield "multinomial", model, rng.multinomial(5, np.full(V, 1 / V), rows), ["emissionprob_"]
    for kind in ("spherical", "diag", "full", "tied"):
        model = hmm.GaussianHMM(S, kind, params="stmc", **options)
        model.means_ = rng.standard_normal((S, D)) + 5
        model.covars_ = spread(kind, rng, S)
        yield f"gaussian_{kind}", model, vectors, ["means_", "_covars_"]
        model = hmm.GMMHMM(S, M, covariance_type=kind, params="stmcw", **options)
        model.weights_ = rng.dirichlet(np.ones(M), S)
        model.means_ = rng.standard_normal((S, M, D)) + 5
        model.covars_ = spread(kind, rng, S, M)
        yield f"mixture_{kind}", model, vectors, ["weights_", "means_", "covars_"]


def main():
    warnings.filterwarnings("ignore")
    rng = np.random.default_rng(0)
    out = {"lengths": np.array(LENGTHS)}
    for name, model, x, names in cases(rng):
        model.startprob_ = rng.dirichlet(np.ones(S))
        model.transmat_ = rng.dirichlet(np.ones(S), S)
        found = {"x": x}
        names = ["startprob_", "transmat_", *names]
        found.update({f"before_{key}": np.array(getattr(model, key)) for key in names})
        found["score"], found["posteriors"] = model.score_samples(x, LENGTHS)
        found["viterbi"], found["path"] = model.decode(x, LENGTHS)
        found["map"], found["states"] = model.decode(x, LENGTHS, "map")
        model.fit(x, LENGTHS)
        found["history"] = np.array(model.monitor_.history)
        found.update({f"after_{key}": np.array(getattr(model, key)) for key in names})
        out.update({f"{name}.{key}": np.asarray(value) for key, value in found.items()})
    np.savez_compressed(Path(__file__).with_name("golden.npz"), **out)


if __name__ == "__main__":
    main()
