import os
import signal
import subprocess
import sys
import time

import pytest

from lamina.cli import run
from lamina.lm import NGram
from lamina.text import shakespeare


@pytest.fixture
def novel(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text(shakespeare()[:100_000])
    return path


def test_the_steps_give_what_training_gives(novel, tmp_path, capsys):
    text = novel.read_text()
    cut = text.index("\n", 40_000) + 1
    for name, part in (("a", text[:cut]), ("b", text[cut:])):
        (tmp_path / f"{name}.txt").write_text(part)
        command = ["ngram", "count", str(tmp_path / f"{name}.txt"), "-o", "3"]
        assert run([*command, "--counts", str(tmp_path / f"{name}.counts")]) == 0
    shards = [str(tmp_path / f"{name}.counts") for name in "ab"]
    assert run(["ngram", "merge", *shards, "--counts", str(tmp_path / "c.counts")]) == 0
    options = ["--prune", "0 1 1", "--no-interpolate-unigrams", "--discount-fallback"]
    model = str(tmp_path / "steps.arpa")
    assert run(["ngram", "estimate", str(tmp_path / "c.counts"), "--model", model, *options]) == 0
    for name, more in (("train.arpa", []), ("train.bin", ["-S", "1M", "-T", str(tmp_path)])):
        command = ["ngram", "train", "-o", "3", str(novel), "--model", str(tmp_path / name)]
        assert run([*command, *options, *more]) == 0
    NGram.load_binary(tmp_path / "train.bin").save_arpa(tmp_path / "binary.arpa")
    expected = (tmp_path / "steps.arpa").read_bytes()
    assert (tmp_path / "train.arpa").read_bytes() == expected
    assert (tmp_path / "binary.arpa").read_bytes() == expected
    out, err = capsys.readouterr()
    assert "3-grams: " in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "-o", "3", "nowhere", "--model", "m"], "No such file or directory: 'nowhere'"),
        (["train", "-o", "21", "t", "--model", "m"], "21 is not in the range"),
        (["train", "-o", "3", "t", "--model", ""], "expected a path, got ''"),
        (["train", "-o", "3", "t", "--model", "m", "--prune", "x"], "expected whole numbers"),
        (["train", "-o", "3", "t", "--model", "m", "-S", "much"], "expected a size such as"),
        (["count", "-o", "3", "-", "-", "--counts", "c"], "expected - once"),
        (["merge", "nowhere", "--counts", "c"], "No such file or directory: 'nowhere'"),
        (["estimate", "t", "--model", "m"], "expected at least 64 bytes"),
        (["train", "-o", "3", "t", "--model", "m"], "discounts of order 1 are undefined"),
    ],
)
def test_bad_options_end_with_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_text("a b c\n")
    assert run(["ngram", *arguments]) == 2
    _, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert message in err
    assert os.listdir(tmp_path) == ["t"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ended_run_leaves_nothing(tmp_path, number):
    text = tmp_path / "text"
    text.write_text(shakespeare() * 12)
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-m", "lamina", "ngram", "train", "-o", "5", str(text)]
    command += ["--model", str(work / "m.bin"), "-S", "1M", "-T", str(work)]
    command += ["--discount-fallback"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not os.listdir(work) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(number)
    process.communicate()
    assert process.returncode in (130, -number)
    assert os.listdir(work) == []
