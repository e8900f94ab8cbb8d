"""The page of one individual: what it is, where it came from, how it was trained, and what took effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nicegui import ui

from api import service
from api.auth import Principal
from api.dashboard.charts.epochs import Curve, epoch_figure
from api.dashboard.charts.lineage import lineage_figure
from api.dashboard.components import Chart, DataTable, banner, block, busy, empty, link, text
from api.dashboard.components.table import column
from api.dashboard.components.tiles import Tiles
from api.dashboard.facts import fitness_of_search, metric_of, split_gain, value_of
from api.dashboard.following import follow
from api.dashboard.frame import page
from api.dashboard.live import Snapshot
from api.dashboard.sections import View
from api.dashboard.sections.attempts import argument_rows, show_attempt
from api.dashboard.sections.lineage import FAMILY, gene_rows
from api.dashboard.sections.population import state_cell
from api.dashboard.site import site
from evolve.exceptions import NotFound
from evolve.formatting import MISSING, clean, duration, failure_label, gain, number, role_text
from evolve.ledger import Ledger
from evolve.ledger.records import EpochRecord, EvaluationRecord, IndividualRecord, SearchRecord
from evolve.overview import ancestors, default_fitness, default_of
from evolve.trial import Role

SECONDS = 1.0
_LARGEST = 2**31


@page("/searches/{search_id}/individuals/{number}", "Individual")
async def individual_page(principal: Principal, search_id: str, number: int) -> None:
    """One individual, followed while it trains."""
    here = site()
    record = await here.run(service.search, here.ledger, search_id)
    ui.page_title(f"#{number} of {clean(record.name)} · Evolve")
    await _Page(View(here, principal, record.id), number).build(record)


@dataclass(frozen=True)
class _Trainings:
    """All attempts at an individual, and the curves to compare them with."""

    attempts: tuple[EvaluationRecord, ...]
    epochs: tuple[EpochRecord, ...]
    references: Mapping[str, tuple[EpochRecord, ...]]


class _Page:
    """The page while it is open."""

    def __init__(self, view: View, number: int) -> None:
        self._view = view
        self._number = number
        self._seen: object = None
        self._shown_attempts: dict[int, tuple[EvaluationRecord, ui.element]] = {}

    async def build(self, record: SearchRecord) -> None:
        """Lay out the page, which fills itself once the browser has it."""
        here = self._view.site
        known = 0 <= self._number < _LARGEST
        if not known or not await here.run(here.ledger.individuals, record.id, numbers=[self._number]):
            raise NotFound(f"search {record.id}: individual {self._number}: there must be one, but there is none")
        with block("nav", "ev-crumbs", aria_label="Where you are"):
            link("Searches", "/")
            text("span", "/", aria_hidden="true")
            link(record.name, f"/searches/{record.id}")
            text("span", "/", aria_hidden="true")
            text("span", f"#{self._number}")
        with block(classes="ev-title-row"):
            with block(classes="ev-meta"):
                text("h1", f"Individual {self._number}")
                self._mark = text("span", "", "ev-mark")
            self._neighbours = block("nav", "ev-actions", aria_label="Neighbours")
        self._problem = block()
        with block(classes="ev-panel") as self._content:
            busy("Reading the individual …")
        self._built = False
        follow(SECONDS, self._refresh, self._problem)

    async def _refresh(self) -> None:
        here, search_id = self._view.site, self._view.search_id
        snapshot = await here.run(here.searches.snapshot, search_id)
        individual = next((each for each in snapshot.individuals if each.number == self._number), None)
        if individual is None:
            raise NotFound(f"search {search_id}: individual {self._number}: there is none any more")
        curve = next((each.curve for each in snapshot.running if each.individual == self._number), ())
        seen = (individual, curve, snapshot.record.best_individual, len(snapshot.individuals))
        if seen == self._seen:
            return
        trainings = await here.run(_trainings, here.ledger, snapshot, individual)
        if not self._built:
            self._lay_out(snapshot, individual)
        self._show(snapshot, individual, trainings)
        self._seen = seen

    def _lay_out(self, snapshot: Snapshot, individual: IndividualRecord) -> None:
        self._built = True
        metric, href = metric_of(snapshot.record), self._view.individuals
        self._content.clear()
        with self._content:
            self._failure = block()
            self._tiles = Tiles("The individual at a glance")
            with block(classes="ev-split"):
                with block("section", "ev-card"):
                    text("h2", f"{metric} after each epoch")
                    self._no_curve = empty("No epoch yet", "The curve begins when its first epoch is over.")
                    self._curves = Chart(f"{metric} of individual {self._number} after each epoch")
                with block("section", "ev-card"):
                    text("h2", "Lineage")
                    self._origin = text("p", "", "ev-caption")
                    self._lineage = Chart(f"Individual {self._number} and its ancestors")
                    self._children = block("p", "ev-links ev-caption")
            with block(classes="ev-split"):
                with block("section", "ev-card"):
                    text("h2", "Genome")
                    columns = (
                        column("Gene"),
                        column("Value", end=True),
                        column("Default", end=True),
                        column("Origin"),
                    )
                    DataTable("Genome", columns).show(gene_rows(snapshot, individual, href))
                with block("section", "ev-card"):
                    with block(classes="ev-card-head"):
                        text("h2", "Requested and effective")
                        self._differences = text("p", "", "ev-caption")
                    columns = (
                        column("Argument"),
                        column("Requested", end=True),
                        column("Effective", end=True),
                        column(""),
                    )
                    self._arguments = DataTable("Requested and effective arguments", columns)
            with block("section", "ev-card"):
                text("h2", "Attempts")
                self._no_attempt = empty("No attempt yet")
                self._attempts = block(classes="ev-panel")

    def _show(self, snapshot: Snapshot, individual: IndividualRecord, trainings: _Trainings) -> None:
        state = state_cell(individual)
        self._mark.text = str(state["text"])
        self._mark.classes(replace=f"ev-mark mark-{state['mark']}")
        self._show_neighbours(snapshot)
        self._show_failure(individual, trainings.attempts)
        self._show_tiles(snapshot, individual, trainings.attempts)
        self._show_curves(snapshot.record, trainings)
        self._show_lineage(snapshot, individual)
        self._show_arguments(trainings.attempts)
        self._show_attempts(trainings.attempts)

    def _show_neighbours(self, snapshot: Snapshot) -> None:
        last = snapshot.individuals[-1].number
        self._neighbours.clear()
        with self._neighbours:
            for label, number in (("Previous", self._number - 1), ("Next", self._number + 1)):
                if 0 <= number <= last:
                    link(label, f"{self._view.individuals}{number}", "ev-button ev-button-link")
            best = snapshot.record.best_individual
            if best is not None and best != self._number:
                link("Best", f"{self._view.individuals}{best}", "ev-button ev-button-link")

    def _show_failure(self, individual: IndividualRecord, attempts: Sequence[EvaluationRecord]) -> None:
        self._failure.clear()
        newest = attempts[-1] if attempts else None
        if individual.failure is None or newest is None or newest.failure is None:
            return
        with self._failure:
            banner(f"{failure_label(individual.failure)}: {newest.failure_message}")

    def _show_tiles(
        self, snapshot: Snapshot, individual: IndividualRecord, attempts: Sequence[EvaluationRecord]
    ) -> None:
        record = snapshot.record
        is_final = individual.role is Role.FINAL
        default = record.default_fitness if is_final else default_fitness(snapshot.individuals)
        difference = gain(individual.fitness, default)
        seconds = sum(each.seconds for each in attempts)
        gpu = sum(each.gpu_seconds for each in attempts)
        best = (
            "the best so far"
            if individual.number == record.best_individual
            else f"best {number(record.best_fitness)}"
        )
        tiles = [
            (metric_of(record), number(individual.fitness), best),
            ("Gain over the default", *split_gain(individual.fitness, default)),
            (
                "Generation",
                "finals" if is_final else str(individual.generation),
                f"verdict {individual.told + 1}" if individual.told is not None else "no verdict yet",
            ),
            (
                "Training",
                duration(seconds) if seconds else MISSING,
                f"{duration(gpu)} of GPU" if gpu else "no GPU time",
            ),
            ("Attempts", str(individual.attempts), attempts[-1].worker if attempts else "no worker yet"),
        ]
        self._tiles.show(tiles, good=(1,) if difference is not None and difference > 0 else ())

    def _show_curves(self, record: SearchRecord, trainings: _Trainings) -> None:
        curves = _curves(record, trainings)
        own = any(not curve.reference for curve in curves)
        self._no_curve.set_visibility(not own)
        self._curves.set_visibility(own)
        if own:
            names = ",".join(curve.name for curve in curves)
            self._curves.show(epoch_figure(curves), {"x": "epoch"}, names)

    def _show_lineage(self, snapshot: Snapshot, individual: IndividualRecord) -> None:
        family = ancestors(snapshot.individuals, individual.number, FAMILY)
        how = role_text(individual) or ", ".join(individual.operators).replace("_", " ")
        start = (
            ""
            if individual.inherited_from is None
            else f"; started from the weights of #{individual.inherited_from}"
        )
        self._origin.text = clean((how or "no operators: it was there from the start") + start)
        self._lineage.set_visibility(len(family) > 1)
        if len(family) > 1:
            figure = lineage_figure(family, metric_of(snapshot.record), self._view.individuals)
            self._lineage.show(figure, shape="family")
        children = [each for each in snapshot.individuals if individual.number in each.parents]
        self._children.clear()
        with self._children:
            text("span", f"{len(children)} children: " if children else "No children yet.")
            for child in children[:24]:
                link(f"#{child.number}", f"{self._view.individuals}{child.number}", "ev-small")

    def _show_arguments(self, attempts: Sequence[EvaluationRecord]) -> None:
        newest = attempts[-1] if attempts else None
        rows = [] if newest is None else argument_rows(newest)
        differing = sum(each.get("tone") == "bad" for each in rows)
        if newest is None or not newest.effective:
            over = newest is not None and newest.state.is_finished
            self._differences.text = f"what took effect is {'not known' if over else 'known when it is trained'}"
        else:
            self._differences.text = f"{differing} differ" if differing else "everything took effect as requested"
        self._arguments.show(rows)

    def _show_attempts(self, attempts: Sequence[EvaluationRecord]) -> None:
        """Show the attempts; one that did not change is left alone, with what the reader opened of it."""
        self._no_attempt.set_visibility(not attempts)
        for each in attempts:
            before, place = self._shown_attempts.get(each.attempt, (None, None))
            if before == each:
                continue
            if place is None:
                with self._attempts:
                    place = block()
            place.clear()
            with place:
                show_attempt(each)
            self._shown_attempts[each.attempt] = each, place


def _curves(record: SearchRecord, trainings: _Trainings) -> list[Curve]:
    fitness = fitness_of_search(record)

    def points(epochs: Sequence[EpochRecord]) -> tuple[tuple[int, float], ...]:
        values = ((each.epoch, value_of(fitness, each.metrics)) for each in epochs)
        return tuple((epoch, value) for epoch, value in values if value is not None)

    references = [Curve(name, points(epochs), True) for name, epochs in trainings.references.items()]
    attempts = sorted({each.attempt for each in trainings.epochs})
    own = [
        Curve(
            "this one" if len(attempts) == 1 else f"attempt {attempt}",
            points([each for each in trainings.epochs if each.attempt == attempt]),
        )
        for attempt in attempts
    ]
    return [curve for curve in (*references, *own) if curve.points]


def _trainings(ledger: Ledger, snapshot: Snapshot, individual: IndividualRecord) -> _Trainings:
    record, number = snapshot.record, individual.number
    trained = number if individual.reused_from is None else individual.reused_from
    references: dict[str, tuple[EpochRecord, ...]] = {}
    default = default_of(snapshot.individuals)
    for name, other in (("default", default.number if default else 0), ("best", record.best_individual)):
        if other is not None and other not in (number, trained):
            found = ledger.epochs(record.id, other)
            last = max((each.attempt for each in found), default=0)
            references[f"{name} (#{other})"] = tuple(each for each in found if each.attempt == last)
    return _Trainings(
        tuple(ledger.evaluations(record.id, trained)), tuple(ledger.epochs(record.id, trained)), references
    )
