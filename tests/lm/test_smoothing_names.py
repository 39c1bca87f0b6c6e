import pytest

from lamina.lm.ngram.smoothing import METHODS, check_options, parse_smoothing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("katz", {"smoothing": "katz"}),
        ("katz=7", {"smoothing": "katz", "largest": 7}),
        ("Lidstone=0.1", {"smoothing": "lidstone", "gamma": 0.1}),
        ("absolute", {"smoothing": "absolute"}),
        (
            "absolute=0.75:backoff",
            {"smoothing": "absolute", "discount": 0.75, "interpolate": False},
        ),
        ("kneser-ney:interpolate", {"smoothing": "kneser_ney", "interpolate": True}),
        ("stupid_backoff=0.3", {"smoothing": "stupid_backoff", "alpha": 0.3}),
        ("jelinek_mercer:bucketed", {"smoothing": "jelinek_mercer", "bucketed": True}),
    ],
)
def test_what_names_mean(text, expected):
    assert parse_smoothing(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kats", "unknown method 'kats', did you mean katz\\?"),
        ("", "unknown method ''"),
        ("laplace=2", "laplace takes no number"),
        ("lidstone=x", "expected a number after =, got 'x'"),
        ("lidstone=", "expected a number after =, got ''"),
        ("lidstone=-1", "gamma: expected above 0"),
        ("lidstone=nan", "gamma: expected above 0"),
        ("katz=1", "largest: expected an integer from 2"),
        ("katz:backoff", "expected nothing after the colon, got 'backoff'"),
        ("absolute:bucketed", "expected backoff or interpolate after the colon"),
        ("absolute=1.5", "discount: expected above 0 and at most 1, got 1.5"),
    ],
)
def test_bad_names_say_what_is_expected(text, message):
    with pytest.raises(ValueError, match=message):
        parse_smoothing(text)


def test_options_are_those_of_the_method():
    assert check_options("katz", {"gamma": None}) == {"largest": 5}
    with pytest.raises(ValueError, match="gamma: is an option of lidstone, not of katz"):
        check_options("katz", {"gamma": 1.0})
    with pytest.raises(TypeError, match="interpolate: expected bool, got int"):
        check_options("absolute", {"interpolate": 1})
    with pytest.raises(ValueError, match="weights: expected one from 0 to 1"):
        check_options("jelinek_mercer", {"weights": [2.0]})
    for name in METHODS:
        assert list(check_options(name, {})) == list(METHODS[name])
