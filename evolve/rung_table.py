"""What the rungs of a search are worth, in words: for the terminal, the report and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evolve.formatting import MISSING, count
from evolve.rung_agreement import Agreement, Correlation, Rung, Why

HEAD = ("rung", "reached", "stopped", "continued", "agreement", "whole", "verdict")


@dataclass(frozen=True)
class Line:
    """A rung: its cells, and whether the search stops nobody there any more."""

    cells: Sequence[str]
    strong: bool


def rung_lines(found: Agreement) -> list[Line]:
    """A row for each rung, as `HEAD` has it."""
    return [Line(_cells(found.over, each), not each.trusted) for each in found.rungs]


def rung_label(over: str, level: float) -> str:
    """Where a rung is: `epoch 3`, `160 px` or `11 % of the pictures`."""
    match over:
        case "epochs":
            return f"epoch {level:g}"
        case "imgsz":
            return f"{level:g} px"
        case _:
            return f"{level:.0%} of the pictures"


def saved_text(found: Agreement) -> str:
    """What the rungs saved, in a sentence."""
    if not found.individuals:
        return "Nothing is saved yet."
    whole = f"{count(found.individuals, 'individual')} cost as much as {found.spent:.1f} whole trainings"
    if found.saved < 0:
        return f"{whole}: {-found.saved:.1f} more than without rungs."
    epochs = f" ({found.saved * found.full:,.0f} epochs)" if found.over == "epochs" else ""
    return f"{whole}: {found.saved:.1f} saved{epochs}, {found.saved / found.individuals:.0%}."


def correlation_text(found: Correlation | None) -> str:
    """A rank correlation with its interval, e.g. `0.71 (0.42 to 0.87)`."""
    return MISSING if found is None else f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def caveat(found: Agreement) -> str:
    """What to know when reading a rank correlation."""
    said = (
        "Agreement is the rank correlation, with its 95 % interval, of the best up to the rung with the fitness of"
        " the whole training, over so many whole ones; a rung that misleads is left out."
    )
    numbers = {(pair.number, pair.why) for each in found.rungs for pair in each.pairs}
    told = [
        count(amount, str(why)) if why is not Why.DEFAULT else "the default"
        for why in (Why.DEFAULT, Why.CONTROL, Why.LATER)
        if (amount := sum(kind is why for _, kind in numbers))
    ]
    if any(kind is Why.PASSED for _, kind in numbers) and any(each.stopped for each in found.rungs):
        said += (
            " Of those that a rung judges only those it let pass, or continued later, have a whole training: over"
            " so narrow a choice a correlation is rather too low."
        )
    if told:
        said += f" Trained to the end whatever the rungs said: {_listed(told)}."
    return said


def rung_table(found: Agreement) -> RenderableType:
    """The same for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(HEAD):
        edge = index in (0, len(HEAD) - 1)
        table.add_column(heading.upper(), justify="left" if edge else "right", overflow="fold", no_wrap=edge)
    for line in rung_lines(found):
        table.add_row(*map(Text, line.cells))
    return Group(table, Text(saved_text(found)), Text(caveat(found), "dim"))


def rung_note(found: Agreement) -> str:
    """The same in two or three sentences."""
    told = [
        f"{rung_label(found.over, each.level)}: {correlation_text(each.correlation)}, {trust_text(each)}"
        for each in found.rungs
        if each.reached
    ]
    return f"Rungs: {saved_text(found)} Rank correlation with whole trainings: {'; '.join(told)}."


def trust_text(rung: Rung) -> str:
    """Whether the search lets a rung stop anybody, or leaves it out as it misleads."""
    from evolve.search.rungs import ENOUGH  # takes a second to import

    if len(rung.pairs) < ENOUGH:
        return "too few"
    return "trusted" if rung.trusted else "left out"


def _cells(over: str, rung: Rung) -> list[str]:
    amounts = [str(each) for each in (rung.reached, rung.stopped, rung.continued)]
    found = correlation_text(rung.correlation)
    return [rung_label(over, rung.level), *amounts, found, str(len(rung.pairs)), trust_text(rung)]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
