"""The tables, the database's clock, and how values are written into JSON columns.

Rows are read and written with SQLAlchemy Core: an evaluation costs a handful of compiled statements, and the
records of `evolve.ledger.records` are the only objects. Columns that change come before the long documents,
where SQLite reaches them without walking overflow pages.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Insert,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class DatabaseTime(FunctionElement[float]):
    """Seconds since the epoch on the database's clock, at the moment the statement runs."""

    type = Double()
    name = "database_time"
    inherit_cache = True


@compiles(DatabaseTime, "sqlite")
def _sqlite_time(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(DatabaseTime, "postgresql")
def _postgresql_time(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    # now() would be the start of the transaction, which may have waited for a lock since then
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class PlainText(TypeDecorator[str]):
    """Text of unknown origin, such as a traceback; what a database would refuse is written as escapes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape lone surrogates and NUL."""
        if value is None:
            return None
        return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def encode_json(value: object) -> str:
    """Valid JSON for `value`; NaN and the infinities become the strings "nan", "inf" and "-inf".

    `float()` reads those strings back, and the readers of metrics do so.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):  # a float that JSON does not have, or a mapping that is no dict
        return json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def event_row(
    search_id: str,
    sequence: int,
    kind: str,
    at: float,
    *,
    individual: int | None = None,
    data: Mapping[str, object],
) -> dict[str, Any]:
    """A row of `events`."""
    return {
        "search_id": search_id,
        "sequence": sequence,
        "kind": kind,
        "at": at,
        "individual": individual,
        "data": data,
    }


def upsert(connection: Connection, table: Table, *, where: ColumnElement[bool] | None = None) -> Insert:
    """An insert that takes the place of a row with the same key, if that row satisfies `where`."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    values = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=values, where=where)


def _search_id() -> Column[str]:
    return Column("search_id", String(64), primary_key=True)


def _number(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


searches = Table(
    "searches",
    metadata,
    Column("ordinal", Integer, primary_key=True),
    Column("id", String(64), nullable=False),
    Column("name", PlainText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", PlainText, nullable=False, default=""),
    Column("request", String(16)),
    Column("owner", PlainText),
    Column("lease_token", BigInteger, nullable=False, default=0),
    Column("lease_since", Double),
    Column("lease_expires", Double),
    Column("last_event", BigInteger, nullable=False, default=0),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("evaluated", Integer, nullable=False, default=0),
    Column("trained", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("gpu_seconds", Double, nullable=False, default=0.0),
    Column("trial_seconds", Double, nullable=False, default=0.0),
    Column("best_individual", Integer),
    Column("best_fitness", Double),
    Column("default_fitness", Double),
    Column("objective", PlainText, nullable=False),
    Column("directory", PlainText, nullable=False),
    Column("data_hash", String(128), nullable=False),
    Column("document", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    UniqueConstraint("id"),
    Index("ix_searches_name", "name", "ordinal"),
    Index("ix_searches_state", "state", "ordinal"),
)

individuals = Table(
    "individuals",
    metadata,
    Column("search_id", String(64), ForeignKey(searches.c.id), primary_key=True),
    _number("number"),
    Column("generation", Integer, nullable=False),
    Column("told", Integer),
    Column("state", String(16), nullable=False),
    Column("fitness", Double),
    Column("failure", String(32)),
    Column("reused_from", Integer),
    Column("inherited_from", Integer),
    Column("attempts", Integer, nullable=False, default=0),
    Column("key", String(128), nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("genome", JSON, nullable=False),
    Column("params", JSON, nullable=False),
    Column("parents", JSON, nullable=False),
    Column("operators", JSON, nullable=False),
    Column("origins", JSON, nullable=False),
    Index("ix_individuals_generation", "search_id", "generation", "number"),
    Index("ix_individuals_told", "search_id", "told", unique=True),
)

evaluations = Table(
    "evaluations",
    metadata,
    _search_id(),
    _number("individual"),
    _number("attempt"),
    Column("state", String(16), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("epochs_trained", Integer, nullable=False, default=0),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("seconds", Double, nullable=False, default=0.0),
    Column("gpu_seconds", Double, nullable=False, default=0.0),
    Column("worker", PlainText, nullable=False, default=""),
    Column("failure", String(32)),
    Column("failure_message", PlainText, nullable=False, default=""),
    Column("failure_details", PlainText, nullable=False, default=""),
    Column("weights", PlainText),
    Column("requested", JSON, nullable=False),
    Column("effective", JSON, nullable=False),
    Column("differences", JSON, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("notes", JSON, nullable=False),
    ForeignKeyConstraint(["search_id", "individual"], ["individuals.search_id", "individuals.number"]),
)

epochs = Table(
    "epochs",
    metadata,
    _search_id(),
    _number("individual"),
    _number("attempt"),
    _number("epoch"),
    Column("seconds", Double, nullable=False),
    Column("metrics", JSON, nullable=False),
    ForeignKeyConstraint(
        ["search_id", "individual", "attempt"],
        ["evaluations.search_id", "evaluations.individual", "evaluations.attempt"],
    ),
)

events = Table(
    "events",
    metadata,
    Column("search_id", String(64), ForeignKey(searches.c.id), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("at", Double, nullable=False),
    Column("individual", Integer),
    Column("data", JSON, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("observer", String(255), primary_key=True),
    Column("search_id", String(64), ForeignKey(searches.c.id), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)
