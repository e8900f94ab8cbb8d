"""How the rows of one search are changed, and its totals and events with them, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, insert, outerjoin, select, update

from evolve.exceptions import LedgerError
from evolve.ledger.models import epochs, evaluations, event_row, events, individuals, searches
from evolve.ledger.records import EventKind
from evolve.trial import TrialState

RUNNING_TOTALS = (
    "state",
    "reason",
    "owner",
    "last_event",
    "started_at",
    "finished_at",
    "evaluated",
    "trained",
    "failed",
    "gpu_seconds",
    "trial_seconds",
    "best_individual",
    "best_fitness",
    "default_fitness",
)
"""Columns of the search row that a transaction reads at its beginning and writes back at its end."""

UNFINISHED = [str(state) for state in TrialState if not state.is_finished]

# Built once: SQLAlchemy compiles them at their first use. Parameters that name a column become its new value.
_WRITE_TOTALS = update(searches).where(searches.c.id == bindparam("b_search"))
_CHANGE_INDIVIDUAL = update(individuals).where(
    individuals.c.search_id == bindparam("b_search"), individuals.c.number == bindparam("b_individual")
)
VERDICT = _CHANGE_INDIVIDUAL.where(individuals.c.told.is_(None))
_THIS_EVALUATION = and_(
    evaluations.c.search_id == bindparam("b_search"),
    evaluations.c.individual == bindparam("b_individual"),
    evaluations.c.attempt == bindparam("b_attempt"),
)
_CHANGE_EVALUATION = update(evaluations).where(_THIS_EVALUATION, evaluations.c.state.in_(UNFINISHED))
_PROGRESS = (
    select(evaluations.c.started_at, func.max(epochs.c.epoch), func.max(epochs.c.seconds))
    .select_from(outerjoin(evaluations, epochs))
    .where(_THIS_EVALUATION)
    .group_by(evaluations.c.started_at)
)


class RowWriter:
    """The rows of one search, in a transaction that holds the search row locked until the end.

    Args:
        connection: In that transaction.
        search_id: The search.
        totals: The columns of `RUNNING_TOTALS`.
        at: The time of everything that is written, on the database's clock.
    """

    def __init__(self, connection: Connection, search_id: str, totals: dict[str, Any], at: float) -> None:
        self._connection = connection
        self._search_id = search_id
        self._totals = totals
        self._at = at
        self._events: list[dict[str, Any]] = []

    @property
    def gpu_seconds(self) -> float:
        """GPU time of all attempts of the search so far, this transaction's included."""
        spent: float = self._totals["gpu_seconds"]
        return spent

    def flush(self) -> None:
        """Write the totals and the events; called once by the lease."""
        self._connection.execute(_WRITE_TOTALS, {"b_search": self._search_id, **self._totals})
        if self._events:
            self._connection.execute(insert(events), self._events)

    def _append(self, kind: EventKind, individual: int | None = None, /, **data: object) -> None:
        self._totals["last_event"] += 1
        sequence = self._totals["last_event"]
        self._events.append(event_row(self._search_id, sequence, kind, self._at, individual=individual, data=data))

    def _finish(self, individual: int, attempt: int, state: TrialState, **values: Any) -> None:
        self._set_evaluation(individual, attempt, state=state, finished_at=self._at, **values)
        self._set_individual(individual, state=state)
        self._totals["trial_seconds"] += values["seconds"]
        self._totals["gpu_seconds"] += values["gpu_seconds"]

    def _spent(self, individual: int, attempt: int, gpus: float, *, until_now: bool = True) -> dict[str, float]:
        """What an attempt without a result has cost; unless `until_now`, as far as its last report tells."""
        row = self._connection.execute(_PROGRESS, {**self._key(individual), "b_attempt": attempt}).first()
        started_at, epoch, seconds = row or (None, None, None)
        seconds = seconds or 0.0
        if until_now and started_at is not None:
            seconds = max(seconds, self._at - started_at)
        return {"seconds": seconds, "gpu_seconds": seconds * gpus, "epochs_trained": epoch or 0}

    def _set_evaluation(self, individual: int, attempt: int, **values: Any) -> None:
        changed = self._connection.execute(
            _CHANGE_EVALUATION, {**self._key(individual), "b_attempt": attempt, **values}
        )
        self._require(changed.rowcount, f"evaluation {individual}.{attempt} is unknown or finished")

    def _set_individual(self, individual: int, **values: Any) -> None:
        changed = self._connection.execute(_CHANGE_INDIVIDUAL, {**self._key(individual), **values})
        self._require(changed.rowcount, f"individual {individual} is unknown")

    def _key(self, individual: int) -> dict[str, Any]:
        return {"b_search": self._search_id, "b_individual": individual}

    def _require(self, rowcount: int, problem: str) -> None:
        if rowcount != 1:
            raise LedgerError(f"search {self._search_id}: {problem}; nothing was written")

    def _own(self, search_id: str) -> str:
        if search_id != self._search_id:
            raise LedgerError(f"search {self._search_id}: its lease cannot write to search {search_id}")
        return search_id


def floats(metrics: Mapping[str, float]) -> dict[str, float]:
    """NumPy's scalars are no JSON."""
    return {name: float(value) for name, value in metrics.items()}
