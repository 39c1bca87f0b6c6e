import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamina import information

H = information.entropy
NUMBERS = st.floats(0, 1e3, allow_subnormal=False).map(lambda x: x if x > 1e-9 else 0.0)
TABLES = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=NUMBERS
).filter(np.any)
COUNTS = hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 40)).filter(np.any)


def pairs_of(size):
    row = hnp.arrays(np.float64, size, elements=NUMBERS).filter(np.any)
    return st.tuples(row, row)


PAIRS = st.integers(1, 8).flatmap(pairs_of)


def test_known_values():
    assert H([0.5, 0.5]) == 1.0
    assert H([1, 1, 1, 1]) == 2.0
    assert H([0.5, 0.25, 0.125, 0.125]) == 1.75
    assert H([7, 0, 0]) == 0.0
    assert H([1, 3], base=math.e) == pytest.approx(math.log(4) - 0.75 * math.log(3), abs=1e-15)
    # A fair coin, and a copy of it that is turned over a quarter of the time.
    joint = [[3, 1], [1, 3]]
    binary = 2 - 0.75 * math.log2(3)
    assert information.joint_entropy(joint) == pytest.approx(1 + binary)
    assert information.conditional_entropy(joint) == pytest.approx(binary)
    assert information.mutual_information(joint) == pytest.approx(1 - binary)
    pointwise = information.pointwise_mutual_information(joint)
    np.testing.assert_allclose(pointwise, np.log2([[1.5, 0.5], [0.5, 1.5]]))
    assert information.pointwise_mutual_information([[1, 0], [0, 1]])[0, 1] == -math.inf
    assert information.cross_entropy([1, 1], [1, 3]) == pytest.approx(1.5 - math.log2(3) / 2 + 0.5)
    assert information.kl_divergence([1, 1], [1, 3]) == pytest.approx(1 - math.log2(3) / 2)
    assert information.kl_divergence([1, 1], [1, 0]) == math.inf
    assert information.cross_entropy([1, 1], [1, 0]) == math.inf
    assert information.js_divergence([1, 0], [0, 1]) == 1.0


def test_of_normals_as_in_the_textbook():
    # Of two binary symmetric channels in a row: a Markov chain loses information at each step.
    channel = np.array([[0.9, 0.1], [0.1, 0.9]])
    first = information.mutual_information(channel / 2)
    second = information.mutual_information(channel @ channel / 2)
    assert first == pytest.approx(1 - H([0.9, 0.1]))
    assert second < first


def test_several_axes():
    rng = np.random.default_rng(0)
    joint = rng.random((2, 3, 4)).transpose(2, 0, 1)
    every = information.joint_entropy(joint)
    parts = information.joint_entropy(joint.sum(1))
    assert information.conditional_entropy(joint, given=(0, 2)) == pytest.approx(every - parts)
    assert information.conditional_entropy(joint, given=[-3, -1]) == pytest.approx(every - parts)
    assert information.conditional_entropy(joint, given=()) == pytest.approx(every)
    assert information.conditional_entropy(joint, given=(0, 1, 2)) == 0.0


@given(TABLES, st.sampled_from([2.0, math.e, 10.0, 0.5]))
def test_rules_of_two_variables(joint, base):
    size = abs(math.log(base))
    sign = math.copysign(1, math.log(base))
    x, y = (sign * H(joint.sum(axis), base=base) for axis in (1, 0))
    both = sign * information.joint_entropy(joint, base=base)
    y_of_x = sign * information.conditional_entropy(joint, base=base)
    x_of_y = sign * information.conditional_entropy(joint, given=1, base=base)
    shared = sign * information.mutual_information(joint, base=base)
    tiny = 1e-9
    assert both == pytest.approx(x + y_of_x, abs=tiny)
    assert both == pytest.approx(y + x_of_y, abs=tiny)
    assert shared == pytest.approx(x + y - both, abs=tiny)
    assert -0.0 <= shared <= min(x, y) + tiny
    assert max(x, y) <= both + tiny
    assert y_of_x <= y + tiny
    assert both <= math.log(joint.size) / size + tiny
    pointwise = information.pointwise_mutual_information(joint, base=base)
    p = joint / joint.sum()
    assert sign * np.sum(p[p > 0] * pointwise[p > 0]) == pytest.approx(shared, abs=tiny)


@given(PAIRS)
def test_rules_of_divergences(pair):
    p, q = pair
    divergence = information.kl_divergence(p, q)
    assert divergence >= 0
    assert information.kl_divergence(p, p) == 0
    assert information.cross_entropy(p, q) == pytest.approx(H(p) + divergence, abs=1e-9)
    middle = information.js_divergence(p, q)
    assert 0 <= middle <= 1 + 1e-12
    assert middle == pytest.approx(information.js_divergence(q, p), abs=1e-12)


@given(COUNTS, st.sampled_from(sorted(information.METHODS)))
def test_estimates_do_not_know_order_nor_zeros(counts, method):
    estimate = H(counts, method=method)
    assert math.isfinite(estimate)
    # The jackknife takes the difference of two numbers that are as much larger as there are counts.
    rounding = 1e-15 * max(1000, counts.sum())
    again = H(np.append(counts[::-1], 0), method=method)
    assert estimate == pytest.approx(again, abs=rounding)
    nats = H(counts, method=method, base=math.e)
    assert estimate == pytest.approx(nats / math.log(2), abs=rounding)


