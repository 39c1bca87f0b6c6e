import dataclasses
import datetime
import itertools
import math
import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from matplotlib.transforms import Bbox

from lamina.compare import check_report_tools, plots, write_report

DAY = datetime.date(2025, 11, 23)
VOID = {"br", "meta"}


class Page(HTMLParser):
    """The elements, attributes and text of a page; every element must be closed."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.ids, self.open = [], [], [], []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def write(tmp_path):
    def write(made):
        path = tmp_path / "report.html"
        write_report(made, path, date=DAY)
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture
def page(write, comparison):
    return write(comparison())


def drawings(page):
    return re.findall(r"<svg[^>]*role=\"img\".*?</svg>", page, flags=re.S)


def test_loads_nothing_from_elsewhere(page):
    parsed = Page(page)
    assert not {"link", "script", "img", "iframe", "object"} & set(parsed.tags)
    for _, name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset"):
            assert value.startswith("#")
        assert not name.startswith("on")
        assert name == "xmlns" or "//" not in value
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_names_every_model_and_what_it_is(page, comparison):
    text = Page(page).text
    for model in comparison().models:
        for part in (model.title, model.generation, model.architecture, model.learning):
            assert part in text
        for part in (model.application, model.reach, model.sample):
            assert part in text


def test_says_where_and_how(page):
    text = Page(page).text
    for part in (
        "tiny Shakespeare, 1,115,394 characters",
        "Intel(R) Xeon(R) Processor @ 2.60GHz",
        "avx512, 2",
        "241 GFLOP/s, 18.4 GB/s",
        "bpe:1024, 1,024 tokens",
        "23 November 2025",
        "lamina --threads 2 compare --tokenizer bpe:1024 --seconds 15 --seed 0 --report",
        "Seed 0; lamina 0.1.0, numpy 2.3.1.",
    ):
        assert part in text


def test_findings(page):
    text = Page(page).text
    assert "The GPT predicts best: 2.20 bits per byte after 15.3 s of training." in text
    assert "The unigram is the fastest to train, 0.061 s, and needs 3.30." in text
    assert "The character 7-gram gives most for its seconds: 91% of the way" in text


def test_findings_of_equal_budgets(write, comparison, result):
    page = write(comparison(result("rnn"), result("lstm")))
    assert "All were trained for about as long." in Page(page).text
    assert "<b>15.2</b>" not in page
    assert "fastest" not in page


def test_findings_of_a_best_that_takes_long(write, comparison, result):
    text = Page(write(comparison(result("ngram1"), result("gpt")))).text
    assert "Nothing quicker comes near the GPT." in text
    quick = result("gpt", training_seconds=0.01)
    text = Page(write(comparison(result("ngram1"), quick))).text
    assert "It is also the fastest to train." in text


def test_the_text_stands_beside_the_models(page, write, comparison):
    text = " ".join(Page(page).text.split())
    for part in (
        "The text\u2019s own entropy",
        "character alone",
        "character after 3",
        "2.16 2.20",
    ):
        assert part in text
    assert "the best needs 2.20 for text it has not seen. That is where the upright line" in text
    assert "own entropy" not in Page(write(comparison(entropy=[]))).text


def test_scores_that_are_no_probabilities_are_marked_and_not_drawn(write, comparison, result):
    stupid = result("ngram3", title="3-gram, stupid back-off", bits_per_byte=1.5, normalized=False)
    page = write(comparison(stupid, result("ngram5"), result("gpt")))
    assert "A number with ~ is of scores that do not sum to one" in Page(page).text
    assert '1.50<span class="mark">~</span>' in page
    assert "The GPT predicts best" in page
    assert not any("stupid" in drawing for drawing in drawings(page))
    assert "~" not in Page(write(comparison())).text


def test_a_generation_keeps_its_colour(write, comparison, result):
    page = write(comparison(result("gpt")))
    assert 'class="g2"' in page
    assert 'class="g0"' not in page


def test_ids_are_unique_and_references_lead_somewhere(page):
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    for _, name, value in parsed.attributes:
        if name == "href":
            assert value[1:] in parsed.ids
        elif name == "aria-labelledby":
            assert value in parsed.ids
        for reference in re.findall(r"url\(#([^)]*)\)", value):
            assert reference in parsed.ids


def test_drawings_are_sound_and_take_the_colours_of_the_page(page):
    found = drawings(page)
    assert len(found) == 4
    for svg in found:
        root = ET.fromstring(svg)  # noqa: S314
        assert root[0].tag.endswith("title")
        assert root[0].text
        assert "currentColor" in svg
        assert "var(--g2)" in svg
        assert not re.search(r"#0[1-4]0[0-5]0[0-5]", svg)


def test_tables_have_captions_and_headings(page):
    assert page.count("<table") == page.count("<caption") == 4
    assert page.count('scope="row"') == 8 + 3 + 8 + 6
    assert re.search(r"<b>2\.20</b><span class=\"hidden\"> \(best\)", page)


def test_best_perplexity_is_of_the_common_tokenizer(page):
    assert "<b>43.2</b>" in page
    assert '4.92<span class="mark">*</span>' in page


def test_equal_input_gives_equal_bytes(page, write, comparison):
    assert write(comparison()) == page


def test_text_is_escaped(write, comparison, result):
    bad = "</pre><script>alert(1)</script>\"'&\x1b[31m\u202e\ud800"
    model = result("gpt", title=bad, sample=bad, architecture=bad, generation=bad, reach=bad)
    page = write(comparison(model, result("ngram3"), source=bad, tokenizer=bad))
    assert "script" not in Page(page).tags
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert "alert(1)" in Page(page).text
    for svg in drawings(page):
        ET.fromstring(svg)  # noqa: S314


def test_mathematics_is_not_set(write, comparison, result):
    page = write(comparison(result("gpt", title="a $x_1$ {b} \\frac"), result("rnn")))
    assert all("$x_1$" in svg for svg in drawings(page))


def test_without_kernels(write, comparison):
    page = write(comparison(kernels=[]))
    text = Page(page).text
    assert "Kernels beside NumPy" not in text
    assert "--no-bench" in text


@pytest.mark.parametrize("name", ["ngram1", "char-ngram", "gpt"])
def test_one_model(write, comparison, result, name):
    model = result(name)
    page = write(comparison(model))
    text = Page(page).text
    assert "One language model, one text" in text
    assert f"The {model.title} needs {model.bits_per_byte:.2f} bits per byte" in text
    assert f"--models {name}" in text
    assert "(best)" not in text
    assert len(drawings(page)) == 4


def test_the_thin_line_is_named_where_it_is_drawn(page, write, comparison, result):
    assert "The thin line joins" in page
    assert "The thin line joins" not in write(comparison(result("gpt")))


@pytest.mark.parametrize("size", [plots.WIDE, plots.NARROW])
@pytest.mark.parametrize("near", [0.0, 0.01, 0.05])
def test_a_name_is_nearest_to_its_own_point(result, size, near):
    models = [
        result("gpt", title=f"model {i}", bits_per_byte=2.2 + near * i, training_seconds=15.0 + i)
        for i in range(4)
    ]
    models.append(result("ngram1"))
    ends = [plots._end(model) for model in models]
    with plots._figure(size) as (_, axes):
        axes.set_xscale("log")
        axes.set_xlim(0.01, 100)
        axes.set_ylim(2, 3.5)
        points = [axes.transData.transform(end) for end in ends]
        before = len(axes.lines)
        plots._label_points(axes, models, ends, [])
        led = len(axes.lines) - before
        far = 0
        # The first text is the name of the axis.
        for i, text in enumerate(axes.texts[1:]):
            x, y = text.get_position()
            width = text.get_window_extent().width
            left = x - (width if text.get_ha() == "right" else 0.0)
            box = Bbox.from_bounds(left, y - plots._LINE / 2, width, plots._LINE)
            away = [plots._distance(box, point) for point in points]
            others = away[:i] + away[i + 1 :]
            assert away[i] < min(others) or near < 0.02
            far += away[i] > plots._BESIDE or away[i] >= min(others)
    # A line leads to each name that is not beside its point or is not nearest to it.
    assert led == far


def test_values_that_are_not_numbers(write, comparison, result):
    nan = math.nan
    unfit = result(
        "ngram3", perplexity=math.inf, bits_per_byte=math.inf, curve=[(0.4, math.inf)], oov_mass=nan
    )
    lost = result("rnn", bits_per_byte=nan, perplexity=nan, curve=[(1.0, nan), (15.0, nan)])
    idle = result(
        "ngram5", training_seconds=0.0, training_tokens_per_second=math.inf, kernels={"python": nan}
    )
    page = write(comparison(unfit, lost, idle, result("gpt")))
    parsed = Page(page)
    assert "\u221e" in parsed.text
    assert "\u2013" in parsed.text
    assert not re.search(r"\b(nan|inf)\b", parsed.text, flags=re.I)
    assert "The GPT predicts best" in parsed.text
    assert len(drawings(page)) == 4


def test_nothing_finite(write, comparison, result):
    page = write(comparison(result("rnn", bits_per_byte=math.nan, kernels={}, sample="")))
    assert "No model gave the held-out text a finite number of bits." in Page(page).text
    assert drawings(page) == []
    assert "(nothing)" in page


def test_a_kernel_that_is_slower_goes_to_the_left(page):
    bars = re.findall(r'class="(slower|faster)" x="([\d.]+)" y="1.5" width="([\d.]+)"', page)
    assert [side for side, _, _ in bars] == ["slower"] + ["faster"] * 5
    one = float(bars[1][1])
    assert float(bars[0][1]) + float(bars[0][2]) == pytest.approx(one, abs=2e-3)
    assert all(float(x) >= 0 and float(x) + float(w) <= 100.001 for _, x, w in bars)


def test_shares_fill_a_bar_and_no_more(write, comparison, result):
    kernels = {"lstm": 0.9, "matmul": 0.5, "python": 0.0}
    page = write(comparison(result("lstm", kernels=kernels)))
    bar = page[page.index('<ul class="time">') :]
    widths = re.findall(r'<rect class="k\d" x="[\d.]+" width="([\d.]+)" height="10"', bar)
    assert sum(map(float, widths)) == pytest.approx(100, abs=0.01)


def test_files_in_the_command_are_quoted(write, comparison):
    paths = ["texts/my book.txt", "-odd.txt", "-"]
    text = Page(write(comparison(source="my book.txt, -odd.txt", paths=paths))).text
    assert "compare 'texts/my book.txt' ./-odd.txt - --tokenizer" in text


def test_the_budget_is_repeated_exactly(write, comparison):
    text = Page(write(comparison(seconds=0.1234567))).text
    assert "--seconds 0.1234567 --seed" in text
    text = Page(write(comparison(seconds=None, steps=300))).text
    assert "--steps 300 --seed" in text
    assert "Networks stop after so many steps" in text


def test_replaces_a_page_whole(write, comparison, tmp_path):
    old = write(comparison())
    with pytest.raises(ValueError, match="expected at least one model"):
        write_report(dataclasses.replace(comparison(), models=[]), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == old
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_missing_tools_are_named(name, monkeypatch):
    check_report_tools()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"{name}.*pip install 'lamina\[report\]'") as error:
        check_report_tools()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wanted", [[], [5.0], [5.0, 5.0, 5.0], [90.0, 1.0, 99.0, 97.0, 95.0]])
def test_labels_are_moved_apart(wanted):
    places = plots._spread(wanted, 17.0, 100.0)
    order = sorted(places)
    assert all(b - a > 16.99 for a, b in itertools.pairwise(order))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in places)
    assert sorted(range(len(wanted)), key=wanted.__getitem__) == sorted(
        range(len(wanted)), key=places.__getitem__
    )
