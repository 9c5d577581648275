"""The grammar of REAPER's project files: blocks, lines and quoted words, each with its place.

A project is text in lines. ``<NAME word ...`` opens a block, a line that is ``>`` alone closes it,
any other line is a statement: a name and words. A word with blanks in it is put between whichever
of ``"``, ``'`` and a backtick it doesn't hold; nothing is ever escaped (as REAPER's own library
WDL writes it, projectcontext.cpp). Encoding: UTF-8, though anything may stand in a name.

Libraries were looked at first. ``rpp`` 0.5 (BSD) and ``rppxml`` 0.1.4 read a project into nested
lists and write the lists out again: indentation, quotes, line ends and spaces are theirs
afterwards, not the file's. ``reathon`` only writes. Nothing but faders and a note may change here,
so the places of words in the file are kept, and only the bytes of those words are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mixing_buddy.errors import ProjectError
from mixing_buddy.workstations.project import MAX_NUMBER

_WORD = re.compile(rb"\"([^\"]*)\"|'([^']*)'|`([^`]*)`|([^ \t]+)")

#: Deeper than any project is nested; beyond it a file is no project but an attack or garbage.
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Word:
    """A word of a line.

    Args:
        text: the word without its quotes; bytes that are no UTF-8 stand as lone surrogates.
        start: its first byte in the file, a quote included.
        end: the byte after it.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Line:
    """A statement.

    Args:
        words: its words; never empty.
        start: its first byte in the file, indentation included.
        end: the byte after its line end.
        number: its number in the file, from 1.
    """

    words: tuple[Word, ...]
    start: int
    end: int
    number: int

    @property
    def name(self) -> str:
        """Its first word."""
        return self.words[0].text

    def number_at(self, index: int, default: float) -> float:
        """Read a word as a number; `default` where there is none, or one beyond all reason."""
        try:
            value = float(self.words[index].text)
        except (IndexError, ValueError):
            return default
        return value if abs(value) <= MAX_NUMBER else default


@dataclass
class Block:
    """A block.

    Args:
        head: the line that opens it, without the ``<``.
        children: statements and blocks inside it, in order.
        end: first byte of the line that closes it.
    """

    head: Line
    children: list[Line | Block] = field(default_factory=list)
    end: int = -1

    @property
    def name(self) -> str:
        """Its tag, such as ``TRACK``."""
        return self.head.name

    def lines(self, name: str) -> Iterator[Line]:
        """Yield the statements of that name directly inside it."""
        return (each for each in self.children if isinstance(each, Line) and each.name == name)

    def line(self, name: str) -> Line | None:
        """The first statement of that name directly inside it."""
        return next(self.lines(name), None)

    def blocks(self, *names: str) -> Iterator[Block]:
        """Yield the blocks of these names directly inside it."""
        return (each for each in self.children if isinstance(each, Block) and each.name in names)

    def number(self, name: str, index: int, default: float) -> float:
        """Read a number out of the first statement of that name."""
        line = self.line(name)
        return default if line is None else line.number_at(index, default)


def parse_rpp(data: bytes, path: Path) -> Block:
    """Read a project.

    Args:
        data: the bytes of the file.
        path: the file, for messages.

    Returns:
        The block ``REAPER_PROJECT``.

    Raises:
        ProjectError: it is no REAPER project, it ends too early, or blocks don't match.
    """
    stack: list[Block] = []
    root: Block | None = None
    start = 0
    for number, raw in enumerate(data.split(b"\n"), start=1):
        end = min(start + len(raw) + 1, len(data))
        text = raw.rstrip(b"\r").lstrip(b" \t")
        if root is None and not text.startswith(b"<REAPER_PROJECT"):
            raise ProjectError(
                f"{path}: this is no REAPER project: it doesn't begin with <REAPER_PROJECT."
            )
        if root is not None and not stack:
            if text.strip():
                raise ProjectError(
                    f"{path}: line {number} stands after the end of the project: the file is "
                    "damaged. Save it again in REAPER."
                )
        elif text.rstrip() == b">":
            stack.pop().end = start
        elif text.startswith(b"<") and text[1:2].strip():
            block = Block(_read_line(raw, start, end, number, opens=True))
            if stack:
                stack[-1].children.append(block)
            root = root or block
            stack.append(block)
            if len(stack) > _MAX_DEPTH:
                raise ProjectError(f"{path}: line {number}: blocks nested {_MAX_DEPTH} deep.")
        elif text.strip():
            stack[-1].children.append(_read_line(raw, start, end, number))
        start = end
    if stack:
        raise ProjectError(
            f"{path}: the file ends inside the block {stack[-1].name} of line "
            f"{stack[-1].head.number}: it is truncated. Save or copy it again."
        )
    return root


def line_end_of(data: bytes) -> bytes:
    """The line end that a project uses, judged by its first line."""
    return b"\r\n" if data.split(b"\n", 1)[0].endswith(b"\r") else b"\n"


def _read_line(raw: bytes, start: int, end: int, number: int, *, opens: bool = False) -> Line:
    text = raw.rstrip(b"\r")
    place = len(text) - len(text.lstrip(b" \t")) + opens
    words = []
    for match in _WORD.finditer(text, place):
        word = match[match.lastindex].decode("utf-8", "surrogateescape")
        words.append(Word(word, start + match.start(), start + match.end()))
    return Line(tuple(words), start, end, number)