def digamma(n):
    return -0.5772156649015329 + sum(1 / k for k in range(1, n))


def test_grassberger_is_the_formula():
    counts = np.array([1, 2, 3, 7, 64, 129, 1000])
    # psi((n + 1) / 2) - psi(n / 2) is twice the sum of (-1)^k / (n + k).
    total = counts.sum()
    expected = math.log(total)
    for n in counts.tolist():
        k = np.arange(2_000_000)
        terms = np.where(k % 2, -1.0, 1.0) / (n + k)
        # The mean of two partial sums: the sum alternates.
        tail = 2 * (terms.sum() - terms[-1] / 2)
        expected -= n * (digamma(n) + (-1) ** n / 2 * tail) / total
    assert H(counts, method="grassberger", base=math.e) == pytest.approx(expected, abs=1e-12)


def test_jackknife_is_the_formula():
    counts = np.array([1, 4, 2, 1])
    n = counts.sum()
    without = [H(counts - np.eye(4, dtype=int)[i]) for i in range(4) for _ in range(counts[i])]
    expected = n * H(counts) - (n - 1) * np.mean(without)
    assert H(counts, method="jackknife") == pytest.approx(expected, abs=1e-12)


def test_miller_madow_and_chao_shen_by_hand():
    assert H([2, 1, 1], method="miller_madow", base=math.e) == pytest.approx(
        1.5 * math.log(2) + 2 / 8
    )
    # Half of the four were seen once: a coverage of 1/2, so p = 1/4, 1/8, 1/8.
    expected = -0.25 * math.log2(0.25) / (1 - 0.75**4) - 0.25 * math.log2(0.125) / (1 - 0.875**4)
    assert H([2, 1, 1], method="chao_shen") == pytest.approx(expected)
    # All were seen once: as if one of them had not been.
    expected = -2 * 1 / 4 * math.log2(1 / 4) / (1 - 0.75**2)
    assert H([1, 1], method="chao_shen") == pytest.approx(expected)


@pytest.mark.parametrize("method", ["miller_madow", "jackknife", "grassberger", "chao_shen"])
@pytest.mark.parametrize("tail", [0.0, 1.0])
def test_corrections_come_nearer_on_small_samples(method, tail):
    rng = np.random.default_rng(5)
    p = 1 / np.arange(1, 201) ** tail
    p /= p.sum()
    samples = rng.multinomial(100, p, size=200)
    plain = np.mean([H(sample) for sample in samples]) - H(p)
    corrected = np.mean([H(sample, method=method) for sample in samples]) - H(p)
    assert plain < -0.5
    assert abs(corrected) < 0.75 * abs(plain)


def test_the_corrections_vanish_as_samples_grow():
    counts = np.array([5, 3, 2]) * 10**7
    for method in information.METHODS:
        assert H(counts, method=method) == pytest.approx(H([5, 3, 2]), abs=1e-6)


def test_corrected_information_is_fair_to_independent_variables():
    rng = np.random.default_rng(1)
    joints = rng.multinomial(60, np.full(25, 1 / 25), size=200).reshape(-1, 5, 5)
    plain = np.mean([information.mutual_information(j) for j in joints])
    fair = np.mean([information.mutual_information(j, method="grassberger") for j in joints])
    assert plain > 0.15
    assert abs(fair) < 0.06
    conditional = [information.conditional_entropy(j, method="grassberger") for j in joints]
    assert np.mean(conditional) == pytest.approx(math.log2(5), abs=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: H([]), r"entropy: p: expected at least one number, got shape \(0,\)"),
        (lambda: H([0, 0]), "p: expected a finite sum above 0, got 0"),
        (lambda: H([1e308, 1e308]), "p: expected a finite sum above 0, got inf"),
        (lambda: H([1, -1]), "p: expected finite numbers of at least 0"),
        (lambda: H([1, math.nan]), "p: expected finite numbers of at least 0"),
        (lambda: H([1, 2], base=1), "base: expected a positive number other than 1, got 1"),
        (lambda: H([1, 2], base=math.nan), "base: expected a positive number"),
        (lambda: H([1, 2], method="guess"), "method: expected ml, .*chao_shen, got 'guess'"),
        (lambda: H([0.5, 0.5], method="chao_shen"), "chao_shen expects counts, whole numbers"),
        (lambda: information.mutual_information([1, 2]), r"expected a table \[X, Y\], got shape"),
        (lambda: information.kl_divergence([1], [1, 2]), r"q: expected shape \(1,\), got \(2,\)"),
        (
            lambda: information.conditional_entropy([[1, 2]], given=2),
            "given: expected axes of joint, 2-d, got 2",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types():
    with pytest.raises(TypeError, match="entropy: p: expected real numbers, got <U1"):
        H(["a"])
    with pytest.raises(TypeError, match="entropy: p: expected real numbers, got complex128"):
        H([1j])
