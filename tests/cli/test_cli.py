import io
import json
import os
import subprocess
import sys
import threading

import pytest

from lamina import lm
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
        (["compare", "--seconds", "inf"], "--seconds: expected a positive number, got inf"),
        (["compare", "--steps", "0"], "'--steps': 0 is not in the range"),
        (["compare", "--seed", "-1"], "'--seed': -1 is not in the range x>=0"),
        (["compare", "--tokenizer", "bpe:\u00b2"], "unknown tokenizer 'bpe:\u00b2'"),
        (["compare", "--tokenizer", "bpe:10"], "expected a size of at least 256"),
        (["compare", "--models", "gpt,GPT"], "models: 'gpt' is named twice, expected each once"),
        (["compare", "--models", "lsmt"], "unknown model 'lsmt', did you mean lstm?"),
        (["compare", "--json", ""], "'--json': expected a path, got ''"),
        (["compare", "--json", "a", "--report", "./a"], "--report: a: is that of --json too"),
        (["compare", "--json", "-", "--report", "-"], "--report: -: is that of --json too"),
        (["compare", "--json", "x" * 300], "cannot be written: File name too long"),
        (["compare", "-", "-"], "expected - once"),
        (["train", "-o", ""], "expected a path, got ''"),
        (["train", "-o", "."], "--output: .: holds the working directory"),
        (["train", "-o", "m", "--steps", "0"], "'--steps': 0 is not in the range"),
        (["train", "-o", "x" * 300], "cannot be written: File name too long"),
        (["train", "-o", "/nowhere/at/all"], "--output: /nowhere/at/all: there is no folder"),
        (["generate", "."], "holds no config.json, expected the folder of a model"),
        (["generate", ".", "--tokens", "9" * 20], f"'--tokens': {'9' * 20} is not in the range"),
        (
            ["generate", ".", "--prompt", "a\udcff"],
            "--prompt: expected UTF-8 text, got other bytes",
        ),
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


@pytest.mark.parametrize("command", ["compare", "train"])
def test_a_text_of_one_character_ends_with_one_line(tmp_path, capsys, command):
    (tmp_path / "a.txt").write_text("a")
    options = ["-o", str(tmp_path / "model")] if command == "train" else []
    assert run([command, str(tmp_path / "a.txt"), *options]) == 2
    _, err = lines(capsys)
    assert err == ["lamina: a.txt: 1 character is too few to train on and hold a tenth out"]


QUICK = ["--models", "ngram2", "--tokenizer", "char", "--no-bench"]


def test_what_is_read_is_not_replaced(novel, tmp_path, capsys):
    before = novel.read_bytes()
    link = tmp_path / "link.txt"
    link.symlink_to(novel)
    for output in (novel, link):
        assert run(["compare", str(novel), *QUICK, "--json", str(output)]) == 2
        assert "is a TEXT that is read" in lines(capsys)[1][0]
    assert novel.read_bytes() == before


def test_a_pipe_is_written_into(novel, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert run(["compare", str(novel), *QUICK, "--json", str(pipe)]) == 0
    reader.join()
    assert json.loads(read[0])["complete"]
    assert pipe.is_fifo()


def test_json_on_standard_output_is_alone_there(novel, capsys):
    assert run(["compare", str(novel), *QUICK, "--json", "-"]) == 0
    out, err = lines(capsys)
    assert [model["family"] for model in json.loads(out)["models"]] == ["ngram2"]
    assert "Summary" in err


def test_the_standard_input_and_the_stages(novel, capsys, monkeypatch):
    text = novel.read_bytes()
    results = []
    for name, content in (("-", text), (str(novel), b"")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert run(["compare", name, *QUICK, "--json", "-"]) == 0
        out, err = lines(capsys)
        assert err[:4] == [
            "training the tokenizer",
            "counting the text's entropy",
            "measuring the machine",
            "training the models",
        ]
        results.append(json.loads(out))
    assert results[0]["paths"] == ["-"]
    assert results[0]["models"][0]["bits_per_byte"] == results[1]["models"][0]["bits_per_byte"]


def test_with_steps_a_comparison_repeats(novel, capsys):
    made = []
    for _ in range(2):
        arguments = ["compare", str(novel), "--models", "lstm", "--tokenizer", "char", "--no-bench"]
        assert run([*arguments, "--steps", "3", "--json", "-"]) == 0
        made.append(json.loads(lines(capsys)[0]))
    for name in ("bits_per_byte", "sample"):
        assert made[0]["models"][0][name] == made[1]["models"][0][name]
    assert made[0]["seconds"] is None
    assert made[0]["steps"] == 3


def test_what_was_done_before_ctrl_c_is_kept(novel, tmp_path, capsys, monkeypatch):
    real = lm.evaluate

    def evaluate(model, text):
        if isinstance(model, lm.NGram) and model.order == 3:
            raise KeyboardInterrupt
        return real(model, text)

    monkeypatch.setattr(lm, "evaluate", evaluate)
    results = tmp_path / "results.json"
    arguments = ["compare", str(novel), "--models", "ngram2,ngram3", "--tokenizer", "char"]
    assert run([*arguments, "--json", str(results)]) == 130
    out, err = lines(capsys)
    assert "Interrupted: what follows is what was done by then." in out
    assert err[-1] == "lamina: interrupted"
    data = json.loads(results.read_text())
    assert not data["complete"]
    assert [model["family"] for model in data["models"]] == ["ngram2"]


def test_ctrl_c_keeps_the_model_trained_so_far(novel, tmp_path, capsys, monkeypatch):
    real = lm.NeuralLM.fit

    def fit(self, data, **options):
        real(self, data, **{**options, "steps": 2})
        raise KeyboardInterrupt

    monkeypatch.setattr(lm.NeuralLM, "fit", fit)
    folder = tmp_path / "model"
    arguments = ["train", str(novel), "--model", "gru", "--tokenizer", "char", "-o", str(folder)]
    assert run(arguments) == 130
    out, err = lines(capsys)
    assert out == f"trained for a part of the time only; written to {folder}\n"
    assert "interrupted: writing the model trained so far" in err
    assert run(["generate", str(folder), "--tokens", "5"]) == 0


def test_a_folder_of_other_files_is_left_alone(novel, tmp_path, capsys):
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("mine")
    arguments = ["train", str(novel), "--model", "ngram2", "--tokenizer", "char", "-o", str(own)]
    assert run(arguments) == 2
    assert "holds files that are not a model of lamina's" in lines(capsys)[1][0]
    assert (own / "config.json").read_text() == "mine"
    assert run([*arguments, "--force"]) == 0
    assert run(arguments) == 0  # It is lamina's now.


STARTING = """
import os, signal, sys
sys.argv[0] = {name!r}
signal.signal(signal.SIGINT, signal.default_int_handler)
import lamina
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize(("name", "code"), [("/usr/bin/lamina", 130), ("mine.py", -2)])
def test_ctrl_c_while_the_command_line_is_imported(name, code):
    done = subprocess.run(
        [sys.executable, "-c", STARTING.format(name=name)], capture_output=True, text=True
    )
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == (code != 130)


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
