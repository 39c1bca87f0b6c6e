import re
import sys
from html.parser import HTMLParser

import pytest

from lamina.bench import check_report_tools, write_report

VOID = {"br", "meta"}


class Page(HTMLParser):
    """The tags, attributes and text of a page; every element must be closed."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def write(tmp_path):
    def write(made):
        write_report(made, tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def test_loads_nothing_from_elsewhere(write, record):
    page = write(record())
    parsed = Page(page)
    assert not {"link", "script", "img", "iframe", "object"} & set(parsed.tags)
    for name, value in parsed.attributes:
        assert name not in ("src", "href", "srcset", "action")
        assert not name.startswith("on")
        assert "//" not in value
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_shows_every_row_and_where_lamina_loses(write, record):
    text = Page(write(record())).text
    for part in (
        *("A & B Processor", "avx512, 2", "241 GFLOP/s, 18.4 GB/s", "23 November 2026"),
        *(
            "matmul",
            "64 x 64 x 64",
            "91% of peak",
            "1.20",
            "1.10\u20131.25",
            "1.00, 88%",
            "reached",
        ),
        *("MLP prediction", "25.0 us", "0.48", "missed", "onnxruntime 1 left out: why"),
        *(
            "ops.relu from Python",
            "1.50 us",
            "Memory of the training steps",
            "300 (250)",
            "700 (200)",
        ),
        "lamina is faster than the best peer in 2 of 3 rows; 3 of 4 reach what is asked for.",
        "lamina --threads 2 bench --peers --rounds 15 --report report.html",
    ):
        assert part in text


def bars(page):
    pattern = r'<rect class="(faster|slower)" x="([-\d.]+)" y="2" width="([-\d.]+)"'
    return [(c, float(x), float(w)) for c, x, w in re.findall(pattern, page)]


def test_bars_are_logarithmic_from_one(write, record, row):
    ratios = [[2, 2, 2], [4, 4, 4], [0.5, 0.5, 0.5]]
    rows = [row(size=str(i), ratio=ratio) for i, ratio in enumerate(ratios)]
    (_, one, double), (_, start, fourfold), (slower, left, half) = bars(write(record(*rows)))
    assert one == start
    assert fourfold == pytest.approx(2 * double, abs=0.02)
    assert half == pytest.approx(double, abs=0.02)
    assert slower == "slower"
    assert left + half == pytest.approx(one, abs=0.02)


def test_ratios_beyond_the_page_end_at_its_edge(write, record, row):
    rows = [row(size="0", ratio=[900, 1000, 1100]), row(size="1", ratio=[1e-4, 1e-3, 1e-2])]
    for _, start, length in bars(write(record(*rows))):
        assert start >= 0
        assert start + length <= 100.01


def test_other_families_are_shown_too(write, record, row):
    text = Page(write(record(row(family="parrots")))).text
    assert "Other" in text


def test_wants_results_and_jinja2(record, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="expected at least one result"):
        write_report(record() | {"results": []}, tmp_path / "report.html")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ValueError, match="needs jinja2"):
        check_report_tools()
