import dataclasses

import numpy as np
import pytest

from lamina import lm, text
from lamina.compare import family, fit_counts, select


@pytest.mark.parametrize(
    ("name", "known_as", "title"),
    [
        ("ngram3", "ngram3", "3-gram"),
        ("NGram3:Katz", "ngram3:katz", "3-gram, Katz"),
        ("ngram1:laplace", "ngram1:laplace", "unigram, Laplace"),
        ("ngram5:witten-bell", "ngram5:witten_bell", "5-gram, Witten-Bell"),
        ("ngram2:lidstone=0.1", "ngram2:lidstone=0.1", "2-gram, Lidstone 0.1"),
        (
            "ngram3:absolute=0.75:backoff",
            "ngram3:absolute=0.75:backoff",
            "3-gram, absolute discounting 0.75, back-off",
        ),
        (
            "ngram3:jelinek-mercer:bucketed",
            "ngram3:jelinek_mercer:bucketed",
            "3-gram, Jelinek-Mercer, bucketed",
        ),
        (
            "char-ngram:stupid-backoff",
            "char-ngram:stupid_backoff",
            "character 7-gram, stupid back-off",
        ),
    ],
)
def test_smoothings_by_name(name, known_as, title):
    chosen = family(name)
    assert (chosen.name, chosen.title) == (known_as, title)
    assert chosen.learning.startswith("one pass of counting")
    # The name leads to the same family again, as in the command that repeats a report.
    assert family(chosen.name).title == title


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ngram3:kats", "smoothing: unknown method 'kats', did you mean katz?"),
        ("ngram3:", "smoothing: unknown method ''"),
        ("ngram3:katz:backoff", "expected nothing after the colon, got 'backoff'"),
        ("ngram0:katz", "unknown model 'ngram0:katz'"),
        ("lstm:katz", "unknown model 'lstm:katz'"),
        ("ngrm3", "unknown model 'ngrm3', did you mean ngram3"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        family(name)


def test_one_method_is_named_once():
    with pytest.raises(ValueError, match="models: 'ngram3:witten_bell' is named twice"):
        select(["ngram3:witten_bell", "ngram3", "ngram3:witten-bell"])


def test_an_hmm_reads_a_part_of_a_long_text_several_times(rng):
    chosen = family(" HMM")
    assert (chosen.name, chosen.title) == ("hmm", "HMM")
    tokenizer = text.CharTokenizer.train("abcd")
    model = lm.HMM(2, tokenizer=tokenizer, n_iter=3, tol=0.0)
    ids = rng.integers(0, 4, 300)
    assert fit_counts(dataclasses.replace(chosen, most=200), model, ids) == 200 * model.monitor.iter
    assert model.monitor.iter > 1


def test_held_out_text_is_the_end_of_the_training_text():
    class Counts:
        def fit(self, ids, **options):
            self.given = ids, options

    model = Counts()
    fit_counts(family("ngram3"), model, np.arange(25))
    assert model.given[1] == {}
    assert len(model.given[0]) == 25
    fit_counts(family("ngram3:jelinek_mercer"), model, np.arange(25))
    np.testing.assert_array_equal(model.given[0], np.arange(23))
    np.testing.assert_array_equal(model.given[1]["held_out"], [23, 24])
