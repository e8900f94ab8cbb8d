"""The front of a search with several objectives, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from evolve.formatting import count
from evolve.front import Front
from evolve.ledger.records import IndividualRecord
from evolve.models import MODEL
from evolve.tables_members import Members


def front_view(found: Front) -> RenderableType:
    """`evolve best --pareto`: a row for each member of the front, and one for the default configuration."""
    objectives, members, default = found.objectives, found.members, found.default
    said = f"{len(members)} of {count(found.evaluated, 'individual')} that no other beats in all of: {objectives}"
    shown = [*members]
    if default is not None and default not in members:
        said += "\nthe default configuration is beaten"
        shown.append(default)
    rows = [[_number(each, default), *objectives.texts(each.objectives)] for each in shown]
    return Group(
        Text(said),
        Members(shown, ["#", *objectives.labels()], rows, key_genes(members)),
        Text(f"train one: evolve train --search {found.search.id} --individual N", "dim"),
    )


def key_genes(members: Sequence[IndividualRecord]) -> list[str]:
    """The genes in which members differ, the model first."""
    names = dict.fromkeys(name for each in members for name in each.params)
    differing = [name for name in names if len({repr(each.params.get(name)) for each in members}) > 1]
    return sorted(differing or names, key=lambda name: name != MODEL)


def _number(each: IndividualRecord, default: IndividualRecord | None) -> str:
    return f"{each.number} default" if each == default else str(each.number)
