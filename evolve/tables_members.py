"""Individuals as a table, with as many of their genes as the terminal has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from evolve.formatting import MISSING, clean, compact, count
from evolve.ledger.records import IndividualRecord

_GENE_WIDTH = 12
_GAP = 2


@dataclass(frozen=True)
class Members:
    """A table for rich.

    Attributes:
        members: The individuals.
        headings: Of the columns before the genes.
        rows: Cells of these columns, a row for each individual.
        genes: Names of the genes to show, the most important first; by default all, in their order.
        essential: How many of the columns before the genes are there however narrow the terminal; by default all.
    """

    members: Sequence[IndividualRecord]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    genes: Sequence[str] = ()
    essential: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        genes = list(self.genes or dict.fromkeys(name for each in self.members for name in each.params))
        kept = self._kept(options.max_width)
        shown = self._fitting(genes, options.max_width - sum(self._widths()[:kept]))
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in self.headings[:kept]:
            table.add_column(heading, justify="right", no_wrap=True)
        for name in shown:
            table.add_column(
                Text(clean(name)), justify="right", no_wrap=True, overflow="ellipsis", max_width=_GENE_WIDTH
            )
        for each, cells in zip(self.members, self.rows, strict=True):
            table.add_row(*cells[:kept], *(Text(_value(each, name)) for name in shown))
        yield table
        if len(shown) < len(genes):
            yield Text(f"{count(len(genes) - len(shown), 'more gene')} in `evolve report`", "dim")

    def _widths(self) -> list[int]:
        """Of the columns before the genes."""
        columns = zip(self.headings, *self.rows, strict=True)
        return [max(map(cell_len, column)) + _GAP for column in columns]

    def _kept(self, room: int) -> int:
        """How many of these columns there is room for."""
        kept = len(self.headings)
        while self.essential is not None and kept > self.essential and sum(self._widths()[:kept]) > room + _GAP:
            kept -= 1
        return kept

    def _fitting(self, genes: Sequence[str], room: int) -> list[str]:
        shown = []
        for name in genes:
            widest = max(cell_len(text) for text in (clean(name), *(_value(each, name) for each in self.members)))
            room -= min(widest, _GENE_WIDTH) + _GAP
            if room < 0:
                break
            shown.append(name)
        return shown


def _value(individual: IndividualRecord, name: str) -> str:
    return compact(individual.params.get(name, MISSING))
