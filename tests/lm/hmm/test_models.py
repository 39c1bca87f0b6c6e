import itertools
import os
import signal
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamina
from lamina import files, lm
from lamina.lm import hmm

KINDS = ("spherical", "diag", "full", "tied")
FAMILIES = {
    "categorical": lambda size, **options: hmm.CategoricalHMM(size, **options),
    "poisson": lambda size, **options: hmm.PoissonHMM(size, **options),
    "multinomial": lambda size, **options: hmm.MultinomialHMM(size, n_trials=4, **options),
    **{
        f"gaussian_{kind}": lambda size, kind=kind, **options: hmm.GaussianHMM(
            size, kind, **options
        )
        for kind in KINDS
    },
    **{
        f"mixture_{kind}": lambda size, kind=kind, **options: hmm.GMMHMM(size, 2, kind, **options)
        for kind in KINDS
    },
}


def data(name, rng, rows=60):
    if name == "categorical":
        return rng.integers(0, 4, (rows, 1))
    if name == "poisson":
        return rng.poisson(rng.random((rows, 2)) * 6)
    if name == "multinomial":
        return rng.multinomial(4, rng.dirichlet(np.ones(3), rows))
    return rng.standard_normal((rows, 2)) + 4 * rng.integers(0, 2, (rows, 1))


def lengths_of(rng, rows):
    cuts = np.sort(rng.integers(0, rows + 1, 4))
    return np.diff(cuts, prepend=0, append=rows)


def random_start(name, model, x, rng):
    """Parameters drawn at random, as far from the data as these may be."""
    size, (rows, d) = model.n_components, x.shape
    alpha = rng.choice([0.1, 1.0])
    model.startprob_ = rng.dirichlet(np.full(size, alpha))
    model.transmat_ = rng.dirichlet(np.full(size, alpha), size)
    if name in ("categorical", "multinomial"):
        model.emissionprob_ = rng.dirichlet(np.ones(4 if d == 1 else d), size)
    elif name == "poisson":
        model.lambdas_ = rng.random((size, d)) * 6 + 0.1
    else:
        components = (size, 2) if name.startswith("mixture") else (size,)
        model.means_ = x[rng.integers(0, rows, components)] + rng.standard_normal((*components, d))
        root = rng.standard_normal((*components, d, d))
        matrix = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(d)
        model.covars_ = {
            "spherical": matrix[..., 0, 0],
            "diag": np.diagonal(matrix, axis1=-2, axis2=-1).copy(),
            "full": matrix,
            "tied": matrix[0] if len(components) == 1 else matrix[:, 0],
        }[model.covariance_type]
    if name.startswith("mixture"):
        model.weights_ = rng.dirichlet(np.ones(2), size)


@pytest.mark.parametrize("name", FAMILIES)
def test_likelihood_never_falls(name, recwarn):
    """A thousand random models of each family, four updates each."""
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        x = data(name, rng, 40)
        model = FAMILIES[name](1 + seed % 4, n_iter=4, tol=-np.inf, init_params="")
        random_start(name, model, x, rng)
        model.fit(x, lengths_of(rng, 40))
        objective = np.array(model.monitor_.objective)
        assert len(objective) == 4
        assert np.isfinite(objective).all()
        falls = objective[:-1] - objective[1:]
        assert (falls <= 1e-9 * np.maximum(np.abs(objective[:-1]), 1)).all(), (seed, objective)
    assert not recwarn.list


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name, rng, tmp_path):
    x = data(name, rng)
    lengths = [20, 0, 39, 1]
    model = FAMILIES[name](3, n_init=2, seed=1).fit(x, lengths)
    assert model.monitor_.iter == len(model.monitor_.history)
    total, posteriors = model.score_samples(x, lengths)
    np.testing.assert_allclose(posteriors.sum(1), 1, rtol=1e-10)
    np.testing.assert_allclose(model.score_sequences(x, lengths).sum(), total)
    path_total, path = model.decode(x, lengths)
    assert path_total <= total
    np.testing.assert_array_equal(path, model.predict(x, lengths))
    assert model.aic(x, lengths) == 2 * model.num_parameters - 2 * total
    assert model.bic(x, lengths) > model.aic(x, lengths)
    drawn, states = model.sample(30, seed=3)
    assert drawn.shape == (30, x.shape[1])
    assert set(states) <= {0, 1, 2}
    assert np.isfinite(model.score(drawn))
    assert model.sample(5, currstate=2, seed=1)[1][0] == 2
    stationary = model.get_stationary_distribution()
    np.testing.assert_allclose(stationary @ model.transmat_, stationary, atol=1e-10)
    model.save(tmp_path / "model")
    again = type(model).load(tmp_path / "model")
    assert again.score(x, lengths) == total
    assert again._options() == model._options()
    assert FAMILIES[name](3, n_init=2, seed=1).fit(x, lengths).score(x, lengths) == total
    # Views with other strides are the same data.
    assert model.score(np.repeat(x, 2, axis=0)[::2], lengths) == total
    assert model.score(x[:0], []) == 0
    assert model.predict_proba(x[:0]).shape == (0, 3)
    assert model.predict(x[:1]).shape == (1,)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_state(name, rng):
    x = data(name, rng)
    model = FAMILIES[name](1).fit(x)
    np.testing.assert_array_equal(model.transmat_, [[1]])
    total, path = model.decode(x)
    np.testing.assert_allclose(total, model.score(x))
    assert not path.any()


