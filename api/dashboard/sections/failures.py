"""What went wrong, by kind, and what the latest failures said."""

from __future__ import annotations

import time
from typing import Any

from api.dashboard.components import DataTable, block, empty, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.live import News, Snapshot
from api.dashboard.sections.base import Section
from evolve.formatting import count, duration, failure_label
from evolve.overview import failure_counts
from evolve.trial import FailureKind

_MEANING = {
    FailureKind.OUT_OF_MEMORY: "later batches stay below this one",
    FailureKind.DIVERGED: "counts as a bad individual",
    FailureKind.DATA: "ends the search",
    FailureKind.HANG: "killed, and tried once more elsewhere",
    FailureKind.INFRASTRUCTURE: "tried again elsewhere; never counts against the genes",
    FailureKind.CODE: "five equal ones in a row end the search",
}


class Failures(Section):
    """Failures by kind."""

    title = "Failures"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""
        self._nothing = empty("No trial failed")
        with block("section", "ev-card") as self._kinds_card:
            text("h2", "By kind")
            self._kinds = DataTable(
                "Failures by kind", (column("Kind"), column("Individuals given up"), column("What follows"))
            )
        with block("section", "ev-card") as self._latest_card:
            text("h2", "Latest")
            columns = (column("Individual"), column("Kind"), column("Ago", end=True), column("Message", wide=True))
            self._latest = DataTable("Latest failures", columns)

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search."""
        counts = failure_counts(snapshot.individuals)
        failures = [each for each in snapshot.news if each.kind]
        self._nothing.set_visibility(not counts and not failures)
        self._kinds_card.set_visibility(bool(counts))
        self._latest_card.set_visibility(bool(failures))
        most = max(counts.values(), default=1)
        self._kinds.show(
            [
                row(
                    kind,
                    [
                        cell(failure_label(kind), mark="failed"),
                        cell(str(amount), bar=amount / most, tone="bad", note=count(amount, "individual")),
                        cell(_MEANING.get(FailureKind(kind), ""), tone="muted"),
                    ],
                )
                for kind, amount in counts.most_common()
            ]
        )
        now = time.time()
        self._latest.show([self._row(place, each, now) for place, each in enumerate(failures)])
        return True

    def _row(self, place: int, news: News, now: float) -> dict[str, Any]:
        number = news.individual
        return row(
            place,
            [
                cell(f"#{number}", f"{self.view.individuals}{number}") if number is not None else "",
                cell(failure_label(news.kind) + (", tried again" if news.retry else "")),
                cell(" ".join(duration(max(0.0, now - news.at)).split()[:2])),
                cell(news.text),
            ],
        )
