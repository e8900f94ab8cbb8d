"""One database: its URL, its connections, and its errors as one line each."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from evolve.exceptions import LedgerAway, LedgerError
from evolve.ledger.dialect import decode_json, encode_json
from evolve.ledger.schema import migrate

LOCK_SECONDS = 20
"""How long a statement waits for another process before it gives up; `?timeout=` overrides it for SQLite."""

_CONNECT_SECONDS = 10
_POOL = 20  # connections that are kept once they were needed; a service reads and writes from many threads
_WRITES = "evolve_writes"
_AWAY = (OperationalError, InterfaceError, NoConnection)
_REMEDY = "see EVOLVE_DATABASE_URL"
_abandoned: list[object] = []  # connections of the parent of a fork: closing them here would end the parent's


class Database:
    """Opens a database, migrates it, and hands out transactions that any thread may use."""

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.url = _hide_secrets(parsed)
        self.engine = _create_engine(parsed)
        self._turns = (os.getpid(), Lock())
        self._writer = self.engine.execution_options(**{_WRITES: True})
        self._reader = self.engine
        if self.engine.dialect.name == "postgresql":  # where every statement sees a state of its own otherwise
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ")
        try:
            with self._one_line_errors():
                if parsed.get_backend_name() == "sqlite":
                    _enter_wal(self.engine)
                migrate(self._writer, self.url)
        except LedgerError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and never waits for a writer."""
        with self._one_line_errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits at the end and rolls back whole on any exception."""
        with self._one_line_errors(), self._turn(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let the threads of this process write to SQLite one after the other.

        SQLite makes a writer sleep and look again, ever more seldom; among many threads some would sleep for
        seconds while others overtake them.
        """
        if self.engine.dialect.name != "sqlite":
            yield
            return
        if self._turns[0] != os.getpid():
            self._turns = (os.getpid(), Lock())  # a thread that the parent of a fork had may have held the other
        turn = self._turns[1]
        mine = turn.acquire(timeout=LOCK_SECONDS)  # after that, SQLite says what is wrong
        try:
            yield
        finally:
            if mine:
                turn.release()

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            kind = LedgerAway if isinstance(error, _AWAY) else LedgerError
            raise kind(f"ledger {self.url}: {cause[:300]}; {_REMEDY}") from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        shown = re.sub(r"//[^/]*@", "//***@", url)
        raise LedgerError(
            f"ledger {shown}: not a database URL; give sqlite:///path or postgresql://host/name, {_REMEDY}"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _prepare_file(parsed)
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise LedgerError(
        f"ledger {_hide_secrets(parsed)}: sqlite or postgresql must hold, but got {backend}; {_REMEDY}"
    )


def _prepare_file(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise LedgerError(f"ledger {url}: a file must be named, since several processes share it; {_REMEDY}")
    folder = Path(url.database).expanduser().resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"ledger {url}: {folder}: {error.strerror}; {_REMEDY}") from error
    return url.set(database=str(folder / Path(url.database).name))


def _hide_secrets(url: URL) -> str:
    query = {key: "***" if "password" in key else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def _create_engine(url: URL) -> Engine:
    json = {"json_serializer": encode_json, "json_deserializer": decode_json}
    if url.get_backend_name() == "sqlite":
        limits = {} if "timeout" in url.query else {"timeout": LOCK_SECONDS}
        engine = create_engine(url, connect_args=limits, pool_size=_POOL, **json)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        limits = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
        engine = create_engine(url, connect_args=limits, pool_size=_POOL, pool_pre_ping=True, **json)
        event.listen(engine, "connect", _configure_postgresql)
    event.listen(engine, "connect", _note_process)
    event.listen(engine, "checkout", _refuse_forked)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late; _begin_sqlite sends it
    connection.execute("PRAGMA foreign_keys = ON")
    # in WAL mode only FULL syncs at every commit: with NORMAL a power cut takes back committed evaluations
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _configure_postgresql(connection: Any, record: Any) -> None:
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    connection.execute("SET idle_in_transaction_session_timeout = '60s'")  # a frozen driver lets go of its locks
    connection.autocommit = False


def _note_process(connection: Any, record: Any) -> None:
    record.info["pid"] = os.getpid()


def _refuse_forked(connection: Any, record: Any, proxy: Any) -> None:
    if record.info["pid"] != os.getpid():
        _abandoned.append(connection)
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("this connection belongs to the parent process")


def _enter_wal(engine: Engine) -> None:
    """Switch the file to write-ahead logging, once in its life."""
    # SQLite does not wait for its busy timeout when several connections change the journal mode at once
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with closing(engine.raw_connection()) as connection:
                cursor = connection.cursor()
                if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                    cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
