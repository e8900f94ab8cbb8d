"""Rows with an id of their own, which belong to a service rather than to a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from evolve.exceptions import LedgerError, NotFound
from evolve.ledger import queries
from evolve.ledger.database import Database
from evolve.ledger.dialect import DatabaseTime


class Entries:
    """What keys, data sets and webhooks have in common.

    Args:
        database: The ledger's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def _get(self, table: Table, what: str, entry_id: str) -> dict[str, Any]:
        with self._database.reading() as connection:
            return require(connection, table, what, entry_id)


def enter(connection: Connection, table: Table, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a new row, and return all of it.

    Raises:
        LedgerError: Its id is taken.
    """
    if connection.scalar(select(table.c.id).where(table.c.id == values["id"])) is not None:
        raise LedgerError(f"{what} {values['id']}: the id must be new, but it is taken; give another")
    at = connection.scalar(select(DatabaseTime()))
    connection.execute(insert(table), {**values, "created_at": at})
    return require(connection, table, what, values["id"])


def require(connection: Connection, table: Table, what: str, entry_id: str) -> dict[str, Any]:
    """The row of this id.

    Raises:
        NotFound: There is none.
    """
    found = queries.rows(connection, select(table).where(table.c.id == entry_id))
    if not found:
        raise NotFound(f"{what} {entry_id}: no {what} has this id; the list of them shows those that exist")
    return found[0]
