"""Numbers of hmmlearn 0.3.3; tests/golden/hmmlearn/make.py wrote them."""

from pathlib import Path

import numpy as np
import pytest

from lamina.lm import hmm

GOLDEN = Path(__file__).parents[2] / "golden" / "hmmlearn" / "golden.npz"
KINDS = ("spherical", "diag", "full", "tied")
OPTIONS = {"n_iter": 10, "tol": -np.inf, "init_params": ""}
MODELS = {
    "categorical": lambda: hmm.CategoricalHMM(3, **OPTIONS),
    "poisson": lambda: hmm.PoissonHMM(3, **OPTIONS),
    "multinomial": lambda: hmm.MultinomialHMM(3, n_trials=5, **OPTIONS),
    **{f"gaussian_{kind}": lambda kind=kind: hmm.GaussianHMM(3, kind, **OPTIONS) for kind in KINDS},
    **{f"mixture_{kind}": lambda kind=kind: hmm.GMMHMM(3, 2, kind, **OPTIONS) for kind in KINDS},
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as stored:
        return dict(stored)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def compact(name, key, expected):
    """hmmlearn repeats a spherical variance for each dimension after a fit."""
    repeated = (name, key) == ("gaussian_spherical", "_covars_") and expected.ndim == 2
    return expected[:, 0] if repeated else expected


@pytest.mark.parametrize("name", MODELS)
def test_agrees(name, golden):
    case = {key.split(".")[1]: value for key, value in golden.items() if key.startswith(name + ".")}
    model, x, lengths = MODELS[name](), case["x"], golden["lengths"]
    names = [key.removeprefix("before_") for key in case if key.startswith("before_")]
    for key in names:
        setattr(model, key, compact(name, key, case[f"before_{key}"]))
    total, posteriors = model.score_samples(x, lengths)
    close(total, case["score"])
    close(model.score(x, lengths), case["score"])
    close(posteriors, case["posteriors"])
    total, path = model.decode(x, lengths)
    close(total, case["viterbi"])
    np.testing.assert_array_equal(path, case["path"])
    total, path = model.decode(x, lengths, "map")
    close(total, case["map"])
    np.testing.assert_array_equal(path, case["states"])
    model.fit(x, lengths)
    close(model.monitor_.history, case["history"])
    for key in names:
        close(getattr(model, key), compact(name, key, case[f"after_{key}"]))
