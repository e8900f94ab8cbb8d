"""What the databases have in common under other names: their clock, text, JSON, and inserting or replacing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Dialect, Double, Insert, String, Table, Text, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


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

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape lone surrogates and NUL."""
        if value is None:
            return None
        return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


class PlainName(PlainText):
    """An id, possibly one that a stranger asks for; what a database would refuse matches nothing."""

    impl = String
    cache_ok = True


def encode_json(value: object) -> str:
    """Valid JSON for `value`; NaN and the infinities become the strings "nan", "inf" and "-inf".

    `float()` reads those strings back, and the readers of metrics do so.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):  # a float that JSON does not have, or a mapping that is no dict
        return json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))


def decode_json(text: str | bytes) -> Any:
    """The value of a JSON column; whole numbers beyond 64 bits, which nothing here needs, become floats."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # half a surrogate pair, as Python's own reader takes it
        return json.loads(text)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def upsert(connection: Connection, table: Table, *, where: ColumnElement[bool] | None = None) -> Insert:
    """An insert that takes the place of a row with the same key, if that row satisfies `where`."""
    statement = _insert(connection, table)
    values = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=values, where=where)


def insert_new(connection: Connection, table: Table) -> Insert:
    """An insert that does nothing where there is a row with the same key."""
    return _insert(connection, table).on_conflict_do_nothing(index_elements=table.primary_key)


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
