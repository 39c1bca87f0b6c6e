import gzip
import random

import pytest

from lamina.files import FormatError
from lamina.tagging import Template, read_conll, read_conllu

CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"
ROW = "{}\t{}\tl\tNOUN\tNN\t_\t{}\tdep\t_\t_\n"
CONLLU = (
    "# sent_id = 1\n"
    + "1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + ROW.format(1, "de", 2)
    + ROW.format(2, "le", 0)
    + "2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    + ROW.format(1, "Où", "_")
)


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns(tmp_path):
    path = write(tmp_path / "a.conll", CONLL)
    assert read_conll(path) == [
        [("EU", "NNP", "B-ORG"), ("rejects", "VBZ", "O")],
        [("Peter", "NNP", "B-PER")],
    ]
    assert read_conll(path, (0, -1))[1] == [("Peter", "B-PER")]
    packed = tmp_path / "a.conll.gz"
    packed.write_bytes(gzip.compress(CONLL.encode()))
    assert read_conll(packed) == read_conll(path)
    marked = write(tmp_path / "b", "﻿# no\r\na\tx y\r\n")
    assert read_conll(marked, separator="\t", comment="#") == [[("a", "x y")]]
    assert read_conll(write(tmp_path / "c", "")) == []


def test_treebank(tmp_path):
    first, second = read_conllu(write(tmp_path / "a.conllu", CONLLU))
    assert first.form == ["de", "le"]
    assert first.head == [2, 0]
    assert first.comments == ["sent_id = 1"]
    assert second.form == ["Où"]
    assert second.head == [-1]
    assert len(first) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1\ta\n", "line 1: expected 10 columns, got 2"),
        (ROW.format(2, "a", 0), "line 1: expected word 1, got 2"),
        (ROW.format("x", "a", 0), "line 1: expected the number of a word, got 'x'"),
        (ROW.format(1, "a", "y"), "line 1: expected the number of a head, got 'y'"),
        (ROW.format(1, "a", 5) + "\n", "line 2: .* has 1 words, but word 1 has the head 5"),
        (b"ab\xff\n", "line 1: is not UTF-8"),
    ],
)
def test_broken_treebank_lines_are_named(tmp_path, text, reason):
    with pytest.raises(FormatError, match=reason):
        read_conllu(write(tmp_path / "a", text))


def test_broken_column_lines_are_named(tmp_path):
    with pytest.raises(FormatError, match="line 2: expected 2 columns, got 1"):
        read_conll(write(tmp_path / "a", "a b\nc\n"))
    with pytest.raises(FormatError, match="line 1: expected 3 columns, got 2"):
        read_conll(tmp_path / "a", (0, 2))
    with pytest.raises(FormatError, match="no complete gzip file"):
        read_conll(write(tmp_path / "a.gz", gzip.compress(b"a b\n" * 99)[:-9]))
    with pytest.raises(FileNotFoundError):
        read_conll(tmp_path / "none")


def mutations(whole, rounds):
    rng = random.Random(1)  # noqa: S311
    for i in range(rounds):
        data = bytearray(whole)
        if i % 2:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield bytes(data)


def test_changed_files_are_read_or_refused(tmp_path):
    path = tmp_path / "a"
    readers = ((read_conll, CONLL), (read_conllu, CONLLU))
    for reader, text in readers:
        for data in mutations(text.encode(), 1000):
            path.write_bytes(data)
            try:
                reader(path)
            except FormatError as error:
                assert str(path) in str(error)  # noqa: PT017
    source = "# c\nU00:%x[-2,0]\nU01:%x[0,0]/%x[1,1]\n\nB\n"
    for data in mutations(source.encode(), 2000):
        path.write_bytes(data)
        try:
            Template.load(path)([("a", "b")] * 3)
        except ValueError as error:
            assert str(error)  # noqa: PT017


def test_templates():
    template = Template("# comment\nU00:%x[-2,0]\nU01:%x[0,0]/%x[1,1]\n\nU02\nB\n")
    assert template.transitions
    assert len(template) == 3
    rows = [("the", "D"), ("cat", "N"), ("sat", "V")]
    assert template(rows) == [
        ["U00:_B-2", "U01:the/N", "U02"],
        ["U00:_B-1", "U01:cat/V", "U02"],
        ["U00:the", "U01:sat/_B+1", "U02"],
    ]
    assert template([]) == []


def test_bad_templates_are_named(tmp_path):
    with pytest.raises(ValueError, match="line 2: expected U, B or #, got 'X'"):
        Template("U00\nX")
    with pytest.raises(ValueError, match=r"line 1: expected %x\[row,column\]"):
        Template("U00:%x[a,0]")
    with pytest.raises(ValueError, match="line 1: pairs of labels with attributes"):
        Template("B01:%x[0,0]")
    with pytest.raises(ValueError, match="expected 3 columns, got 1 in row 0"):
        Template("U00:%x[0,2]")([("a",)])
    path = tmp_path / "t"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not UTF-8"):
        Template.load(path)
