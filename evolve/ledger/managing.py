"""What a service does to searches that it does not drive itself."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from evolve.exceptions import InputError, SearchNotFound
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.lease import lock_idle
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


def delete_search(connection: Connection, search_id: str) -> None:
    """Delete every row of a search that nobody drives."""
    lock_idle(connection, search_id)
    for table in _BELONGINGS:
        connection.execute(delete(table).where(table.c.search_id == search_id))
    connection.execute(delete(searches).where(searches.c.id == search_id))


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
