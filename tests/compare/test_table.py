import dataclasses
import io
import math
import re

import pytest

from lamina.compare import Progress, family
from lamina.compare.table import LiveTable, print_comparison
from lamina.terminal import Terminal


class Window(io.StringIO):
    """Says of itself that it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Window()


def printed(made, width=80):
    file = io.StringIO()
    print_comparison(Terminal(file, width=width), made)
    return file.getvalue()


def lines(made, width=80):
    return [line.rstrip() for line in printed(made, width).splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_fits(comparison, width):
    assert max(map(len, lines(comparison(), width))) <= width


def test_holds_every_number(comparison):
    rows = lines(comparison())
    at = rows.index("Summary")
    heads, last = (" ".join(rows[i].split()) for i in (at + 2, at + 10))
    assert heads == "model gen. meters s tok/s tok/s disk plexity byte mass"
    assert last == "gpt 3rd 927 k 15.3 27.4 k 1.48 k 3.71 MB 43.2* 2.20* 0.0%"


def test_numbers_are_aligned_with_and_without_star(comparison):
    rows = lines(comparison())
    at = rows.index("Summary")
    ends = {row.index("%") for row in rows[at + 3 : at + 11]}
    assert len(ends) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_says_what_each_is(comparison, width):
    text = " ".join(printed(comparison(), width).split())
    for part in ("ngram1", "AdamW on", "looks back on", "6 characters", "1st: counts, from 1951"):
        assert part in text
    for part in (
        "architecture",
        "4 blocks of 4-head causal",
        "application",
        "language identification",
    ):
        assert part in text


def test_a_name_and_its_share_stay_together(comparison):
    rows = lines(comparison(), 60)
    text = "\n".join(rows)
    assert "python 12%" in text
    assert "attention 12%" in text


def test_samples_of_all(comparison, result):
    text = printed(comparison())
    for model in comparison().models:
        assert model.title in text
        assert model.sample.split("\n")[1] in text
    assert "..." in printed(comparison(result("gpt", sample="a\n" * 40)))


def test_no_colour_where_there_is_no_terminal(comparison):
    assert "\x1b" not in printed(comparison())


def test_the_best_are_green_and_titles_bold_in_a_terminal(window, comparison):
    print_comparison(Terminal(window, width=80), comparison())
    text = window.getvalue()
    assert "\x1b[32m\x1b[1m43.2*\x1b[0m" in text
    assert "\x1b[1mSummary\x1b[0m" in text
    assert re.sub("\x1b.*?m", "", text) == printed(comparison())


def test_columns_without_room_stand_below(comparison):
    rows = lines(comparison(), 60)
    at = rows.index("Summary")
    assert rows[at + 2].split()[:3] == ["model", "gen.", "meters"]
    assert rows[at + 13].split() == ["model", "gen.", "plexity", "byte", "mass"]
    assert rows[at + 21].split() == ["gpt", "3rd", "43.2*", "2.20*", "0.0%"]


def test_samples_do_not_steer_the_terminal(comparison, result):
    bad = "\x1b[2J[bold]x[/nothing] :smile: \x07\u202e"
    text = printed(comparison(result("gpt", sample=bad), source=bad))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\ufffd[2J[bold]x[/nothing] :smile:" in text


def test_a_terminal_of_few_characters(comparison, result):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    print_comparison(Terminal(file, width=80), comparison(result("gpt", sample="\u00e9\u4e00")))
    file.flush()
    assert b"??" in raw.getvalue()


def test_without_kernels(comparison):
    assert "Kernels" not in printed(comparison(kernels=[]))


def test_the_text_stands_beside_the_models(comparison, result):
    rows = lines(comparison())
    at = rows.index("The text's own entropy")
    assert rows[at + 3].split() == ["character", "0", "65", "4.78", "4.78", "4.78"]
    assert rows[at + 5].split() == ["word", "1", "131,952", "5.31", "6.20", "1.13"]
    text = " ".join(rows[at + 6 :])
    assert "beside those of the models: the best needs 2.20 for text it has not seen." in text
    assert "own entropy" not in printed(comparison(entropy=[]))
    unfit = comparison(result("gpt", bits_per_byte=math.inf))
    assert "beside those of the models. Counts" in " ".join(lines(unfit))


def test_scores_that_are_no_probabilities_are_marked_and_not_ranked(comparison, result):
    stupid = result("ngram3", family="ngram3:stupid_backoff", normalized=False)
    stupid = dataclasses.replace(stupid, bits_per_byte=1.5, perplexity=20.0)
    rows = lines(comparison(stupid, result("ngram5"), result("gpt")))
    assert "The GPT predicts best: 2.20" in " ".join(rows)
    at = rows.index("Summary")
    both = " ".join(rows[at + 3 : at + 30])
    assert "20.0~" in both
    assert "1.50~" in both
    assert "2.20*" in both
    assert "~ of scores that do not sum to one: it looks better than it is." in both
    text = " ".join(lines(comparison(stupid)))
    assert "No model gives probabilities that sum to one, so none is ranked." in text


def test_one_model(comparison, result):
    text = printed(comparison(result("char-ngram")))
    assert "The character 7-gram needs 2.30 bits per byte" in text
    assert "*" not in text


def test_values_that_are_not_numbers(comparison, result):
    unfit = result("ngram1", perplexity=math.inf, bits_per_byte=math.inf)
    lost = result("rnn", bits_per_byte=math.nan, perplexity=math.nan, kernels={})
    rows = lines(comparison(unfit, lost))
    at = rows.index("Summary")
    assert rows[at + 3].split()[-3:-1] == ["inf", "inf"]
    assert rows[at + 4].split()[-3:-1] == ["-", "-"]
    assert "rnn     not measured" in rows


def test_large_numbers_are_not_cut(comparison, result):
    big = result(
        "char-ngram",
        parameters=123_456_789_012,
        training_seconds=98_765.4,
        perplexity=1.234e9,
        bits_per_byte=88.88,
        bytes_on_disk=123_456_789_012,
        oov_mass=0.00001,
    )
    rows = lines(comparison(big, result("gpt")))
    row = rows[rows.index("Summary") + 3]
    for part in ("123 G", "98,765", "123 GB", "1.23 G", "88.88", "<0.1%"):
        assert part in row
    assert max(map(len, rows)) <= 80


def test_numbers_beyond_all_units_stay_short(comparison, result):
    rows = lines(comparison(result("ngram3", perplexity=4.468e39), result("gpt")))
    row = rows[rows.index("Summary") + 3]
    assert " 4.5e39 " in row
    assert row.endswith("0.0%")


def steps(result):
    chosen = family(result.family)
    yield Progress(chosen, "training")
    yield Progress(chosen, "training", 1.5, 3.1)
    yield Progress(chosen, "measuring", result.training_seconds)
    yield Progress(chosen, "done", result.training_seconds, result.bits_per_byte, result)


def test_plain_lines_where_there_is_no_terminal(result):
    file = io.StringIO()
    results = [result("ngram3"), result("gpt"), result("gpt")]
    with LiveTable(Terminal(file), [family(r.family) for r in results], 15.0) as table:
        for made in results:
            for step in steps(made):
                table.update(step)
    assert file.getvalue().splitlines() == [
        "ngram3: 0.41 s of training, 2.60 bits per byte, perplexity 86.2",
        *["gpt: 15.3 s of training, 2.20 bits per byte, perplexity 43.2"] * 2,
    ]


def test_rows_fill_in(result):
    results = [result("ngram3"), result("gpt")]
    table = LiveTable(Terminal(io.StringIO(), width=80), [family(r.family) for r in results], 15.0)

    def shown():
        return [re.sub("\x1b.*?m", "", line).split() for line in table.lines()]

    assert [row[1] for row in shown()[1:]] == ["waiting", "waiting"]
    for step in steps(results[0]):
        table.update(step)
    table.update(Progress(family("gpt"), "training", 3.0, 2.9))
    rows = shown()
    assert rows[1] == ["3-gram", "done", "0.41", "2.60"]
    assert rows[2][:2] == ["GPT", "training"]
    assert rows[2][-1] == "2.90"
    for step in steps(results[1]):
        table.update(step)
    table.update(Progress(None, "measuring LSTM beside NumPy"))
    assert " ".join(shown()[3]) == "measuring LSTM beside NumPy, 0 s"


@pytest.mark.parametrize("width", [40, 50, 61, 62, 80])
def test_rows_fit_into_the_window(result, comparison, width):
    table = LiveTable(
        Terminal(io.StringIO(), width=width), [family("char-ngram"), family("gpt")], 15
    )
    table.update(Progress(None, "training the models", comparison=comparison()))
    table.update(Progress(family("char-ngram"), "measuring", 1.0))
    table.update(Progress(family("gpt"), "training", 3.0, 2.9))
    rows = [re.sub("\x1b.*?m", "", line) for line in table.lines()]
    assert max(map(len, rows)) <= width
    assert rows[-1].split()[-1] == "2.90"
    assert "tokenizer bpe:1024" in " ".join(" ".join(rows).split())


def test_unknown_tokens_have_no_best(comparison, result):
    rows = lines(comparison(result("ngram1", oov_mass=0.25), result("gpt")))
    row = rows[rows.index("Summary") + 4]
    assert row.endswith(" 0.0%")


def test_the_ratio_is_the_quotient_of_the_times(comparison):
    text = printed(comparison())
    assert "0.93  0.84-1.02" in text
    assert "medians of 4 to 15 rounds" in text
    assert "rough figures" in text


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_terminal_is_left_as_it_was(window, result, error):

    def train():
        with LiveTable(Terminal(window, width=80), [family("gpt")], 15.0) as table:
            for step in steps(result("gpt")):
                table.update(step)
            if error is not None:
                raise error

    if error is None:
        train()
    else:
        with pytest.raises(error):
            train()
    text = window.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "GPT" in text
