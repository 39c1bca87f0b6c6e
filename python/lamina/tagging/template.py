"""Feature templates in the notation of CRF++."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

_MACRO = re.compile(r"%x\[\s*([+-]?\d{1,9})\s*,\s*(\d{1,9})\s*\]")


class _Line(NamedTuple):
    """A template: text between macros, and the row and column of each macro."""

    texts: tuple[str, ...]
    macros: tuple[tuple[int, int], ...]


class Template:
    """Attributes of items by templates such as ``U05:%x[-1,0]/%x[0,0]``.

    A line that begins with ``U`` makes an attribute of each item: every ``%x[row,column]`` in it is
    replaced by a column of the item that many rows away, or by ``_B-1``, ``_B-2`` and so on before
    the sequence and ``_B+1`` behind it. A line ``B`` asks for pairs of labels, which a chain
    always has. Lines that are empty or begin with ``#`` count for nothing.

    Args:
        text: the templates, one a line.

    Raises:
        ValueError: a line is none of these; the message names it. Pairs of labels with attributes,
            ``B01:%x[0,0]``, are not supported.
    """

    def __init__(self, text: str) -> None:
        self.transitions = False
        self._lines: list[_Line] = []
        for number, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            if line and not line.startswith("#"):
                self._add(line, number)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The templates in a file of UTF-8."""
        try:
            return cls(Path(path).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not UTF-8: {error.reason}") from None

    def _add(self, line: str, number: int) -> None:
        kind = line[0]
        if kind not in "UB":
            raise ValueError(f"template, line {number}: expected U, B or #, got {line[:40]!r}")
        found = list(_MACRO.finditer(line))
        left = _MACRO.sub("", line)
        if "%x" in left:
            raise ValueError(f"template, line {number}: expected %x[row,column] in {line[:40]!r}")
        if kind == "B":
            if found:
                raise ValueError(
                    f"template, line {number}: pairs of labels with attributes are not supported, "
                    f"got {line[:40]!r}"
                )
            self.transitions = True
            return
        starts = [0, *(match.end() for match in found)]
        ends = [*(match.start() for match in found), len(line)]
        texts = tuple(line[a:b] for a, b in zip(starts, ends, strict=True))
        macros = tuple((int(match[1]), int(match[2])) for match in found)
        self._lines.append(_Line(texts, macros))

    def __len__(self) -> int:
        return len(self._lines)

    def __call__(self, rows: Sequence[Sequence[str]]) -> list[list[str]]:
        """The attributes of each item of a sequence.

        Args:
            rows: the columns of each item, L rows.

        Raises:
            ValueError: a row has fewer columns than a template asks for.
        """
        count = len(rows)
        width = max((column for line in self._lines for _, column in line.macros), default=-1) + 1
        for i, row in enumerate(rows):
            if len(row) < width:
                raise ValueError(f"template: expected {width} columns, got {len(row)} in row {i}")
        items = []
        for t in range(count):
            item = []
            for texts, macros in self._lines:
                parts = [texts[0]]
                for (offset, column), text in zip(macros, texts[1:], strict=True):
                    at = t + offset
                    if at < 0:
                        parts.append(f"_B{at}")
                    elif at >= count:
                        parts.append(f"_B+{at - count + 1}")
                    else:
                        parts.append(rows[at][column])
                    parts.append(text)
                item.append("".join(parts))
            items.append(item)
        return items
