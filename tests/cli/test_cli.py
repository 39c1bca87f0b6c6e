import json
import subprocess
import sys

import pytest

from lamina.cli import run
from lamina.text import shakespeare


@pytest.fixture
def novel(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text(shakespeare()[:60_000])
    return path


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "holds no text"),
        (b" \n\n", "holds no text"),
        (b"a", "too few"),
        (b"ab" * 20, "too few"),
        (b"\x00\x01\x02binary", "zero byte"),
        (b"\xff\xfe\xff", "not UTF-8"),
    ],
)
def test_bad_texts_end_with_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    assert run(["compare", str(path), "--models", "ngram2", "--no-bench"]) == 2
    out, err = lines(capsys)
    assert out == ""
    assert len(err) == 1
    assert err[0].startswith("lamina: ")
    assert message in err[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--models", "ngram2,parrot"], "unknown model 'parrot'"),
        (["compare", "--models", "ngram21"], "unknown model 'ngram21'"),
        (["compare", "--tokenizer", "bpe:x"], "unknown tokenizer 'bpe:x'"),
        (["compare", "--seconds", "0"], "seconds: expected a positive number, got 0"),
        (["compare", "--seconds", "nan"], "seconds: expected a positive number, got nan"),
        (["compare", "--seconds", "much"], "not a valid float"),
        (["compare", "--json", "/nowhere/at/all.json"], "there is no folder /nowhere/at"),
        (["compare", "--report", "."], "is a folder"),
        (["parrot"], "No such command 'parrot'"),
        (["train", "--model", "ngram2"], "Missing option"),
        (["generate", "nowhere"], "nowhere"),
        (["evaluate", "nowhere", "nothing"], "no such file"),
        (["bench", "--only", "parrot"], "unknown kernel 'parrot'"),
        (["bench", "--peers", "--only", "matmul,parrot"], "unknown kernel 'parrot'"),
        (["bench", "--peers", "--only", ","], "unknown kernel ''"),
        (["bench", "--peers", "--rounds", "0"], "Invalid value for '--rounds'"),
        (["bench", "--peers", "--report", "/nowhere/at/all.html"], "there is no folder"),
        (["bench", "--report", "page.html"], "--report goes with --peers"),
        (["bench", "--markdown", "table.md"], "--markdown goes with --peers"),
    ],
)
def test_bad_options_end_with_one_line(capsys, arguments, message):
    assert run(arguments) == 2
    out, err = lines(capsys)
    assert out == ""
    assert len(err) == 1
    assert message in err[0]


def test_compare_prints_tables_and_writes_both_files(novel, tmp_path, capsys):
    results, page = tmp_path / "results.json", tmp_path / "page.html"
    arguments = ["compare", str(novel), "--models", "ngram1,ngram3,lstm", "--seconds", "0.5"]
    arguments += ["--tokenizer", "char", "--no-bench"]
    assert run([*arguments, "--json", str(results), "--report", str(page)]) == 0
    out, _ = lines(capsys)
    for title in ("ngram1", "ngram3", "lstm"):
        assert title in out
    data = json.loads(results.read_text())
    assert [model["family"] for model in data["models"]] == ["ngram1", "ngram3", "lstm"]
    for model in data["models"]:
        assert 0 < model["bits_per_byte"] < 8
        assert model["sample"]
        assert sum(model["kernels"].values()) == pytest.approx(1, abs=0.05)
    assert data["models"][1]["bits_per_byte"] < data["models"][0]["bits_per_byte"]
    assert page.read_text().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("model", ["ngram3", "gru", "gpt"])
def test_train_generate_evaluate(novel, tmp_path, capsys, model):
    folder = tmp_path / "model"
    arguments = ["train", str(novel), "--model", model, "--tokenizer", "char", "--steps", "5"]
    assert run([*arguments, "-o", str(folder)]) == 0
    out, _ = lines(capsys)
    assert "bits per byte" in out
    texts = []
    for _ in range(2):
        assert run(["generate", str(folder), "--tokens", "20", "--seed", "3"]) == 0
        texts.append(lines(capsys)[0])
    assert texts[0] == texts[1]
    assert run(["evaluate", str(folder), str(novel), "--json"]) == 0
    assert json.loads(lines(capsys)[0])["bits_per_byte"] > 0


def test_a_damaged_model_is_reported(novel, tmp_path, capsys):
    folder = tmp_path / "model"
    arguments = ["train", str(novel), "--model", "lstm", "--tokenizer", "char", "--steps", "1"]
    assert run([*arguments, "-o", str(folder)]) == 0
    lines(capsys)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert run(["generate", str(folder)]) == 2
    _, err = lines(capsys)
    assert len(err) == 1
    assert "model.safetensors" in err[0]


def test_version_help_and_module():
    for arguments in (["--version"], ["--help"], ["compare", "-h"]):
        done = subprocess.run(
            [sys.executable, "-m", "lamina", *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout


def test_bench_prints_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["bench", "--only", "ngram", "--rounds", "1", "--no-torch"]) == 0
    out, err = lines(capsys)
    assert err == []
    head, row = out.splitlines()[2:]
    assert " ".join(head.split()) == "work ms of peak NumPy / lamina"
    assert row.startswith("counting 3-grams")
    assert "\x1b" not in out


def test_bench_beside_peers_writes_every_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    results, page, text = tmp_path / "r.json", tmp_path / "r.html", tmp_path / "r.md"
    arguments = ["bench", "--peers", "--only", "ops.RELU", "--rounds", "1", "--no-torch"]
    files = ["--json", str(results), "--report", str(page), "--markdown", str(text)]
    assert run([*arguments, *files]) == 0
    out, err = lines(capsys)
    assert err == []
    head, row = out.splitlines()[2:4]
    assert " ".join(head.split()) == "work lamina of peak best peer its time ratio at least"
    assert row.startswith("ops.relu from Python 32 values")
    record = json.loads(results.read_text())
    assert list(record) == ["date", "rounds", "machine", "results"]
    (made,) = record["results"]
    assert made["name"] == "ops.relu from Python"
    assert set(made["seconds"]) == {"lamina", "numpy"}
    assert made["most_seconds"] == 1.5e-6
    assert "ops.relu" in page.read_text()
    assert "ops.relu" in text.read_text()


def test_bench_writes_json(tmp_path, capsys):
    results = tmp_path / "results.json"
    arguments = ["bench", "--only", "ngram", "--rounds", "1", "--no-torch", "--json", str(results)]
    assert run(arguments) == 0
    lines(capsys)
    (made,) = json.loads(results.read_text())["results"]
    assert list(made) == ["name", "size", "rounds", "seconds", "ratios", "share_of_peak"]
    assert list(made["ratios"]) == ["numpy"]
