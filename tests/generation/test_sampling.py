import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamina import generation
from lamina.generation import Sampler

INF = np.inf
SCORES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.floats(-20, 20),
)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_temperature_divides():
    scores = np.array([[1.0, -2.0]])
    np.testing.assert_array_equal(generation.apply_temperature(scores, 0.5), [[2.0, -4.0]])


def test_top_k_keeps_the_first_of_equal_ones():
    scores = np.array([[1.0, 3.0, 3.0, 3.0, 4.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    kept = generation.apply_top_k(scores, 3)
    np.testing.assert_array_equal(kept, [[-INF, 3, 3, -INF, 4], [5, 4, 3, -INF, -INF]])
    assert generation.apply_top_k(scores, 9) is scores


def test_top_p_keeps_the_smallest_nucleus():
    scores = np.log([[0.1, 0.5, 0.15, 0.25]])
    for top_p, kept in [(0.4, [1]), (0.6, [1, 3]), (0.76, [1, 2, 3]), (0.99, [0, 1, 2, 3])]:
        filtered = generation.apply_top_p(scores, top_p)
        np.testing.assert_array_equal(np.flatnonzero(filtered[0] > -INF), kept)
    assert generation.apply_top_p(scores, 1) is scores


def test_min_p_is_relative_to_the_best():
    scores = np.log([[0.1, 0.5, 0.15, 0.25]])
    filtered = generation.apply_min_p(scores, 0.4)
    np.testing.assert_array_equal(filtered[0] > -INF, [False, True, False, True])


def test_repetition_penalty_moves_seen_tokens_down():
    scores = np.array([[2.0, -2.0, 1.0, -1.0]])
    penalised = generation.apply_repetition_penalty(scores, np.array([[0, 1, 0]]), 2.0)
    np.testing.assert_array_equal(penalised, [[1.0, -4.0, 1.0, -1.0]])


@given(SCORES, st.integers(1, 12))
def test_top_k_keeps_exactly_k_best(scores, k):
    kept = generation.apply_top_k(scores, k) > -INF
    assert (kept.sum(axis=1) == min(k, scores.shape[1])).all()
    for row, keep in zip(scores, kept, strict=True):
        assert keep.all() or row[keep].min() >= row[~keep].max()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_filters_take_scores_of_any_type_and_shape(dtype):
    scores = np.array([3, 1, 3, 2, 3], dtype)
    top = generation.apply_top_k(scores, 2)
    np.testing.assert_array_equal(top, [3, -INF, 3, -INF, -INF])
    np.testing.assert_array_equal(generation.apply_top_p(scores, 0.5), top)
    assert top.dtype == np.where([True], scores[:1], -INF).dtype
    stacked = np.stack([[scores], [scores[::-1]]])
    np.testing.assert_array_equal(generation.apply_top_k(stacked, 2)[0, 0], top)


@given(SCORES, st.floats(0.01, 1))
def test_top_p_reaches_its_mass_with_no_token_to_spare(scores, p):
    kept = generation.apply_top_p(scores, p) > -INF
    assert kept[np.arange(len(scores)), scores.argmax(axis=1)].all()
    for probs, keep in zip(softmax(scores), kept, strict=True):
        assert probs[keep].sum() >= p - 1e-9
        assert probs[keep].sum() - probs[keep].min() < p + 1e-9


@given(SCORES, st.integers(0, 100))
def test_sampling_never_picks_an_impossible_token(scores, seed):
    scores[:, 1:][scores[:, 1:] < 0] = -INF
    chosen = generation.sample(scores, np.random.default_rng(seed))
    assert (scores[np.arange(len(scores)), chosen] > -INF).all()


def test_frequencies_follow_the_probabilities(rng):
    probs = np.array([0.5, 0.2, 0.0, 0.3])
    with np.errstate(divide="ignore"):
        scores = np.tile(np.log(probs), (20_000, 1))
    drawn = generation.sample(scores, rng)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, probs, atol=0.015)


def test_greedy_ways_agree(rng):
    scores = rng.standard_normal((5, 7))
    ids = np.zeros((5, 1), np.int64)
    for options in ({"do_sample": False}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}):
        np.testing.assert_array_equal(Sampler(**options)(scores, ids, rng), scores.argmax(axis=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature: expected a number above 0, or 0 .*, got -1"),
        ({"temperature": INF}, "temperature: .* got inf"),
        ({"temperature": float("nan")}, "temperature: .* got nan"),
        ({"top_k": 0}, "top_k: expected at least 1, got 0"),
        ({"top_p": 0.0}, r"top_p: expected a number in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"top_p: expected a number in \(0, 1\], got 1.5"),
        ({"min_p": 2}, r"min_p: expected a number in \(0, 1\], got 2"),
        ({"repetition_penalty": 0}, "repetition_penalty: expected a number above 0, got 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**options)


@pytest.mark.parametrize("bad", [np.nan, -INF])
def test_scores_without_a_maximum_are_refused(rng, bad):
    scores = np.array([[0.0, 1.0], [bad, bad]])
    with pytest.raises(ValueError, match="scores: expected a finite maximum in row 1"):
        Sampler()(scores, np.zeros((2, 1), np.int64), rng)


def test_the_smallest_temperature_takes_the_best(rng):
    scores = np.array([[1.0, 3.0, -2.0], [-700.0, -900.0, -800.0]])
    for temperature in (1e-309, 5e-324):
        sampler = Sampler(temperature=temperature)
        np.testing.assert_array_equal(sampler(scores, np.zeros((2, 1), np.int64), rng), [1, 0])


def test_top_k_must_be_an_integer():
    with pytest.raises(TypeError, match=r"top_k: expected an integer, got 2.5"):
        Sampler(top_k=2.5)
    assert Sampler(top_k=np.int64(2)).top_k == 2


@given(SCORES, st.floats(0.01, 1), st.integers(1, 9))
def test_top_p_is_that_of_all_tokens_sorted(scores, p, k):
    scores = generation.apply_top_k(scores, k)
    order = np.argsort(-scores, axis=1, kind="stable")
    probs = np.take_along_axis(softmax(scores), order, axis=1)
    expected = np.empty(scores.shape, bool)
    np.put_along_axis(expected, order, probs.cumsum(axis=1) - probs < p - 1e-12, axis=1)
    kept = generation.apply_top_p(scores, p) > -INF
    assert (kept >= expected & (scores > -INF)).all()
    np.put_along_axis(expected, order, probs.cumsum(axis=1) - probs < p + 1e-12, axis=1)
    assert (kept <= expected).all()


def test_draws_are_at_their_share_of_the_probability():
    class Fixed:
        def __init__(self, *draws):
            self.draws = draws

        def random(self, count):
            return np.reshape(self.draws, count)

    with np.errstate(divide="ignore"):
        scores = np.log(np.tile([0.0, 0.25, 0.0, 0.25, 0.5, 0.0], (5, 1)))
    drawn = generation.sample(scores, Fixed(0.0, 0.24, 0.26, 0.51, np.nextafter(1, 0)))
    np.testing.assert_array_equal(drawn, [1, 1, 3, 4, 4])
    assert drawn.dtype == np.int64
