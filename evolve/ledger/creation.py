"""How a search enters the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from evolve.exceptions import LedgerError
from evolve.ledger import queries
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.models import event_row, events, searches
from evolve.ledger.records import EventKind, SearchRecord, SearchState


def new_id() -> str:
    """8 hexadecimal digits."""
    return secrets.token_hex(4)


def enter_search(connection: Connection, search_id: str, values: Mapping[str, Any]) -> SearchRecord:
    """Write a new search and its first event.

    Args:
        connection: In a transaction that writes.
        search_id: Its id.
        values: Columns of `searches`: those that a caller decides.

    Raises:
        LedgerError: The id is taken.
    """
    if connection.scalar(select(searches.c.id).where(searches.c.id == search_id)) is not None:
        raise LedgerError(f"search {search_id}: the id must be new, but it is taken; give another")
    at = connection.scalar(select(DatabaseTime())) or 0.0
    born = {"id": search_id, "state": SearchState.CREATED, "created_at": at, "last_event": 1}
    connection.execute(insert(searches), {**values, **born})
    event = event_row(search_id, 1, EventKind.SEARCH_CREATED, at, data={"name": values["name"]})
    connection.execute(insert(events), event)
    return queries.search(connection, search_id)
