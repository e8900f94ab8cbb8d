"""The individuals of a search as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from api.dashboard.components import DataTable, block, empty, text
from api.dashboard.components.pager import Pager
from api.dashboard.components.table import cell, column, row
from api.dashboard.facts import genes_of, metric_of
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from evolve.formatting import MISSING, compact, failure_label, gain, number, role_text
from evolve.ledger.records import IndividualRecord
from evolve.overview import default_fitness
from evolve.trial import Json, Role, TrialState

PAGE = 25
ALL = -1

_SHOWN = {
    "all": "All",
    "evaluated": "With a fitness",
    "open": "Without a verdict",
    "failed": "Failed",
}


class Population(Section):
    """All individuals, sorted and filtered."""

    title = "Population"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""
        self._sort, self._which, self._generation, self._page = "-fitness", "all", ALL, 0
        self._snapshot = snapshot
        genes = genes_of(snapshot.record)
        with block("section", "ev-card"):
            with block(classes="ev-filters"):
                which = ui.select(_SHOWN, value="all", label="Individuals").props("outlined dense options-dense")
                which.classes("ev-choice-field")
                which.on_value_change(lambda event: self._choose(which=str(event.value)))
                self._generations = ui.select({ALL: "All"}, value=ALL, label="Generation")
                self._generations.props("outlined dense options-dense").classes("ev-choice-field")
                self._generations.on_value_change(lambda event: self._choose(generation=int(event.value)))
                text("p", "Values in bold differ from the default.", "ev-caption")
            self._table = DataTable(
                "Individuals",
                [
                    column("#", "number"),
                    column("Gen.", end=True),
                    column("State"),
                    column(metric_of(snapshot.record), "fitness", end=True),
                    column("Gain", end=True),
                    *(column(name, end=True) for name in genes),
                ],
                sort=self._sort,
                on_sort=lambda order: self._choose(sort=order),
            )
            self._nothing = empty("No such individual", "The filters above leave none.")
            self._unborn = empty("No individual yet", "The first ones appear when the search starts.")
            self._pager = Pager("individuals", PAGE, lambda page: self._choose(page=page))

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search."""
        self._snapshot = snapshot
        last = max((each.generation for each in snapshot.individuals), default=0)
        if len(self._generations.options) != last + 2:
            self._generations.set_options({ALL: "All", **{each: str(each) for each in range(last + 1)}})
        await self._show()
        return True

    async def _choose(
        self, *, sort: str | None = None, which: str | None = None, generation: int | None = None, page: int = 0
    ) -> None:
        self._sort = sort or self._sort
        self._which = which if which in _SHOWN else self._which
        self._generation = self._generation if generation is None else generation
        self._page = page
        await self._show()

    async def _show(self) -> None:
        wish = (self._which, self._generation, self._sort)
        ordered = await self.view.site.run(_chosen, self._snapshot.individuals, *wish)
        if wish != (self._which, self._generation, self._sort):
            return  # something else was chosen meanwhile
        self._page = min(self._page, max(0, (len(ordered) - 1) // PAGE))
        part = ordered[self._page * PAGE : (self._page + 1) * PAGE]
        default = default_fitness(self._snapshot.individuals)
        self._table.show([self._row(each, default) for each in part])
        self._table.set_visibility(bool(part))
        self._nothing.set_visibility(not part and bool(self._snapshot.individuals))
        self._unborn.set_visibility(not self._snapshot.individuals)
        self._pager.show(self._page, len(ordered))

    def _row(self, individual: IndividualRecord, default: float | None) -> dict[str, Any]:
        record = self._snapshot.record
        genes = genes_of(record)
        difference = gain(individual.fitness, record.default_fitness if individual.role is Role.FINAL else default)
        best = individual.number == record.best_individual
        return row(
            individual.number,
            [
                cell(f"#{individual.number}", f"{self.view.individuals}{individual.number}"),
                cell(str(individual.generation)),
                state_cell(individual),
                cell(number(individual.fitness), **({"tone": "best"} if best else {})),
                cell(
                    MISSING if difference is None else f"{difference:+.4f}",
                    tone="good" if difference is not None and difference > 0 else "muted",
                ),
                *(_gene(individual.params.get(name), gene.get("default")) for name, gene in genes.items()),
            ],
            **({"tone": "best"} if best else {}),
        )


def state_cell(individual: IndividualRecord) -> dict[str, Any]:
    """What became of an individual, and below what it is there for if not for the search itself."""
    more = {"under": role} if (role := role_text(individual)) else {}
    if individual.failure is not None and individual.told is not None:
        return cell(failure_label(individual.failure), mark="failed", **more)
    if individual.reused_from is not None:
        note = "The same training was done before"
        return cell(f"as #{individual.reused_from}", mark="completed", note=note, **more)
    return cell(individual.state.value, mark=individual.state.value, **more)


def _gene(value: Json, default: Json) -> dict[str, Any]:
    if value is None:
        return cell("off", tone="muted", note="Does not exist under these conditions")
    return cell(compact(value), **({"tone": "strong"} if value != default else {}))


def _chosen(
    individuals: Sequence[IndividualRecord], which: str, generation: int, sort: str
) -> list[IndividualRecord]:
    """Some of the individuals, in order."""
    found = [each for each in individuals if generation in (ALL, each.generation)]
    match which:
        case "evaluated":
            found = [each for each in found if each.fitness is not None]
        case "open":
            found = [each for each in found if each.told is None]
        case "failed":
            found = [each for each in found if each.failure is not None]
    return _ordered(found, sort)


def _ordered(individuals: list[IndividualRecord], sort: str) -> list[IndividualRecord]:
    """By number or by fitness; those without a fitness come last."""
    down = sort.startswith("-")
    if sort.endswith("number"):
        return sorted(individuals, key=lambda each: each.number, reverse=down)
    scored = [each for each in individuals if each.fitness is not None]
    scored.sort(key=lambda each: (-(each.fitness or 0.0) if down else each.fitness or 0.0, each.number))
    rest = [each for each in individuals if each.fitness is None]
    failed = [each for each in rest if each.state is TrialState.FAILED]
    stopped = [each for each in rest if each.state is TrialState.STOPPED]
    running = [each for each in rest if each.state not in (TrialState.FAILED, TrialState.STOPPED)]
    return [*scored, *running, *stopped, *failed]
