"""The contenders of an answer side by side, for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evolve.formatting import MISSING
from evolve.verdict import SINGLE, Answer, Contender, Gain, name_of, sample_text


@dataclass(frozen=True)
class Line:
    """A contender: its cells, and whether it is the winner."""

    cells: Sequence[str]
    strong: bool


@dataclass(frozen=True)
class Contest:
    """A table of contenders.

    Attributes:
        title: What it is called.
        said: What to know when reading it.
        head: Headings.
        lines: The contenders, the best first.
    """

    title: str
    said: str
    head: Sequence[str]
    lines: Sequence[Line]


def contest(answer: Answer | None) -> Contest | None:
    """The table of an answer; None where there is nothing to see but one training each."""
    if answer is None or answer.source == SINGLE:
        return None
    shown = [("individual", name_of), ("validation", lambda each: sample_text(each.validation))]
    shown += [("seeds", lambda each: str(each.validation.n if each.validation else 0))]
    shown += [("gain", lambda each: _gain(each.gain))]
    if any(each.test for each in answer.contenders):
        shown += [
            ("test", lambda each: sample_text(each.test)),
            ("gain on test", lambda each: _gain(each.test_gain)),
        ]
    if any(each.selected for each in answer.contenders):
        shown += [("in the search", lambda each: sample_text(each.selected))]
    if any(each.failed for each in answer.contenders):
        shown += [("failed", lambda each: str(each.failed))]
    shown += [("weights of", lambda each: f"#{each.individual}")]
    lines = [Line([cell(each) for _, cell in shown], each.original == answer.winner) for each in answer.contenders]
    return Contest(
        "Finals" if answer.source == "finals" else "Repeats", _said(answer), [h for h, _ in shown], lines
    )


def contest_table(shown: Contest) -> RenderableType:
    """The same for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(shown.head):
        table.add_column(heading.upper(), justify="right" if index else "left", overflow="fold")
    for line in shown.lines:
        table.add_row(*(Text(cell) for cell in line.cells), style="bold" if line.strong else "")
    return Group(table, Text(shown.said, "dim"))


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return MISSING
    if gain.margin is None:
        return f"{gain} ± ?"
    return f"{gain}, within noise" if gain.within_noise else str(gain)


def _said(answer: Answer) -> str:
    """How to read it: what counts, and what an interval is."""
    parts = ["Mean ± standard deviation over the seeds; a gain over the default with its 95 % interval"]
    if answer.looks > 1:
        parts.append(f", which allows for the best of {answer.looks}" if _any_margin(answer.contenders) else "")
    parts.append(".")
    if any(each.selected for each in answer.contenders):
        parts.append(
            " The trainings of the search are those that a configuration was chosen by; as that flatters them, they"
            " count for nothing here."
        )
    if any(each.test for each in answer.contenders):
        parts.append(" The test split had no part in choosing.")
    return "".join(parts)


def _any_margin(contenders: Sequence[Contender]) -> bool:
    return any(each.gain is not None and each.gain.margin is not None for each in contenders)
