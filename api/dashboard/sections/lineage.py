"""The best individual: its genes, where each arose, and its ancestors."""

from __future__ import annotations

from typing import Any

from api.dashboard.charts.lineage import lineage_figure
from api.dashboard.components import Chart, DataTable, block, empty, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.facts import genes_of, metric_of
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from evolve.formatting import MISSING, compact
from evolve.ledger.records import IndividualRecord
from evolve.overview import ancestors, births

FAMILY = 24


class Lineage(Section):
    """The best and where it came from."""

    title = "Best and lineage"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""
        self._drawn: int | None = None
        self._nothing = empty("No best yet", "It appears with the first evaluated individual.")
        with block(classes="ev-panel") as self._content:
            with block("section", "ev-card"):
                with block(classes="ev-card-head"):
                    self._title = text("h2", "Where the best came from")
                    text(
                        "p", "From left to right; a thick line from the parent that gave most genes.", "ev-caption"
                    )
                self._chart = Chart("The best individual and its ancestors", classes="ev-tall")
            with block("section", "ev-card"):
                text("h2", "The best configuration")
                columns = (column("Gene"), column("Best", end=True), column("Default", end=True), column("Arose"))
                self._genes = DataTable("Genes of the best", columns)

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search."""
        number = snapshot.record.best_individual
        self._nothing.set_visibility(number is None)
        self._content.set_visibility(number is not None)
        if number is None or number == self._drawn:
            return True
        family = ancestors(snapshot.individuals, number, FAMILY)
        self._title.text = f"Where individual {number} came from"
        figure = lineage_figure(family, metric_of(snapshot.record), self.view.individuals)
        self._chart.show(figure, shape=f"family of {number}")
        self._genes.show(gene_rows(snapshot, family[0], self.view.individuals))
        self._drawn = number
        return True


def gene_rows(snapshot: Snapshot, individual: IndividualRecord, href: str) -> list[dict[str, Any]]:
    """A row for each gene of an individual: its value, the default, and where the value arose."""
    born = births(snapshot.individuals, individual.number)
    rows = []
    for name, gene in genes_of(snapshot.record).items():
        value, default = individual.params.get(name), gene.get("default")
        changed = value is not None and value != default
        arose: dict[str, Any] = cell("")
        if name in born:
            number, how = born[name]
            own = number == individual.number
            arose = cell(how if own else f"{how} in #{number}", "" if own else f"{href}{number}")
        rows.append(
            row(
                name,
                [
                    cell(name, mono=True),
                    cell("off" if value is None else compact(value), tone="strong" if changed else "muted"),
                    cell(MISSING if default is None else compact(default), tone="muted"),
                    arose,
                ],
            )
        )
    return rows
