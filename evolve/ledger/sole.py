"""One service for one ledger: two would start every driver twice, and overwrite each other's shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from sqlalchemy import text

from evolve.ledger.database import Database

_NUMBER = 0x65766F6C7665  # "evolve", a number among the advisory locks of the database
_SUFFIX = ".serve.lock"


@contextmanager
def alone(database: Database) -> Iterator[bool]:
    """Whether this process is the only one in here for this database; the answer holds until the end.

    SQLite has a lock file beside the database, PostgreSQL an advisory lock, which ends with its connection.
    """
    engine = database.engine
    if engine.dialect.name == "sqlite":
        lock = FileLock(f"{engine.url.database}{_SUFFIX}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield bool(connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _NUMBER}))
        finally:
            connection.invalidate()  # the lock goes with the connection, which others would get otherwise
