"""Keeps the MLflow runs of a search in step with the ledger.

Events only say what to look at: what is written comes from the ledger as it stands, with the ledger's times,
and every write can be repeated. So a batch that was delivered twice, or only in part, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.ledger.records import EventKind, EventRecord, IndividualRecord, SearchRecord, SearchState
from evolve.tracking import names
from evolve.tracking.individuals import IndividualMirror
from evolve.tracking.names import FINALS, SEARCH, SEARCH_STATUS, Key, Point
from evolve.tracking.runs import SearchRuns
from evolve.trial import Role, TrialState
from evolve.yaml_io import dump_yaml

if TYPE_CHECKING:
    from evolve.ledger import Ledger


class SearchMirror:
    """One search in MLflow: its own run and those of its generations and finals.

    Args:
        ledger: The truth.
        runs: The search's runs; the search's own is made to exist.
        search: As it stands.
    """

    def __init__(self, ledger: Ledger, runs: SearchRuns, search: SearchRecord) -> None:
        self._ledger = ledger
        self._runs = runs
        self._id = search.id
        self._individuals = IndividualMirror(ledger, runs, search)
        self._tags: dict[str, str] = {}
        self._best: float | None = None  # before verdict number `_told`; None while unknown
        self._told = 0
        runs.ensure(SEARCH, search.started_at or search.created_at)
        runs.attach_text(SEARCH, dump_yaml(search.document), "space.yaml")
        runs.write(SEARCH, params=names.search_params(search))

    def apply(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Look at everything that `events`, at least one, touch."""
        touched = self._records({event.individual for event in events if event.individual is not None})
        for individual in touched.values():
            self._individuals.show(individual)
        self._runs.write(SEARCH, points=self._verdicts(events, touched))
        for event in events:
            if event.kind is EventKind.GENERATION_FINISHED:
                self._finish_generation(event)
        self._describe(search)
        if SEARCH_STATUS[search.state] == "RUNNING":
            self._runs.set_status(SEARCH, "RUNNING", events[-1].at)
        elif any(event.kind is EventKind.SEARCH_FINISHED for event in events):
            self._summarise(search)
            self.end(search, search.finished_at or events[-1].at)

    def end(self, search: SearchRecord, at: float) -> None:
        """End all runs that still run; `at` in seconds since the epoch."""
        unfinished = self._runs.running("individual")
        for individual in self._records(unfinished).values():
            self._individuals.show(individual)
        for number in self._runs.running("individual"):
            self._runs.set_status(Key("individual", number), "KILLED", at)
        status = SEARCH_STATUS[search.state]
        status = "KILLED" if status == "RUNNING" else status
        for kind in names.GROUPS:
            for number in self._runs.running(kind):
                self._runs.set_status(Key(kind, number), status, at)
        self._runs.set_status(SEARCH, status, at)

    def _verdicts(self, events: Sequence[EventRecord], individuals: dict[int, IndividualRecord]) -> list[Point]:
        """Fitness, and the best so far, over the evaluations."""
        points = []
        for event in events:
            if event.kind is not EventKind.INDIVIDUAL_EVALUATED or event.individual is None:
                continue
            individual = individuals[event.individual]
            if individual.told is None or individual.told < self._told:
                continue
            best = self._best_before(individual.told)
            if individual.fitness is not None and individual.role is not Role.FINAL:
                points.append(Point("fitness", individual.fitness, event.at, individual.told))
                if _contends(individual):
                    best = max(best, individual.fitness)
            if math.isfinite(best):
                points.append(Point("best_fitness", best, event.at, individual.told))
            self._best, self._told = best, individual.told + 1
        return points

    def _best_before(self, told: int) -> float:
        """Best fitness among the first `told` verdicts, minus infinity if there is none."""
        if self._best is None:
            earlier = self._ledger.history(self._id)[:told]
            completed = (one.fitness for one in earlier if _contends(one))
            self._best = max((fitness for fitness in completed if fitness is not None), default=-math.inf)
        return self._best

    def _finish_generation(self, event: EventRecord) -> None:
        number = int(str(event.data["generation"]))
        key = Key("generation", number)
        members = self._ledger.individuals(self._id, generation=number)
        self._runs.ensure(key, event.at, parent=SEARCH)
        self._runs.attach_text(key, names.individuals_table(members), "individuals.csv")
        statistics = names.population_metrics(event.data)
        points = [Point(name, value, event.at, number) for name, value in statistics.items()]
        best = [one for one in members if one.number == event.data.get("best_individual")]
        self._runs.write(
            key,
            params=names.safe_params(best[0].params, "best/") if best else {},
            points=points,
            tags={"evolve.best_individual": str(best[0].number)} if best else {},
        )
        self._runs.write(SEARCH, points=points)
        self._runs.set_status(key, "FINISHED", event.at)

    def _describe(self, search: SearchRecord) -> None:
        """Write how the search stands, if that changed."""
        tags = names.search_tags(search, self._best_individual(search))
        if tags != self._tags:
            self._runs.write(SEARCH, tags=tags)
            self._tags = tags

    def _summarise(self, search: SearchRecord) -> None:
        """Write what only a search that has come to rest can tell."""
        best = self._best_individual(search)
        individuals = self._ledger.individuals(self._id)
        self._runs.attach_text(SEARCH, names.individuals_table(individuals), "individuals.csv")
        if self._runs.status(FINALS) is not None:
            finals = [one for one in individuals if names.group(one) == FINALS]
            self._runs.attach_text(FINALS, names.individuals_table(finals), "individuals.csv")
        if best is not None and search.state is SearchState.COMPLETED:
            for evaluation in self._ledger.evaluations(self._id, best.number)[-1:]:
                if evaluation.weights:
                    self._runs.attach_file(SEARCH, Path(evaluation.weights), "weights")
            self._runs.write(SEARCH, params=names.safe_params(best.params, "best/"))
        at = search.finished_at or search.created_at
        totals = names.search_totals(search)
        self._runs.write(SEARCH, points=[Point(name, v, at, search.evaluated) for name, v in totals.items()])

    def _best_individual(self, search: SearchRecord) -> IndividualRecord | None:
        if search.best_individual is None:
            return None
        return self._records({search.best_individual}).get(search.best_individual)

    def _records(self, numbers: Collection[int]) -> dict[int, IndividualRecord]:
        if not numbers:
            return {}
        return {one.number: one for one in self._ledger.individuals(self._id, numbers=numbers)}


def _contends(individual: IndividualRecord) -> bool:
    """Whether it may be the best so far, as the ledger has it."""
    return individual.state is TrialState.COMPLETED and individual.role not in (Role.REPEAT, Role.FINAL)