@pytest.mark.parametrize("name", FAMILIES)
def test_supervised(name, rng):
    x = data(name, rng)
    states = rng.integers(0, 2, 60)
    model = FAMILIES[name](3).fit_supervised(x, states, [30, 30])
    counts = np.bincount(states[[0, 30]], minlength=3) / 2
    np.testing.assert_allclose(model.startprob_, counts)
    moves = np.zeros((3, 3))
    for t in range(59):
        if t != 29:
            moves[states[t], states[t + 1]] += 1
    np.testing.assert_allclose(model.transmat_[:2], moves[:2] / moves[:2].sum(1, keepdims=True))
    # No state 2: nothing is known of what follows it.
    np.testing.assert_allclose(model.transmat_[2], 1 / 3)
    if name.startswith("gaussian"):
        np.testing.assert_allclose(model.means_[0], x[states == 0].mean(0))
    smooth = FAMILIES[name](3).fit_supervised(x, states, [30, 30], smoothing=1)
    assert (smooth.startprob_ > 0).all()


@st.composite
def chains(draw):
    seed, size, symbols = (draw(st.integers(*b)) for b in ((0, 2**32), (1, 4), (1, 4)))
    rng = np.random.default_rng(seed)
    model = hmm.CategoricalHMM(size, n_features=symbols)
    alpha = draw(st.sampled_from([0.05, 1.0]))
    model.startprob_ = rng.dirichlet(np.full(size, alpha))
    model.transmat_ = rng.dirichlet(np.full(size, alpha), size)
    model.emissionprob_ = rng.dirichlet(np.full(symbols, alpha), size)
    return model, rng.integers(0, symbols, draw(st.integers(1, 6)))


