"""What a search can begin with, as its source has it: configurations in the source's own names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolve.best import ULTRALYTICS_NAMES
from evolve.formatting import clean
from evolve.space import SearchSpace
from evolve.trial import Json

FITNESS = "fitness"
"""What a column or a key with the fitness is called, unless a gene is called that."""
LONGEST_LABEL = 200
_LONGEST_NAME = 40
_ALIASES = {**ULTRALYTICS_NAMES, **{theirs: ours for ours, theirs in ULTRALYTICS_NAMES.items()}}


@dataclass(frozen=True)
class Row:
    """One configuration of a source.

    Attributes:
        values: By the names of the source.
        fitness: What came of it; None if it was not trained.
        source: Where the source has it from; its fitness is compared within that only.
    """

    values: Mapping[str, Json]
    fitness: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Source:
    """A search, or a file with configurations.

    Attributes:
        title: What messages call it.
        noun: What its names are: genes, keys or columns.
        names: All that it has a value for.
        rows: Its configurations; they may leave names out that this space does not know.
        silent: Names of which nobody expects that they are genes.
        remarks: What else to say of it.
    """

    title: str
    noun: str
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    silent: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


def translation(space: SearchSpace, names: Sequence[str]) -> dict[str, str]:
    """The genes of a space that a source has values for, by the names of the source.

    A gene may have Ultralytics' name there and ours here, or the other way round.
    """
    found = {name: name for name in names if name in space.genes}
    for name in names:
        alias = _ALIASES.get(name, name)
        if name not in found and alias in space.genes and alias not in found.values():
            found[name] = alias
    return found


def listed(names: Sequence[str], most: int = 5) -> str:
    """Some names as a message has them, whoever made them up."""
    shown = [clean(name)[:_LONGEST_NAME] or "''" for name in names[:most]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
