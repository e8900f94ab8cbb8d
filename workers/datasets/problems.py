"""What is wrong with a data set, in words that name the file, the line and the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

EXCERPT = 60
"""How many characters of a user's text a message repeats."""


class Severity(StrEnum):
    """What a problem means for training."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Problem:
    """One thing that was found.

    Attributes:
        severity: An error refuses the data set; a warning is said and training goes on; a note is for the curious.
        file: The file or folder, safe to print.
        rule: What must hold.
        found: What is there instead.
        advice: What to do, or what will be done.
        line: Line in `file`, from 1, where one can be named.
    """

    severity: Severity
    file: str
    rule: str
    found: str
    advice: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.rule}, but got {self.found}; {self.advice}"


@dataclass
class Problems:
    """Collects problems in the order in which they are found."""

    found: list[Problem] = field(default_factory=list)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    @property
    def has_errors(self) -> bool:
        """Whether one of them refuses the data set."""
        return any(problem.severity is Severity.ERROR for problem in self.found)

    def error(self, path: str | os.PathLike[str], rule: str, found: str, advice: str) -> None:
        """Add a problem that refuses the data set."""
        self.found.append(Problem(Severity.ERROR, show(path), rule, found, advice))

    def warn(self, path: str | os.PathLike[str], rule: str, found: str, advice: str) -> None:
        """Add a problem that is said and lived with."""
        self.found.append(Problem(Severity.WARNING, show(path), rule, found, advice))

    def note(self, path: str | os.PathLike[str], rule: str, found: str, advice: str) -> None:
        """Add something that is worth knowing and asks for nothing."""
        self.found.append(Problem(Severity.NOTE, show(path), rule, found, advice))


def printable(text: str) -> str:
    """`text` on one line and harmless to a terminal.

    Line breaks, escape codes, invisible characters and bytes that are not UTF-8 come out as backslash escapes.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    is_raw_byte = "\udc80" <= char <= "\udcff"  # how os.fsdecode carries a byte that is not UTF-8
    return f"\\x{ord(char) - 0xDC00:02x}" if is_raw_byte else char.encode("unicode_escape").decode("ascii")


def show(path: str | os.PathLike[str]) -> str:
    """A path for a message: relative to the current directory where it lies inside, and safe to print."""
    text = os.fspath(path)
    inside = os.path.join(os.getcwd(), "")
    return printable(text.removeprefix(inside) or text)


def excerpt(text: str) -> str:
    """The beginning of a user's text, in quotes and safe to print."""
    return f"'{printable(text if len(text) <= EXCERPT else text[:EXCERPT] + '…')}'"
