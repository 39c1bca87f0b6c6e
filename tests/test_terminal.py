import io
import os
import re
import signal
import subprocess
import sys
import termios
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.terminal import Column, Live, Terminal, columns, styled, table, wrap


class Screen:
    """What a terminal shows after what was written to it, and whether its cursor is seen."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.lines, self.scrolled = [""], []
        self.x = self.y = 0
        self.cursor = self.breaks = True

    def feed(self, text):
        for code, character in re.findall(r"\x1b\[([?0-9;]*[A-Za-z])|([^\x1b])", text):
            if code:
                self.obey(code)
            elif character == "\r":
                self.x = 0
            elif character == "\n":
                self.y += 1
                if self.y == len(self.lines):
                    self.lines.append("")
                if self.y == self.height:
                    self.scrolled.append(self.lines.pop(0))
                    self.y -= 1
            else:
                if self.x == self.width and self.breaks:
                    self.feed("\r\n")
                self.x = min(self.x, self.width - 1)
                line = self.lines[self.y].ljust(self.x)
                self.lines[self.y] = line[: self.x] + character + line[self.x + 1 :]
                self.x += 1

    def obey(self, code):
        if code.startswith("?"):
            attribute = {"?25": "cursor", "?7": "breaks"}[code[:-1]]
            setattr(self, attribute, code[-1] == "h")
        elif code.endswith("A"):
            self.y = max(0, self.y - int(code[:-1]))
        elif code == "2K":
            self.lines[self.y] = ""
        else:
            assert code.endswith("m"), code

    @property
    def text(self):
        lines = [line.rstrip() for line in self.scrolled + self.lines]
        while not lines[-1] and len(lines) > len(self.scrolled) + self.y + 1:
            lines.pop()
        return "\n".join(lines)

    @property
    def left_as_it_was(self):
        return self.cursor and self.breaks and self.x == 0


class Window:
    """A terminal of the system, with a screen at the other end."""

    def __init__(self):
        self.raw = ""
        self.master, slave = os.openpty()
        os.set_blocking(self.master, False)
        self.file = os.fdopen(slave, "w", encoding="utf-8")
        self.resize(40, 8)

    def resize(self, width, height):
        self.screen = Screen(width, height)
        termios.tcsetwinsize(self.master, (height, width))

    def read(self):
        try:
            while data := os.read(self.master, 65536):
                self.raw += data.decode()
                self.screen.feed(data.decode())
        except (BlockingIOError, OSError):  # Nothing now, or all closed it.
            return self.screen.text
        return self.screen.text

    def wait_for(self, text):
        for _ in range(600):
            if text in self.read():
                return
            time.sleep(0.05)
        raise AssertionError(f"no {text!r} in {self.read()!r}")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def window():
    made = Window()
    yield made
    made.file.close()
    os.close(made.master)


# Width and styles.


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("\x1b[1mabc\x1b[0m", 3), ("\u6f22\u5b57", 4), ("e\u0301\u200b", 1)],
)
def test_columns(text, width):
    assert columns(text) == width


def test_styles_are_word_by_word():
    assert (
        styled("a  b", fg="green", bold=True) == "\x1b[32m\x1b[1ma\x1b[0m  \x1b[32m\x1b[1mb\x1b[0m"
    )
    assert styled("a b") == "a b"
    assert styled("", dim=True) == ""


# Lines.


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("one two three", ["one two", "three"]),
        ("  one two", ["  one", "two"]),
        ("one\n\ntwo ", ["one", "", "two"]),
        ("a    b", ["a    b"]),
        ("exactly ", ["exactly"]),
        ("unbreakable", ["unbreak", "able"]),
        ("a unbreakable b", ["a", "unbreak", "able b"]),
        ("\u6f22\u5b57\u6f22\u5b57", ["\u6f22\u5b57\u6f22", "\u5b57"]),
    ],
)
def test_wrap(text, lines):
    assert wrap(text, 7) == lines


def test_styles_do_not_count_for_width():
    text = styled("one two three", dim=True)
    assert wrap(text, 7) == [styled("one two", dim=True), styled("three", dim=True)]


@given(st.text(alphabet="ab \n\u6f22\u0301"), st.integers(2, 9))
def test_wrapped_lines_fit_and_lose_only_blanks(text, width):
    lines = wrap(text, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == re.sub(r"[ \n]", "", text)


# Tables.


def test_a_table():
    heads = [Column("name"), Column("how\nmany", right=True), Column("", least=3), Column("x")]
    rows = [["a", "1", "", "y"], ["long", "1,000", "\u6f22", ""]]
    assert [re.sub("\x1b.*?m", "", line) for line in table(heads, rows, 80)] == [
        "        how",
        "name   many       x",
        "a         1       y",
        "long  1,000  \u6f22",
    ]
    assert table(heads, rows, 80)[1].startswith(styled("name", dim=True))


def test_no_heading_no_line_for_it():
    assert table([Column(), Column()], [["a", "b"]], 80, gap=1) == ["a b"]
    assert table([Column("a")], [], 80) == [styled("a", dim=True)]


def test_wide_columns_share_what_the_others_leave():
    heads = [Column(), Column(wraps=True), Column(wraps=True), Column(wraps=True)]
    long = "words " * 12
    lines = table(heads, [["fixed", long, "short", long]], 60)
    assert max(map(len, lines)) <= 60
    assert re.split("  +", lines[0]) == ["fixed", "words words words", "short", "words words words"]
    assert len(lines) == 4


def test_a_column_stays_readable_where_there_is_no_room():
    lines = table([Column(), Column(wraps=True)], [["x" * 30, "one two"]], 20)
    assert lines == ["x" * 30 + "  one two"]


def test_a_style_ends_where_its_line_ends():
    work = f"name {styled('1 x 2 x 3', dim=True)}"
    lines = table([Column(wraps=True), Column(right=True)], [[work, "5"]], 12)
    for line in lines:
        assert line.count("\x1b[2m") == line.count("\x1b[0m")
    assert [re.sub("\x1b.*?m", "", line) for line in lines] == ["name 1 x   5", "2 x 3"]


# Where text goes.


def test_a_file_gets_no_escape_codes():
    file = io.StringIO()
    terminal = Terminal(file)
    terminal.print(styled("bold", bold=True) + terminal.bar(0.5, 4))
    with Live(terminal, lambda: ["never shown"]) as live:
        live.draw()
    assert file.getvalue() == "bold\u2501\u2501  \n"


def test_a_terminal_gets_them(window):
    terminal = Terminal(window.file)
    assert (terminal.width, terminal.height) == (40, 8)
    terminal.print(styled("bold", bold=True))
    window.read()
    assert window.raw == "\x1b[1mbold\x1b[0m\r\n"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(window, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    terminal = Terminal(window.file)
    terminal.print(styled("plain", fg="green", bold=True))
    with Live(terminal, lambda: [styled("block", fg="green")]):
        window.wait_for("plain" if variable == "TERM" else "block")
    window.read()
    assert not re.search("\x1b\\[[0-9;]*m", window.raw)
    assert ("\x1b" in window.raw) == (variable == "NO_COLOR")


def test_the_environment_gives_the_size(monkeypatch, window):
    monkeypatch.setenv("COLUMNS", "33")
    monkeypatch.setenv("LINES", "wrong")
    assert (Terminal(window.file).width, Terminal(window.file).height) == (33, 8)
    assert Terminal(io.StringIO(), width=5).width == 5


def test_characters_that_the_stream_lacks():
    raw = io.BytesIO()
    terminal = Terminal(io.TextIOWrapper(raw, encoding="ascii"))
    terminal.print("\u00e9 " + terminal.bar(0.5, 4) + "|")
    assert raw.getvalue().replace(b"\r", b"") == b"? --  |\n"


@pytest.mark.parametrize(("share", "full"), [(-1, 0), (0, 0), (0.5, 2), (0.6, 2.5), (9, 4)])
def test_bar(share, full):
    bar = Terminal(io.StringIO()).bar(share, 4)
    assert columns(bar) == 4
    assert bar.count("\u2501", 0, bar.find("\x1b[2m")) + bar.count("\u2578") / 2 == full


# The block that is drawn over itself.


def test_it_is_drawn_over_itself_and_removed(window):
    lines = ["one", "two"]
    window.file.write("before\n")
    with Live(Terminal(window.file), lambda: lines) as live:
        assert window.read() == "before\none\ntwo"
        assert not window.screen.cursor
        lines[:] = ["1", "2", "3"]
        live.draw()
        assert window.read() == "before\n1\n2\n3"
        lines[:] = ["less"]
        live.draw()
        assert window.read() == "before\nless"
    live.draw()
    live.stop()
    assert window.read() == "before\n"
    assert window.screen.left_as_it_was
    assert window.raw.count("\x1b[?25l") == window.raw.count("\x1b[?25h") == 1


def test_it_is_drawn_by_itself(window):
    count = iter(range(1000))
    with Live(Terminal(window.file), lambda: [f"frame {next(count)}"], period=0.01):
        window.wait_for("frame 3")
    assert window.read() == ""


def test_it_is_no_larger_than_the_window(window):
    lines = [f"line {i} " + "x" * 60 for i in range(20)]
    with Live(Terminal(window.file), lambda: lines) as live:
        live.draw()
        assert window.read() == "\n".join(line[:39] + "x" for line in lines[:8])
        assert window.screen.scrolled == []
    assert window.read() == ""
    assert window.screen.left_as_it_was


def test_lines_that_a_narrower_window_broke_are_erased(window):
    lines = ["x" * 40, "short", "y" * 30]
    with Live(Terminal(window.file), lambda: lines) as live:
        window.read()
        window.resize(20, 8)
        window.screen.feed("above\r\n" + "x" * 20 + "\r\n" + "x" * 20 + "\r\nshort\r\n")
        window.screen.feed("y" * 20 + "\r\n" + "y" * 10)
        lines[:] = ["new"]
        live.draw()
        assert window.read() == "above\nnew"
    assert window.read() == "above\n"


@pytest.mark.parametrize("period", [None, 0.01])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_all_of_it_is_left(window, error, period):
    lines = [f"line {i}" for i in range(12)]
    with (
        pytest.raises(error),
        Live(Terminal(window.file), lambda: lines, period),
    ):
        raise error
    assert window.read() == "\n".join([*lines, ""])
    assert window.screen.left_as_it_was


def test_what_is_printed_meanwhile_stands_above(window, monkeypatch):
    monkeypatch.setattr(sys, "stdout", window.file)
    errors = sys.stderr
    with Live(Terminal(window.file), lambda: ["block"]):
        print("printed")
        print("half", end="")
        assert window.read() == "printed\nblock"
        print(" and half")
        # Within, there is no second block, and its lines stand above the first.
        inner = Terminal()
        with Live(inner, lambda: ["inner"]):
            inner.print(styled("styled", bold=True))
        print("rest", end="")
        assert window.read() == "printed\nhalf and half\nstyled\nblock"
        kept = sys.stdout
        assert sys.stderr is errors  # It goes elsewhere.
    assert sys.stdout is window.file
    print("\nafter")
    print("by one who kept the stream", file=kept)
    expected = "printed\nhalf and half\nstyled\nrest\nafter\nby one who kept the stream\n"
    assert window.read() == expected
    assert "\x1b[1mstyled" in window.raw


COMPARE = """
import os, signal
from lamina.cli import main
os.login_tty(0)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main("compare --models ngram1,rnn --seconds 60 --tokenizer char --no-bench".split())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_leave_the_terminal_as_it_was(window, number):
    window.resize(80, 24)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), window.file)
    child = subprocess.Popen([sys.executable, "-c", COMPARE], **streams)
    window.wait_for("RNN      training")
    child.send_signal(number)
    assert child.wait(30) == -number
    window.read()
    assert window.screen.left_as_it_was
    assert "Traceback" not in window.raw


def test_ctrl_c_in_a_comparison(window):
    window.resize(80, 24)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), window.file)
    child = subprocess.Popen([sys.executable, "-c", COMPARE], **streams)
    window.wait_for("RNN      training")
    assert not window.screen.cursor
    os.write(window.master, b"\x03")
    assert child.wait(30) == 130
    rows = window.read().replace("^C", "").splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith("model"))
    assert "tokenizer char" in " ".join(rows[:at])
    assert rows[at].split() == ["model", "stage", "seconds", "bits", "per", "byte"]
    assert rows[at + 1].split()[:2] == ["unigram", "done"]
    assert rows[at + 2].split()[:2] == ["RNN", "training"]
    assert "Interrupted: what follows is what was done by then." in rows
    assert rows[-1] == "lamina: interrupted"
    assert window.screen.left_as_it_was
