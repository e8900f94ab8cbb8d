"""When and where every attempt was trained, and what it took: the short columns of evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from evolve.ledger import queries
from evolve.ledger.models import evaluations
from evolve.trial import TrialState


@dataclass(frozen=True)
class TrialTimes:
    """An attempt without its arguments, metrics and messages; times are seconds since the epoch."""

    individual: int
    attempt: int
    state: TrialState
    worker: str
    started_at: float | None
    finished_at: float | None
    seconds: float
    gpu_seconds: float


def trial_times(connection: Connection, search_id: str) -> list[TrialTimes]:
    """Every attempt of a search, by start; those that have not started come last."""
    column = evaluations.c
    query = (
        select(
            column.individual,
            column.attempt,
            column.state,
            column.worker,
            column.started_at,
            column.finished_at,
            column.seconds,
            column.gpu_seconds,
        )
        .where(column.search_id == search_id)
        .order_by(column.started_at.is_(None), column.started_at, column.individual, column.attempt)
    )
    return [TrialTimes(**{**row, "state": TrialState(row["state"])}) for row in queries.rows(connection, query)]
