"""The ledger: the one record of every search, in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from sqlalchemy import BigInteger, literal, select, update

from evolve.exceptions import SearchNotFound
from evolve.ledger.creation import enter_search, new_id
from evolve.ledger.database import Database
from evolve.ledger.dialect import PlainName, upsert
from evolve.ledger.lease import Lease, acquire, end_idle
from evolve.ledger.managing import delete_search, requeue
from evolve.ledger.models import cursors, searches
from evolve.ledger.reading import Readable
from evolve.ledger.records import Request, SearchRecord, SearchState
from evolve.ledger.registry import Registry
from evolve.ledger.sole import alone
from evolve.trial import Json


class Ledger(Readable):
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
        super().__init__(Database(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self._database.close()

    @property
    def registry(self) -> Registry:
        """Keys, data sets, submissions and webhooks of a service."""
        return Registry(self._database)

    def alone(self) -> AbstractContextManager[bool]:
        """A context in which no other service drives searches of this ledger; it says whether that is so."""
        return alone(self._database)

    def advance(self, observer: str, search_id: str, sequence: int) -> None:
        """Note that `observer` has handled everything up to `sequence`; a cursor never goes back.

        Nothing happens where the search was deleted meanwhile.
        """
        with self._database.writing() as connection:
            still_there = (
                select(literal(observer, PlainName), searches.c.id, literal(sequence, BigInteger))
                .where(searches.c.id == search_id)
                .with_for_update(key_share=True, read=True)
            )
            statement = upsert(connection, cursors, where=cursors.c.sequence < sequence)
            connection.execute(statement.from_select(["observer", "search_id", "sequence"], still_there))

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
        values = {
            "name": name,
            "document": document,
            "objective": objective,
            "options": options,
            "environment": environment,
            "directory": directory,
            "data_hash": data_hash,
        }
        with self._database.writing() as connection:
            return enter_search(connection, search_id or new_id(), values)

    def ask_driver(self, search_id: str, request: Request | None) -> None:
        """Ask something of whoever drives the search, now or later; None takes it back.

        Raises:
            SearchNotFound: There is no search of this id.
        """
        self._change(search_id, request=request)

    def allot(self, search_id: str, workers: int | None) -> None:
        """Grant a search so many workers; its driver hears of it when it renews its lease.

        A search that is let go of has no allotment any more.

        Raises:
            SearchNotFound: There is no search of this id.
        """
        self._change(search_id, allotment=workers)

    def prioritise(self, search_id: str, priority: int) -> None:
        """Change the place of a search in the queue.

        Raises:
            SearchNotFound: There is no search of this id.
        """
        self._change(search_id, priority=priority)

    def requeue(self, search_id: str, reason: str = "resumed on request") -> None:
        """Let a service drive a search (again), although it was paused, failed, or is nobody's so far.

        Raises:
            SearchNotFound: There is no search of this id.
            InputError: It is over.
        """
        with self._database.writing() as connection:
            requeue(connection, search_id, reason)

    def end_idle(self, search_id: str, state: SearchState, reason: str) -> None:
        """End a search that nobody drives; trials that its last driver left unfinished end with it.

        Raises:
            SearchNotFound: There is no search of this id.
            LeaseHeld: A driver is at work on it.
        """
        end_idle(self._database, search_id, state, reason)

    def delete_search(self, search_id: str) -> None:
        """Forget a search, and all that belongs to it; its files are left alone.

        A large search takes many short transactions, between which others write. If this is broken off in the
        midst, the search is over and some of it is gone; a second call deletes the rest.

        Raises:
            SearchNotFound: There is no search of this id.
            LeaseHeld: A driver is at work on it.
        """
        delete_search(self._database, search_id)

    def _change(self, search_id: str, **values: object) -> None:
        with self._database.writing() as connection:
            change = update(searches).where(searches.c.id == search_id).values(values)
            if connection.execute(change).rowcount == 0:
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
