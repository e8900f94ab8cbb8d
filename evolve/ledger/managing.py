"""What a service does to searches that it does not drive itself."""

from __future__ import annotations

from itertools import count

from sqlalchemy import Column, Connection, delete, func, insert, select, update

from evolve.exceptions import InputError, SearchNotFound
from evolve.ledger.database import Database
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.lease import end_idle, lock_idle
from evolve.ledger.models import (
    cursors,
    epochs,
    evaluations,
    event_row,
    events,
    individuals,
    searches,
    submissions,
    webhooks,
)
from evolve.ledger.records import EventKind, SearchState

_BELONGINGS = (epochs, evaluations, individuals, events, cursors, submissions, webhooks)  # children first
_LARGE = ((epochs.c.individual, 500), (evaluations.c.individual, 5000), (individuals.c.number, 5000),
          (events.c.sequence, 20_000))  # fmt: skip
"""By what the tables that can be large are deleted in parts, and how much of it goes at once."""


def delete_search(database: Database, search_id: str) -> None:
    """Delete every row of a search that nobody drives, in transactions that are over in a moment each."""
    with database.writing() as connection:
        lock_idle(connection, search_id)
        state = connection.execute(select(searches.c.state).where(searches.c.id == search_id)).scalar_one()
    if not SearchState(state).is_over:  # so that nobody goes on with half of it
        end_idle(database, search_id, SearchState.CANCELLED, "deleted")
    for column, amount in _LARGE:
        _delete_in_parts(database, search_id, column, amount)
    with database.writing() as connection:
        lock_idle(connection, search_id)
        for table in _BELONGINGS:
            connection.execute(delete(table).where(table.c.search_id == search_id))
        connection.execute(delete(searches).where(searches.c.id == search_id))


def _delete_in_parts(database: Database, search_id: str, column: Column[int], amount: int) -> None:
    table = column.table
    with database.reading() as connection:
        last = connection.scalar(select(func.max(column)).where(table.c.search_id == search_id))
    if last is None:
        return
    for start in count(0, amount):
        if start > last:
            return
        part = column.between(start, start + amount - 1)
        with database.writing() as connection:
            connection.execute(delete(table).where(table.c.search_id == search_id, part))


def requeue(connection: Connection, search_id: str, reason: str) -> None:
    """Put a search into the queue of a service; one that failed counts as interrupted from now on."""
    row = connection.execute(
        select(searches.c.state, searches.c.reason, searches.c.last_event, DatabaseTime().label("at"))
        .where(searches.c.id == search_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise SearchNotFound(f"search {search_id}: no search has this id; `evolve list` shows all of them")
    state = SearchState(row.state)
    if state.is_over:
        raise InputError(
            f"search {search_id}: must be unfinished to go on, but it is {state} ({row.reason}); submit a new one"
        )
    values: dict[str, object] = {"managed": True, "request": None, "last_event": row.last_event + 1}
    if state is SearchState.FAILED:
        values.update(state=SearchState.INTERRUPTED, reason=reason, finished_at=None)
    connection.execute(update(searches).where(searches.c.id == search_id).values(values))
    event = event_row(search_id, row.last_event + 1, EventKind.NOTICE, row.at, data={"message": reason})
    connection.execute(insert(events), event)
