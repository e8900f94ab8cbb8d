"""Brings a database to the schema of this version of the code.

An up-to-date database is recognised by one query, without importing Alembic. Otherwise the migration runs in
one transaction under a lock of the database, so that of several processes that open a new ledger at once one
creates it and the others wait.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, String, column, inspect, select, table, text

from evolve.exceptions import LedgerError

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every revision in `migrations/versions`, oldest first."""

HEAD = REVISIONS[-1]

_ADVISORY_LOCK = 0x65766F6C7665
_VERSION = select(column("version_num", String)).select_from(table("alembic_version"))


def migrate(engine: Engine, url: str) -> None:
    """Upgrade to `HEAD`, which may mean to create everything.

    Args:
        engine: An engine whose transactions may write.
        url: For messages.

    Raises:
        LedgerError: The database was written by a newer version, or belongs to something else.
    """
    with engine.connect() as connection:
        if _revision(connection, url) == HEAD:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if _revision(connection, url) != HEAD:
            _upgrade(connection)


def _revision(connection: Connection, url: str) -> str:
    """The database's revision, empty for a new database."""
    names = inspect(connection).get_table_names()
    if "alembic_version" not in names:
        if "searches" in names:
            raise LedgerError(f"ledger {url}: not a ledger, it has tables of its own; give another database")
        return ""
    revision = connection.scalar(_VERSION) or ""
    if revision and revision not in REVISIONS:
        raise LedgerError(
            f"ledger {url}: revision <= {HEAD} must hold, but got {revision}; "
            "a newer version of evolve wrote it, so update this one"
        )
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
