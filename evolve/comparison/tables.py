"""`evolve compare` in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evolve.comparison.records import Comparison, Contender, Entry
from evolve.comparison.words import p_text
from evolve.formatting import MISSING, clean, duration, gain, number
from evolve.tables import STATE_STYLES

if TYPE_CHECKING:
    from evolve.comparison.statistics import Contrast

_ENTRY_HEAD = ("ID", "NAME", "ALGORITHM", "SEED", "STATE", "SCORED", "TRAINED")
REACHED_HEAD = ("ID", "DEFAULT", "BEST", "GAIN")
CONTRAST_HEAD = ("FIRST", "SECOND", "RUNS", "DIFFERENCE", "95 % INTERVAL", "WINS", "P", "VERDICT")
_WORDS = {"ID", "NAME", "ALGORITHM", "STATE", "CONTENDER", "FIRST", "SECOND", "SEEDS", "VERDICT"}
_GIVE_WAY = {"NAME", "CONTENDER", "FIRST", "SECOND", "SEEDS", "VERDICT"}
_STATE = 4


def comparison_view(comparison: Comparison) -> RenderableType:
    """What there is to see of a comparison on one screen."""
    entries = comparison.entries
    marks = marks_head(comparison)
    parts: list[RenderableType] = [
        _table(entry_head(comparison), [entry_row(each, comparison) for each in entries], entries),
        Text(f"\n{clean(comparison.metric)}, and the best after as many trainings and as much time", "bold"),
        _table((*REACHED_HEAD, *marks), [reached_row(each, comparison) for each in entries]),
    ]
    if comparison.grouped:
        parts += [
            Text("\nContenders: runs that differ only by their seeds", "bold"),
            _table(contender_head(comparison), [contender_row(each) for each in comparison.contenders]),
        ]
    if comparison.contrasts:
        parts += [
            Text("\nTests", "bold"),
            _table(CONTRAST_HEAD, [contrast_row(each) for each in comparison.contrasts]),
        ]
    parts.append(Text())
    parts += [Text(clean(line), "bold") for line in comparison.verdicts]
    parts += [Text(f"- {clean(line)}", "dim") for line in comparison.notes]
    return Group(*parts)


def marks_head(comparison: Comparison) -> list[str]:
    """Headings of what was reached after equal shares of the budget."""
    budget = comparison.budget
    if not budget.trainings:
        return []
    kind = " GPU" if budget.clock == "gpu_seconds" else ""
    return [*(f"AFTER {mark}" for mark in dict.fromkeys(budget.marks)), f"{duration(budget.seconds)}{kind}"]


def entry_head(comparison: Comparison) -> list[str]:
    """Headings of what a search is and spent."""
    return [*_ENTRY_HEAD, "GPU TIME" if comparison.budget.clock == "gpu_seconds" else "TRIAL TIME"]


def entry_row(entry: Entry, comparison: Comparison) -> list[str]:
    """What a search is and spent, as `entry_head` says."""
    record, course = entry.record, entry.course
    return [
        record.id,
        clean(record.name),
        clean(entry.algorithm),
        str(entry.seed),
        record.state.value,
        str(len(entry.scores)),
        str(course.trainings),
        duration(course.gpu_seconds if comparison.budget.clock == "gpu_seconds" else course.seconds),
    ]


def reached_row(entry: Entry, comparison: Comparison) -> list[str]:
    """What a search reached, as `REACHED_HEAD` and `marks_head` say."""
    record, course, budget = entry.record, entry.course, comparison.budget
    difference = gain(record.best_fitness, record.default_fitness)
    row = [
        record.id,
        number(record.default_fitness),
        number(record.best_fitness),
        MISSING if difference is None else f"{difference:+.4f}",
    ]
    if not budget.trainings:
        return row
    row += [number(course.reached("trainings", mark)) for mark in dict.fromkeys(budget.marks)]
    return [*row, number(course.reached(budget.clock, budget.seconds))]


def contender_head(comparison: Comparison) -> list[str]:
    """Headings of the table of contenders."""
    budget = comparison.budget
    after = f"{budget.trainings} TRAININGS" if budget.by == "trainings" else duration(budget.seconds).upper()
    return ["CONTENDER", "RUNS", "SEEDS", f"MEAN AFTER {after}", "SPREAD", "LOWEST", "HIGHEST"]


def contender_row(contender: Contender) -> list[str]:
    """A contender, as `contender_head` says."""
    values = list(contender.results.values())
    seeds = ", ".join(map(str, sorted(contender.results)))
    ends = [number(min(values, default=None)), number(max(values, default=None))]
    return [
        clean(contender.label),
        str(len(values)),
        seeds or MISSING,
        number(contender.mean),
        number(contender.spread),
        *ends,
    ]


def contrast_row(contrast: Contrast) -> list[str]:
    """A test, as `CONTRAST_HEAD` says."""
    first, second = contrast.runs
    return [
        clean(contrast.first),
        clean(contrast.second),
        f"{first} pairs" if contrast.paired else f"{first} + {second}",
        f"{contrast.difference:+.4f}",
        f"{contrast.low:+.4f} to {contrast.high:+.4f}",
        f"{contrast.superiority:.0%}",
        p_text(contrast).removeprefix("p = ").removeprefix("p "),
        "shown" if contrast.shown else "too few runs" if contrast.hopeless else "not shown",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], entries: Sequence[Entry] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in head:
        table.add_column(
            heading,
            justify="left" if heading in _WORDS else "right",
            no_wrap=heading not in _GIVE_WAY,
            overflow="ellipsis" if heading == "NAME" else "fold",
            min_width=8 if heading in _GIVE_WAY else None,
        )
    for index, row in enumerate(rows):
        cells: list[Text] = [Text(cell) for cell in row]
        if entries:
            cells[_STATE].stylize(STATE_STYLES[entries[index].record.state])
        table.add_row(*cells)
    return table
