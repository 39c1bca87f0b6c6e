"""Readers of annotated text in columns: CoNLL and CoNLL-U."""

import gzip
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lamina.files import FormatError

PathLike = str | os.PathLike[str]

_FIELDS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_ID = re.compile(r"(\d+)(?:([-.])(\d+))?")


def _lines(path: PathLike) -> Iterator[tuple[int, str]]:
    """Numbers and lines of a text in UTF-8, plain or compressed, without their ends."""
    name = os.fspath(path)
    number = 0
    try:
        with gzip.open(name, "rb") if name.endswith(".gz") else Path(name).open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.rstrip("\r\n")
    except UnicodeDecodeError as error:
        reason = f"line {number}: is not UTF-8: {error.reason}"
        raise FormatError(path, reason) from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise FormatError(path, f"is no complete gzip file: {error}") from None


def read_conll(
    path: PathLike,
    columns: Sequence[int] | None = None,
    *,
    separator: str | None = None,
    comment: str | None = None,
) -> list[list[tuple[str, ...]]]:
    """The sentences of a file with one item a line, an empty line between sentences.

    Lines that begin with ``-DOCSTART-`` end a sentence and are left out.

    Args:
        path: UTF-8, compressed where it ends in ``.gz``.
        columns: which to keep, counted from zero, or from the end where negative; all by default.
        separator: between columns; any white space by default.
        comment: lines that begin with this are left out.

    Returns:
        For each sentence a tuple of columns for each item.

    Raises:
        FormatError: a line has fewer columns than asked for, or than the first one; the message
            names the line.
    """
    sentences: list[list[tuple[str, ...]]] = []
    rows: list[tuple[str, ...]] = []
    width = None
    for number, line in _lines(path):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if rows:
                sentences.append(rows)
                rows = []
            continue
        if comment is not None and line.startswith(comment):
            continue
        row = line.split(separator)
        if width is None:
            width = len(row)
        needed = width if columns is None else max(c + 1 if c >= 0 else -c for c in (*columns, 0))
        if len(row) < needed or (columns is None and len(row) != width):
            raise FormatError(path, f"line {number}: expected {needed} columns, got {len(row)}")
        rows.append(tuple(row) if columns is None else tuple(row[c] for c in columns))
    if rows:
        sentences.append(rows)
    return sentences


@dataclass(slots=True)
class ConlluSentence:
    """A sentence of a treebank in the CoNLL-U format.

    The lists have a value for each word; ranges of words that are written as one, such as ``2-3``,
    and empty nodes, such as ``5.1``, are left out.

    Attributes:
        form: words as they are written.
        lemma: base forms.
        upos: universal parts of speech.
        xpos: parts of speech of the language.
        feats: morphology, ``"_"`` where there is none.
        head: number of the word that governs each, 0 for the root, -1 where it is not given.
        deprel: relation to it.
        deps: enhanced graph.
        misc: anything else.
        comments: lines before the sentence, without ``#``.
    """

    form: list[str] = field(default_factory=list)
    lemma: list[str] = field(default_factory=list)
    upos: list[str] = field(default_factory=list)
    xpos: list[str] = field(default_factory=list)
    feats: list[str] = field(default_factory=list)
    head: list[int] = field(default_factory=list)
    deprel: list[str] = field(default_factory=list)
    deps: list[str] = field(default_factory=list)
    misc: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.form)


def read_conllu(path: PathLike) -> list[ConlluSentence]:
    """The sentences of a treebank.

    Args:
        path: UTF-8, compressed where it ends in ``.gz``.

    Raises:
        FormatError: a line is not ten columns apart by tabs, the numbers of words do not rise by
            one, or a head is no number of a word; the message names the line.
    """
    sentences: list[ConlluSentence] = []
    sentence = ConlluSentence()
    number = 0

    def finish() -> None:
        nonlocal sentence
        count = len(sentence)
        for word, head in enumerate(sentence.head, 1):
            if head > count:
                raise FormatError(
                    path,
                    f"line {number}: the sentence that ends here has {count} words, "
                    f"but word {word} has the head {head}",
                )
        if count:
            sentences.append(sentence)
        sentence = ConlluSentence()

    for number, line in _lines(path):
        if not line.strip():
            finish()
        elif line.startswith("#"):
            sentence.comments.append(line[1:].strip())
        else:
            _add(sentence, line, number, path)
    finish()
    return sentences


def _add(sentence: ConlluSentence, line: str, number: int, path: PathLike) -> None:
    row = line.split("\t")
    if len(row) != len(_FIELDS):
        raise FormatError(path, f"line {number}: expected 10 columns, got {len(row)}")
    match = _ID.fullmatch(row[0])
    if match is None:
        raise FormatError(
            path, f"line {number}: expected the number of a word, got {row[0][:20]!r}"
        )
    if match[2] is not None:
        return
    expected = len(sentence) + 1
    if row[0] != str(expected):
        raise FormatError(path, f"line {number}: expected word {expected}, got {row[0][:20]}")
    head = row[6]
    if head != "_" and not (head.isascii() and head.isdigit() and len(head) < 10):
        raise FormatError(path, f"line {number}: expected the number of a head, got {head[:20]!r}")
    sentence.head.append(-1 if head == "_" else int(head))
    for name, value in zip(_FIELDS, row, strict=True):
        if name not in ("id", "head"):
            getattr(sentence, name).append(value)
