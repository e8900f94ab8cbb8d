"""The ledger: the one record of every search, in SQLite or PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self

from sqlalchemy import insert, select, update

from evolve.exceptions import LedgerError, SearchNotFound
from evolve.ledger import queries
from evolve.ledger.database import Database
from evolve.ledger.lease import Lease, acquire
from evolve.ledger.models import DatabaseTime, cursors, event_row, events, searches, upsert
from evolve.ledger.records import (
    EpochRecord,
    EvaluationRecord,
    EventKind,
    EventRecord,
    IndividualRecord,
    Request,
    SearchRecord,
    SearchState,
)
from evolve.trial import Json


class Ledger:
    """Searches, their individuals, evaluations, epochs and events.

    Any number of processes and threads may read; a search is written by the one that holds its `Lease`. What
    a transaction has committed survives a power cut. NaN and the infinities are kept in metrics; in other
    documents, such as `EventRecord.data`, they are the strings "nan", "inf" and "-inf".

    Every method may raise `LedgerError`, one line that names the database without its password.

    Args:
        url: `sqlite:///path` or `postgresql://user@host/name`. The file or the tables are created when
            missing, and brought up to date when old.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._database.close()

    def search(self, ref: str) -> SearchRecord:
        """The search with this id, else the newest of this name, else with this unique beginning of an id.

        Args:
            ref: An id, at least 4 characters of one, or a name.

        Raises:
            SearchNotFound: There is none, or several ids begin with `ref`.
        """
        with self._database.reading() as connection:
            return queries.search(connection, ref)

    def searches(
        self,
        *,
        name: str | None = None,
        states: Collection[SearchState] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[SearchRecord]:
        """Searches, newest first, of one name and in some states if asked."""
        with self._database.reading() as connection:
            return queries.search_list(connection, name=name, states=states, limit=limit, offset=offset)

    def individuals(
        self,
        search_id: str,
        *,
        generation: int | None = None,
        numbers: Collection[int] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[IndividualRecord]:
        """Individuals of a search by number, of one generation or with some numbers if asked."""
        with self._database.reading() as connection:
            return queries.individual_list(
                connection, search_id, generation=generation, numbers=numbers, limit=limit, offset=offset
            )

    def history(self, search_id: str) -> list[IndividualRecord]:
        """Individuals with a verdict, in the order in which the search was told."""
        with self._database.reading() as connection:
            return queries.history(connection, search_id)

    def evaluations(self, search_id: str, individual: int | None = None) -> list[EvaluationRecord]:
        """Every attempt, by individual and attempt."""
        with self._database.reading() as connection:
            return queries.evaluation_list(connection, search_id, individual)

    def epochs(self, search_id: str, individual: int | None = None) -> list[EpochRecord]:
        """Every epoch, by individual, attempt and epoch."""
        with self._database.reading() as connection:
            return queries.epoch_list(connection, search_id, individual)

    def events(self, search_id: str, after: int = 0, limit: int = 1000) -> list[EventRecord]:
        """At most `limit` events whose sequence is higher than `after`, oldest first."""
        with self._database.reading() as connection:
            return queries.event_list(connection, search_id, after, limit)

    def active_seconds(self, search_id: str) -> float:
        """Seconds with a driver at work; the time between a crash and its resume is left out."""
        with self._database.reading() as connection:
            return queries.active_seconds(connection, search_id)

    def cursor(self, observer: str, search_id: str) -> int:
        """The sequence of the last event that `observer` has handled; 0 for a new one."""
        with self._database.reading() as connection:
            return queries.cursor(connection, observer, search_id)

    def advance(self, observer: str, search_id: str, sequence: int) -> None:
        """Note that `observer` has handled everything up to `sequence`; a cursor never goes back."""
        with self._database.writing() as connection:
            statement = upsert(connection, cursors, where=cursors.c.sequence < sequence)
            connection.execute(statement, {"observer": observer, "search_id": search_id, "sequence": sequence})

    def create_search(
        self,
        *,
        name: str,
        document: Mapping[str, Json],
        objective: str,
        options: Mapping[str, Json],
        environment: Mapping[str, Json],
        directory: str,
        data_hash: str,
        search_id: str | None = None,
    ) -> SearchRecord:
        """Record a new search, which no driver runs yet.

        Args:
            name: Need not be unique.
            document: The search space.
            objective: `yolo12` or `package.module:function`.
            options: How it is to run.
            environment: Versions, host and hardware.
            directory: Where its trials keep their files.
            data_hash: Digest of the data set, may be empty.
            search_id: An id of the caller's own; 8 new hexadecimal digits otherwise.

        Raises:
            LedgerError: `search_id` is taken.
        """
        search_id = search_id or secrets.token_hex(4)
        with self._database.writing() as connection:
            if connection.scalar(select(searches.c.id).where(searches.c.id == search_id)) is not None:
                raise LedgerError(f"search {search_id}: the id must be new, but it is taken; give another")
            at = connection.scalar(select(DatabaseTime())) or 0.0
            values = {
                "id": search_id,
                "name": name,
                "state": SearchState.CREATED,
                "created_at": at,
                "last_event": 1,
                "objective": objective,
                "directory": directory,
                "data_hash": data_hash,
                "document": document,
                "options": options,
                "environment": environment,
            }
            connection.execute(insert(searches), values)
            event = event_row(search_id, 1, EventKind.SEARCH_CREATED, at, data={"name": name})
            connection.execute(insert(events), event)
            return queries.search(connection, search_id)

    def ask_driver(self, search_id: str, request: Request | None) -> None:
        """Ask something of whoever drives the search, now or later; None takes it back.

        Raises:
            SearchNotFound: There is no search of this id.
        """
        asked = update(searches).where(searches.c.id == search_id).values(request=request)
        with self._database.writing() as connection:
            if connection.execute(asked).rowcount == 0:
                raise SearchNotFound(f"search {search_id}: no search has this id; `evolve list` shows them")

    def acquire(self, search_id: str, *, ttl: float = 30.0) -> Lease:
        """Become the driver of a search.

        A lease is free when nobody holds it, when it ran out on the database's clock, or when its holder was
        a process of this host that is gone.

        Args:
            search_id: Its full id.
            ttl: Seconds for which the lease holds without being renewed; every transaction renews it.

        Raises:
            SearchNotFound: There is no search of this id.
            LeaseHeld: Another driver is alive; the message says which.
        """
        return acquire(self._database, search_id, ttl)
