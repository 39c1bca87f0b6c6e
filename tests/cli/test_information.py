import json

import pytest

from lamina.cli import run


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "coin.txt"
    path.write_text("ab" * 50)
    return str(path)


def test_prints_a_table(text, capsys):
    assert run(["information", text, "--orders", "char:1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "coin.txt, 100 characters, 100 bytes"
    assert lines[4].split() == ["character", "0", "100", "2", "1.000", "1.000", "1.000"]
    assert lines[5].split()[:5] == ["character", "1", "100", "2", "0.000"]
    assert max(map(len, lines)) <= 80


def test_without_correction(text, capsys):
    assert run(["information", text, "--orders", "byte:0", "--method", "ml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split() == ["byte", "0", "100", "2", "1.000", "1.000"]


def test_json_and_second_name(text, capsys):
    assert run(["entropy", text, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["source"], made["characters"], made["bytes"]) == ("coin.txt", 100, 100)
    rows = made["entropies"]
    assert [row["order"] for row in rows if row["method"] == "ml"] == [*range(7), 0]
    assert rows[0]["conditional"] == rows[0]["bits_per_byte"] == 1.0


def test_the_help_names_it_once(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert "information  Measure the entropy of a text." in out
    assert "  entropy " not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--orders", "char:20"], "as in char:5, got 'char:20'"),
        (["--orders", "line:1"], "expected char, word or byte, a colon and 0 to 19"),
        (["--orders", "char"], "got 'char'"),
        (["--orders", "char:1,char:2"], "expected each unit once, got char twice"),
        (["--method", "guess"], "--method: expected ml, miller_madow, jackknife"),
    ],
)
def test_bad_options(text, capsys, options, message):
    assert run(["information", text, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
