"""The tables.

Rows are read and written with SQLAlchemy Core: an evaluation costs a handful of compiled statements, and the
records of `evolve.ledger.records` are the only objects. Columns that change come before the long documents,
where SQLite reaches them without walking overflow pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from evolve.ledger.dialect import PlainName, PlainText

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


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


def _search_id() -> Column[str]:
    return Column("search_id", PlainName(64), primary_key=True)


def _number(name: str) -> Column[int]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


searches = Table(
    "searches",
    metadata,
    Column("ordinal", Integer, primary_key=True),
    Column("id", PlainName(64), nullable=False),
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
    Column("managed", Boolean, nullable=False, default=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("allotment", Integer),
    Column("submitted_by", PlainName(64)),
    Column("answer", JSON),
    UniqueConstraint("id"),
    Index("ix_searches_name", "name", "ordinal"),
    Index("ix_searches_state", "state", "ordinal"),
    Index("ix_searches_submitted_by", "submitted_by", "ordinal"),
)

individuals = Table(
    "individuals",
    metadata,
    Column("search_id", PlainName(64), ForeignKey(searches.c.id), primary_key=True),
    _number("number"),
    Column("generation", Integer, nullable=False),
    Column("told", Integer),
    Column("state", String(16), nullable=False),
    Column("fitness", Double),
    Column("failure", PlainName(32)),
    Column("reused_from", Integer),
    Column("inherited_from", Integer),
    Column("attempts", Integer, nullable=False, default=0),
    Column("role", String(16), nullable=False, default="search"),
    Column("original", Integer),
    Column("seed", BigInteger),
    Column("seconds", Double, nullable=False, default=0.0),
    Column("settings", JSON, nullable=False),
    Column("rungs", JSON, nullable=False),
    Column("objectives", JSON, nullable=False),
    Column("key", String(128), nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("genome", JSON, nullable=False),
    Column("params", JSON, nullable=False),
    Column("parents", JSON, nullable=False),
    Column("operators", JSON, nullable=False),
    Column("origins", JSON, nullable=False),
    # pages are filtered, sorted, counted and summed up in this index; only the rows of the page itself are read
    Index("ix_individuals_page", "search_id", "generation", "number", "told", "state", "fitness", "failure"),
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
    Index("ix_evaluations_state", "state", "search_id"),
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
    Column("search_id", PlainName(64), ForeignKey(searches.c.id), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("at", Double, nullable=False),
    Column("individual", Integer),
    Column("data", JSON, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("observer", PlainName(255), primary_key=True),
    Column("search_id", PlainName(64), ForeignKey(searches.c.id), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Index("ix_cursors_search_id", "search_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", PlainName(64), primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("digest", PlainName(128), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    UniqueConstraint("digest"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", PlainName(64), primary_key=True),
    Column("path", PlainText, nullable=False),
    Column("content_hash", String(128), nullable=False),
    Column("registered_by", PlainName(64)),
    Column("created_at", Double, nullable=False),
    Column("summary", JSON, nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    Column("submitter", PlainName(64), primary_key=True),
    Column("key", PlainName(255), primary_key=True),
    Column("digest", PlainName(128), nullable=False),
    # checked at the commit, as the row is written first: whoever writes it may enter the search
    Column(
        "search_id",
        PlainName(64),
        ForeignKey(searches.c.id, deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Index("ix_submissions_search_id", "search_id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", PlainName(64), primary_key=True),
    Column("url", PlainText, nullable=False),
    Column("kinds", JSON, nullable=False),
    Column("secret", PlainText, nullable=False),
    Column("search_id", PlainName(64), ForeignKey(searches.c.id)),
    Column("created_by", PlainName(64)),
    Column("created_at", Double, nullable=False),
    Column("failures", Integer, nullable=False, default=0),
    Column("last_error", PlainText, nullable=False, default=""),
    Column("disabled_at", Double),
    Index("ix_webhooks_search_id", "search_id"),
)
