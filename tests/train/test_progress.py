import io
import re
import sys

import pytest

from lamina.train import progress
from lamina.train.progress import Bar, Lines, Reporter, reporter

ROW = {"loss": 1.5, "steps": 10.0, "seconds": 0.25}


class Window(io.StringIO):
    """Says of itself that it is a terminal."""

    def isatty(self):
        return True


def open_window(monkeypatch, **environment):
    """Put a terminal in the place of the standard error."""
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1", **environment}.items():
        monkeypatch.setenv(name, value)
    made = Window()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def frames(window):
    """What was drawn, one after the other, less what moves the cursor."""
    parts = window.getvalue().split("\x1b[2K")
    return [re.sub("\x1b\\[[?0-9]*[a-zA-Z]", "", part).strip("\r") for part in parts]


def test_what_is_asked_for(monkeypatch):
    open_window(monkeypatch)
    assert type(reporter(False, 10)) is Reporter
    for asked in (None, True):
        bar = reporter(asked, 10)
        assert type(bar) is Bar
        bar.close()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(reporter(None, 10)) is Reporter
    assert type(reporter(True, 10)) is Lines


def test_a_bar_moves_and_is_removed(monkeypatch):
    window = open_window(monkeypatch)
    monkeypatch.setattr(progress, "_PERIOD", 0.0)
    bar = Bar(10)
    bar.step(5, 1.25)
    bar.epoch(0, ROW)
    bar.close()
    drawn = frames(window)
    line = "\u2501" * 20
    assert drawn[1] == f"training  {' ' * 40}  0/10  0:00:00"
    assert drawn[2] == drawn[4] == f"loss 1.2500  {line}{' ' * 20}  5/10  0:00:00  0:00:00 left"
    assert drawn[3] == "epoch 1: loss 1.5 (10 steps, 0.2 s)\n"
    assert drawn[5] == ""
    assert max(map(len, drawn)) <= 100
    assert window.getvalue().endswith("\x1b[?25h")


def test_it_does_not_move_with_every_step(monkeypatch):
    window = open_window(monkeypatch)
    monkeypatch.setattr(progress, "_PERIOD", 1e9)
    bar = Bar(10)
    before = window.getvalue()
    for done in range(1, 11):
        bar.step(done, 1.0)
    assert window.getvalue() == before
    bar.close()


@pytest.mark.parametrize("total", [None, 0])
def test_a_training_without_a_known_end(monkeypatch, total):
    window = open_window(monkeypatch)
    monkeypatch.setattr(progress, "_PERIOD", 0.0)
    bar = Bar(total)
    bar.step(7, 1.25)
    bar.close()
    assert frames(window)[2] == "loss 1.2500  7 steps  0:00:00"


def test_lines_alone_where_nothing_can_be_drawn_over(monkeypatch):
    window = open_window(monkeypatch, TERM="dumb")
    bar = Bar(10)
    bar.step(10, 1.0)
    bar.epoch(0, ROW)
    bar.close()
    assert window.getvalue() == "epoch 1: loss 1.5 (10 steps, 0.2 s)\n"


def test_a_narrow_window(monkeypatch):
    window = open_window(monkeypatch, COLUMNS="20")
    bar = Bar(1000)
    bar.close()
    assert frames(window)[1] == "training    0/1000  0:00:00"
