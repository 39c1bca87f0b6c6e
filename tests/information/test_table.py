import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import information
from lamina.information import Table

PAIRS = [("spam", "offer")] * 3 + [("ham", "offer")] + [("ham", "lunch")] * 4


@pytest.fixture
def mail():
    return Table.from_pairs(PAIRS, names=("kind", "word"))


def test_counts(mail):
    assert mail.labels == (("ham", "spam"), ("lunch", "offer"))
    np.testing.assert_array_equal(mail.values, [[4, 1], [0, 3]])
    assert mail["spam", "offer"] == 3
    assert mail.total == 8
    assert repr(mail) == "Table(kind: 2, word: 2; sum 8)"
    assert information.mutual_information(mail) == information.mutual_information([[4, 1], [0, 3]])


def test_probabilities(mail):
    np.testing.assert_array_equal(mail.joint().values, [[0.5, 0.125], [0, 0.375]])
    np.testing.assert_array_equal(mail.marginal("kind").values, [0.625, 0.375])
    assert mail.marginal(-1)["offer"] == 0.5
    np.testing.assert_array_equal(mail.conditional("kind").values, [[0.8, 0.2], [0, 1]])
    np.testing.assert_array_equal(mail.conditional(given=1).values, [[1, 0.25], [0, 0.75]])
    # By Laplace's rule a word that was never seen is not impossible.
    np.testing.assert_allclose(
        mail.conditional(given=0, smoothing=1).values, [[5 / 7, 2 / 7], [1 / 5, 4 / 5]]
    )
    assert mail.joint(smoothing=1)["spam", "lunch"] == pytest.approx(1 / 12)
    assert mail.marginal(0, smoothing=1)["spam"] == pytest.approx(5 / 12)


def test_bayes(mail):
    np.testing.assert_allclose(mail.bayes().values, mail.conditional(given="word").values)
    np.testing.assert_allclose(mail.bayes(given=0).values, mail.conditional(given=0).values)
    # Where one in ten is spam an offer is less of a sign: 0.1 * 1 against 0.9 * 0.2.
    posterior = mail.bayes(prior={"ham": 9, "spam": 1})
    assert posterior["spam", "offer"] == pytest.approx(0.1 / 0.28)
    test = Table([1, 999], [["ill", "well"]], ["state"])
    both = Table(np.ones((2, 2), int), [["ill", "well"], ["positive", "negative"]])
    found = both.bayes(prior=test.values, likelihood=[[0.99, 0.01], [0.05, 0.95]])
    assert found["ill", "positive"] == pytest.approx(0.99 / (0.99 + 999 * 0.05))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_bayes_turns_one_conditional_into_the_other(pairs, smoothing):
    table = Table.from_pairs(pairs)
    for given_ in (0, 1):
        direct = table.conditional(given_, smoothing=smoothing).values
        np.testing.assert_allclose(
            table.bayes(given_, smoothing=smoothing).values, direct, atol=1e-12
        )
        np.testing.assert_allclose(direct.sum(axis=1 - given_), 1)
    joint = table.joint(smoothing=smoothing).values
    marginal = table.marginal(0, smoothing=smoothing).values
    conditional = table.conditional(0, smoothing=smoothing).values
    np.testing.assert_allclose(joint, marginal[:, None] * conditional, atol=1e-12)


def test_empty_rows_are_alike():
    table = Table([[0, 0], [1, 3]], ["ab", "cd"])
    np.testing.assert_array_equal(table.conditional(0).values, [[0.5, 0.5], [0.25, 0.75]])


def test_printed(mail):
    assert str(mail).splitlines() == [
        "kind\\word  lunch  offer",
        "ham            4      1",
        "spam           0      3",
    ]
    assert str(mail.marginal("word")).splitlines() == ["word", "lunch  0.5000", "offer  0.5000"]
    wide = Table(np.full((30, 12), 1_000), [range(30), range(12)], ["\n", "x" * 40])
    lines = str(wide).splitlines()
    assert len(lines) == 22
    assert lines[1].split()[-1] == lines[-1].split()[0] == "..."
    assert "1,000" in lines[1]
    assert str(Table([1], [["a\nb"]])).splitlines()[1] == "'a\\nb'  1"


def test_labels_of_any_kind():
    table = Table.from_pairs([((1, 2), None), ("a", None)])
    assert table[(1, 2), None] == 1
    assert table.labels == (((1, 2), "a"), (None,))


def test_it_does_not_change(mail):
    with pytest.raises(ValueError, match="read-only"):
        mail.values[0, 0] = 1
    array = np.array(mail)
    array[0, 0] = 9
    assert mail["ham", "lunch"] == 4
    assert np.asarray(mail, np.float32).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.marginal("size"), "expected an axis, or kind or word, got 'size'"),
        (lambda t: t.marginal(2), "expected an axis, or kind or word, got 2"),
        (lambda t: t.joint(smoothing=-1), "smoothing: expected a number of at least 0, got -1"),
        (lambda t: t.marginal(0).conditional(), "conditional: expected a table of two variables"),
        (lambda t: t.bayes(prior={"ham": 1}), "expected the labels of kind, got none for 'spam'"),
        (
            lambda t: t.bayes(prior={"ham": 1, "spam": 1, "egg": 1}),
            "expected the labels of kind, got also 'egg'",
        ),
        (lambda t: t.bayes(prior=[1, 2, 3]), r"prior: expected shape \(2,\), got \(3,\)"),
        (lambda t: t.bayes(prior=[0, 0]), "prior: expected finite numbers of at least 0, not all"),
        (lambda t: t.bayes(likelihood=[1]), r"likelihood: expected shape \(2, 2\), got \(1,\)"),
        (lambda _: Table([1, 2], [["a"]]), r"values: expected shape \(1,\), got \(2,\)"),
        (lambda _: Table([1, 2], [["a", "a"]]), "labels: expected each once"),
        (lambda _: Table([1, -2], [["a", "b"]]), "values: expected at least 0, got -2"),
        (lambda _: Table([1, np.nan], [["a", "b"]]), "values: expected finite numbers"),
        (lambda _: Table([[1]], ["a", "b"], ["x", "x"]), "names: expected 2 different"),
        (lambda _: Table.from_pairs([]).joint(), "expected a sum above 0, got 0"),
    ],
)
def test_bad_input(mail, call, message):
    with pytest.raises(ValueError, match=message):
        call(mail)


def test_labels_that_are_not_there(mail):
    with pytest.raises(KeyError, match="egg"):
        mail["egg", "offer"]
    with pytest.raises(KeyError, match="expected a label of each of kind, word, got 'spam'"):
        mail["spam"]
