import io
import json
import os
from pathlib import Path

import pytest

from lamina.cli import run

GOLDEN = Path(os.environ.get("LAMINA_GOLDEN", "tests/golden")) / "kenlm"
O3, TEST = str(GOLDEN / "o3.arpa.gz"), str(GOLDEN / "test.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("m.bin", "m.trie", "m.compact"):
        assert run(["ngram", "convert", O3, str(folder / name)]) == 0
    return folder


@pytest.mark.parametrize("name", ["m.bin", "m.trie"])
def test_query_prints_what_kenlm_prints(folder, capsys, name):
    assert run(["ngram", "query", str(folder / name), TEST, "-v", "sentence"]) == 0
    *sentences, including, excluding, oovs, tokens = capsys.readouterr().out.splitlines()
    golden = (GOLDEN / "o3.query.txt").read_text().splitlines()
    assert sentences == golden
    assert including.startswith("Perplexity including OOVs:\t")
    assert excluding.startswith("Perplexity excluding OOVs:\t")
    unknown = sum(int(line.split()[-1]) for line in golden)
    assert oovs == f"OOVs:\t{unknown}"
    text = Path(TEST).read_text(encoding="utf-8")
    assert tokens == f"Tokens:\t{len(text.split()) + text.count(chr(10))}"


def test_the_standard_input_words_and_no_context(folder, capsys, monkeypatch):
    text = "hark ! now\n\ni hear\n"
    printed = {}
    for flag in ([], ["-n"]):
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(["ngram", "query", str(folder / "m.bin"), *flag]) == 0
        printed[bool(flag)] = capsys.readouterr().out.splitlines()
    assert printed[False][0].startswith("hark=1130 2 -3.573094\t!=59 3 -0.48447615\t")
    assert printed[False][-1] == "Tokens:\t8"
    assert printed[True][-1] == "Tokens:\t5"
    assert printed[True][1] == "Total: 0 OOV: 0"
    assert "</s>" not in "".join(printed[True])


def test_json_is_the_summary_alone(folder, capsys):
    assert run(["ngram", "query", str(folder / "m.compact"), TEST, "--json"]) == 0
    compact = json.loads(capsys.readouterr().out)
    assert run(["ngram", "query", O3, TEST, "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert compact["tokens"] == exact["tokens"]
    assert compact["oov"] == exact["oov"]
    assert compact["perplexity"] == pytest.approx(exact["perplexity"], rel=0.02)
    assert exact["perplexity_excluding_oov"] < exact["perplexity"]


def test_convert_goes_back_to_arpa(folder, tmp_path, capsys):
    target = tmp_path / "back.arpa"
    assert run(["ngram", "convert", str(folder / "m.trie"), str(target)]) == 0
    assert capsys.readouterr().out.startswith(f"{target}: arpa, ")
    assert target.read_text(encoding="utf-8").startswith("\\data\\\nngram 1=")
    arguments = ["ngram", "convert", O3, str(tmp_path / "m"), "--kind", "compact", "--bits", "4"]
    assert run(arguments) == 0
    assert "logarithms rounded by at most" in capsys.readouterr().out
    assert (tmp_path / "m").stat().st_size < (folder / "m.compact").stat().st_size


def test_bad_input_ends_with_one_line(folder, tmp_path, capsys):
    cases = [
        (["convert", str(folder / "m.bin"), str(tmp_path / "x.arpa")], "cannot be turned back"),
        (["convert", O3, str(tmp_path / "x"), "--bits", "3"], "3 is not in the range"),
        (["convert", O3, O3], "is a TEXT that is read"),
        (["query", str(tmp_path / "none"), TEST], "No such file"),
        (["query", TEST, TEST], "the file ends before"),
    ]
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"a b\n\xff\n")
    cases.append((["query", str(folder / "m.bin"), str(bad)], "bad byte at offset 4"))
    for arguments, message in cases:
        assert run(["ngram", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
