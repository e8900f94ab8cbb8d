"""The runs of individuals: genes and lineage at birth, metrics while they train, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord
from evolve.tracking import names
from evolve.tracking.names import RUN_STATUS, SEARCH, Key, Point
from evolve.tracking.runs import SearchRuns

if TYPE_CHECKING:
    from evolve.ledger import Ledger


@dataclass
class _Sent:
    """What MLflow was told of an individual that is still in training."""

    tags: dict[str, str] = field(default_factory=dict)
    epochs: set[tuple[int, int, float]] = field(default_factory=set)  # attempt, epoch, seconds

    def changed(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Those of `tags` that are new, which count as sent from now on."""
        new = {name: value for name, value in tags.items() if self.tags.get(name) != value}
        self.tags |= new
        return new


class IndividualMirror:
    """Brings single individuals to MLflow, each at a cost that does not depend on how many there are.

    Args:
        ledger: The truth.
        runs: The search's runs; the search's own exists.
        search: Whose individuals these are.
    """

    def __init__(self, ledger: Ledger, runs: SearchRuns, search: SearchRecord) -> None:
        self._ledger = ledger
        self._runs = runs
        self._id = search.id
        self._began = search.started_at or search.created_at
        self._settled: set[int] = set()
        self._training: dict[int, _Sent] = {}

    def show(self, individual: IndividualRecord) -> None:
        """Write what is new about an individual; nothing while it waits for its first worker."""
        number, is_settled = individual.number, individual.told is not None
        evaluations = self._ledger.evaluations(self._id, number)
        if number in self._settled or not (is_settled or any(one.started_at for one in evaluations)):
            return
        start, end = self._times(individual, evaluations)
        key = self._open(individual, start)
        newest = evaluations[-1] if evaluations else None
        sent = self._training.setdefault(number, _Sent())
        points = self._epochs(number, evaluations, sent)
        if is_settled:
            step = newest.epochs_trained if newest else 0
            points += [Point(name, v, end, step) for name, v in names.best_metrics(individual).items()]
        self._runs.write(
            key,
            params={} if sent.tags else names.safe_params(individual.params),
            points=points,
            tags=sent.changed(names.outcome_tags(individual, newest)),
        )
        self._runs.set_status(key, RUN_STATUS[individual.state], end)
        if is_settled:
            self._settled.add(number)
            del self._training[number]

    def _open(self, individual: IndividualRecord, start: float) -> Key:
        """The individual's run, within that of its generation or of the finals."""
        group = names.group(individual)
        self._runs.ensure(group, start, parent=SEARCH)
        if RUN_STATUS[individual.state] == "RUNNING":
            self._runs.set_status(group, "RUNNING", start)
        key = Key("individual", individual.number)
        self._runs.ensure(key, start, parent=group, tags=names.lineage_tags(individual))
        return key

    def _times(self, individual: IndividualRecord, evaluations: Sequence[EvaluationRecord]) -> tuple[float, float]:
        """When training began and ended; a verdict that was taken over has the time of the one it repeats."""
        if not evaluations and individual.reused_from is not None:
            evaluations = self._ledger.evaluations(self._id, individual.reused_from)
            ends = [one.finished_at for one in evaluations if one.finished_at is not None]
            return (ends[-1], ends[-1]) if ends else (self._began, self._began)
        if not evaluations:
            return self._began, self._began
        start = _start(evaluations[0])
        return start, evaluations[-1].finished_at or start

    def _epochs(self, number: int, evaluations: Sequence[EvaluationRecord], sent: _Sent) -> list[Point]:
        """Metrics of the epochs that were not sent yet."""
        starts = {one.attempt: _start(one) for one in evaluations}
        points = []
        for record in self._ledger.epochs(self._id, number):
            identity = (record.attempt, record.epoch, record.seconds)
            if identity not in sent.epochs:
                sent.epochs.add(identity)
                at = starts[record.attempt] + record.seconds
                points += [
                    Point(names.safe_name(name), value, at, record.epoch) for name, value in record.metrics.items()
                ]
        return points


def _start(evaluation: EvaluationRecord) -> float:
    return evaluation.started_at or evaluation.created_at