@given(chains())
@settings(max_examples=60, deadline=None)
def test_brute_force(case):
    model, x = case
    total, best, likely = 0.0, -1.0, np.zeros((len(x), model.n_components))
    for path in itertools.product(range(model.n_components), repeat=len(x)):
        p = model.startprob_[path[0]]
        for before, after in itertools.pairwise(path):
            p *= model.transmat_[before, after]
        for state, symbol in zip(path, x, strict=True):
            p *= model.emissionprob_[state, symbol]
        total += p
        best = max(best, p)
        likely[np.arange(len(x)), path] += p
    found, posteriors = model.score_samples(x)
    if total < 1e-250:
        return
    np.testing.assert_allclose(found, np.log(total), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(posteriors, likely / total, atol=1e-9)
    np.testing.assert_allclose(model.decode(x)[0], np.log(best), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_threads_change_nothing(seed, size, sequences):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 300, sequences)
    x = rng.integers(0, 50, (lengths.sum() + 1, 1))
    lengths = [*lengths, 1]
    found = []
    before = lamina.num_threads()
    try:
        for threads in (1, 3):
            lamina.set_num_threads(threads)
            model = hmm.CategoricalHMM(size, n_iter=2, seed=1).fit(x, lengths)
            path = model.decode(x, lengths)[1]
            found.append((model.transmat_, model.emissionprob_, path))
    finally:
        lamina.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_repetitions(rng):
    x, lengths = rng.integers(0, 4, (30, 1)), [10, 20]
    one = hmm.CategoricalHMM(2, seed=1).fit(x, lengths, sample_weight=[2, 1])
    other = hmm.CategoricalHMM(2, seed=1).fit(np.vstack([x[:10], x]), [10, *lengths])
    np.testing.assert_allclose(one.emissionprob_, other.emissionprob_, rtol=1e-10)
    np.testing.assert_allclose(one.monitor_.history, other.monitor_.history)


def test_impossible():
    model = hmm.CategoricalHMM(2, n_features=3, init_params="")
    model.startprob_, model.transmat_ = np.array([1, 0]), np.eye(2)
    model.emissionprob_ = np.array([[0.5, 0.5, 0], [0, 0, 1]])
    assert model.score([0, 2]) == -np.inf
    assert model.decode([0, 2])[0] == -np.inf
    assert not model.predict_proba([0, 2]).any()
    with pytest.raises(ValueError, match="a sequence has probability zero"):
        model.fit([0, 2])


def test_a_far_state_that_alone_is_possible(rng):
    model = hmm.GaussianHMM(2, "diag")
    model.startprob_, model.transmat_ = np.array([1.0, 0.0]), np.eye(2)
    model.means_, model.covars_ = np.array([[0.0], [100.0]]), np.ones((2, 1))
    x = np.array([[100.0], [0.0]])
    expected = -5000 - np.log(2 * np.pi)
    np.testing.assert_allclose(model.score(x), expected)
    np.testing.assert_array_equal(model.predict_proba(x), [[1, 0], [1, 0]])


def test_far_from_zero(rng):
    x = rng.standard_normal((200, 1)) + 3 * rng.integers(0, 2, (200, 1))
    near = hmm.GaussianHMM(2, seed=1).fit(x)
    far = hmm.GaussianHMM(2, seed=1).fit(x + 1e6)
    np.testing.assert_allclose(far.monitor_.history, near.monitor_.history, rtol=1e-6)


def test_covariances_are_taken_in_both_forms(rng):
    for kind in KINDS:
        model = hmm.GaussianHMM(2, kind).fit(rng.standard_normal((50, 3)))
        whole, kept = model.covars_, model._covars_
        assert whole.shape == (2, 3, 3)
        model.covars_ = whole
        np.testing.assert_array_equal(model._covars_, kept)
        model.covars_ = kept
        np.testing.assert_array_equal(model.covars_, whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hmm.CategoricalHMM(0), "n_components: expected a positive integer, got 0"),
        (lambda: hmm.CategoricalHMM(2, algorithm="best"), "algorithm: expected 'viterbi' or 'map'"),
        (lambda: hmm.CategoricalHMM(2, params="q"), "params: expected letters of 'ste', got 'q'"),
        (lambda: hmm.GaussianHMM(2, "round"), "covariance_type: expected one of"),
        (lambda: hmm.GMMHMM(2, 0), "n_mix: expected a positive integer, got 0"),
        (lambda: hmm.CategoricalHMM(2).fit([[0.5]]), "X: expected symbols, integers"),
        (lambda: hmm.CategoricalHMM(2).fit([]), "X: expected at least one observation, got 0"),
        (
            lambda: hmm.CategoricalHMM(2, n_features=2).fit([0, 2]),
            "symbols from 0 to 1, got 0 to 2",
        ),
        (lambda: hmm.CategoricalHMM(2).fit([0, -1]), "got -1 to 0"),
        (lambda: hmm.CategoricalHMM(2).fit([0, 1], [1]), "lengths: expected a sum of 2, got 1"),
        (lambda: hmm.CategoricalHMM(2).fit([0, 1], [3, -1]), "lengths: expected integers"),
        (lambda: hmm.CategoricalHMM(2).fit([0], sample_weight=[-1]), "sample_weight: expected 1"),
        (lambda: hmm.GaussianHMM(2).fit([[np.nan]]), "X: expected finite numbers"),
        (lambda: hmm.GaussianHMM(2).fit([1.0, 2.0]), "X: expected numbers"),
        (lambda: hmm.PoissonHMM(2).fit([[0.5]]), "X: expected counts, integers from 0 on"),
        (lambda: hmm.MultinomialHMM(2, n_trials=2).fit([[1, 0]]), "rows that sum to n_trials, 2"),
        (lambda: hmm.CategoricalHMM(2).fit_supervised([0, 1], [0, 2]), "states: expected 0 to 1"),
        (lambda: hmm.CategoricalHMM(2).fit_supervised([0, 1], [0]), "states: expected integers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_parameters():
    model = hmm.CategoricalHMM(2)
    with pytest.raises(RuntimeError, match="not fitted yet"):
        model.score([0])
    model.startprob_, model.transmat_ = np.array([0.5, 0.6]), np.eye(2)
    model.emissionprob_ = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="startprob_: expected probabilities whose rows sum to 1"):
        model.score([0])
    model.startprob_ = np.array([1.0])
    with pytest.raises(ValueError, match=r"startprob_: expected shape \[2\], got \[1\]"):
        model.score([0])
    other = hmm.GaussianHMM(1, "full")
    other.startprob_, other.transmat_, other.means_ = np.ones(1), np.ones((1, 1)), np.zeros((1, 2))
    other.covars_ = -np.eye(2)[None]
    with pytest.raises(ValueError, match="positive definite"):
        other.score([[0.0, 0.0]])


def test_broken_folders(rng, tmp_path):
    model = hmm.GaussianHMM(2).fit(rng.standard_normal((20, 1)))
    model.save(tmp_path / "a")
    with pytest.raises(files.FormatError, match="expected the configuration of a PoissonHMM"):
        hmm.PoissonHMM.load(tmp_path / "a")
    for name in ("config.json", "model.safetensors"):
        model.save(tmp_path / name)
        (tmp_path / name / "MANIFEST.json").unlink()
        path = tmp_path / name / name
        content = path.read_bytes()
        for cut in range(0, len(content), 7):
            path.write_bytes(content[:cut])
            with pytest.raises(files.FormatError):
                hmm.GaussianHMM.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        hmm.GaussianHMM.load(tmp_path / "none")


def test_ctrl_c(rng):
    x = rng.integers(0, 50, (400_000, 1))
    model = hmm.CategoricalHMM(64, n_iter=1000, tol=-np.inf, seed=1)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    timer.join()


def test_it_finds_what_drew_the_data():
    true = hmm.CategoricalHMM(2, n_features=3)
    true.startprob_ = np.array([0.5, 0.5])
    true.transmat_ = np.array([[0.95, 0.05], [0.1, 0.9]])
    true.emissionprob_ = np.array([[0.8, 0.2, 0], [0, 0.2, 0.8]])
    x, states = true.sample(5000, seed=1)
    model = hmm.CategoricalHMM(2, n_iter=100, n_init=3, seed=2).fit(x)
    assert model.score(x) >= true.score(x)
    right = (model.predict(x) == states).mean()
    assert max(right, 1 - right) > 0.95


TEXT = "the cat sat on the mat\nthe dog sat on the cat\na dog and a rat\n" * 20


def test_language_model(tmp_path):
    model = lm.HMM(4, n_iter=20, seed=1).fit(TEXT)
    assert model.vocabulary[:3] == ["<unk>", "</s>", "the"]
    assert lm.evaluate(model, TEXT).perplexity < 6
    whole = model.log_probs("the cat sat\na dog\n")
    assert whole.shape == (7,)
    parts = [model.log_probs("the cat sat"), model.log_probs("a dog")]
    np.testing.assert_allclose(whole, np.concatenate(parts))
    np.testing.assert_allclose(
        model.next_log_probs("the cat sat\n"), model.next_log_probs(), rtol=1e-12
    )
    # The kept state says what reading all again says.
    scores = model._next_scores()
    ids = model.tokenizer.encode("the cat sat\na dog")
    for end in range(len(ids) + 1):
        np.testing.assert_allclose(scores(ids[None, :end])[0], model.next_log_probs(ids[:end]))
    model.save(tmp_path / "m")
    again = lm.load(tmp_path / "m")
    assert isinstance(again, lm.HMM)
    np.testing.assert_array_equal(again.log_probs(TEXT), model.log_probs(TEXT))
    assert again.chain.predict(ids, [3 + 1, 2]).shape == (6,)


def test_language_model_refuses():
    with pytest.raises(ValueError, match="got an empty corpus"):
        lm.HMM(2).fit("")
    with pytest.raises(TypeError, match="ids need a tokenizer"):
        lm.HMM(2).fit([1, 2])
    with pytest.raises(RuntimeError, match="not fitted yet"):
        lm.HMM(2).log_probs("a")
    small = lm.HMM(2, vocab_size=3, seed=1).fit(TEXT)
    assert small.vocab_size == 3
    assert small.oov_mass("the cat") == 0.5
