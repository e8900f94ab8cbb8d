"""Reading: every query, and how a row becomes a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, bindparam, select

from evolve.exceptions import SearchNotFound
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.models import cursors, epochs, evaluations, events, individuals, searches
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
from evolve.trial import FailureKind, Role, TrialState

_Record = TypeVar("_Record", SearchRecord, IndividualRecord)
_PREFIX = 4  # an abbreviated id has at least this many characters

_PRIVATE = {"ordinal", "lease_token", "lease_since", "last_event"}
_DOCUMENTS = ("document", "options", "environment")  # `answer` is short
_LEASED = (searches.c.lease_expires > DatabaseTime()).label("leased")
SEARCH = select(*(column for column in searches.c if column.name not in _PRIVATE), _LEASED)
LIGHT_SEARCH = select(*(column for column in searches.c if column.name not in (*_PRIVATE, *_DOCUMENTS)), _LEASED)
"""All of a search but its documents, which are most of its size."""
_BY_ID = SEARCH.where(
    searches.c.id == bindparam("b_id", type_=searches.c.id.type)
)  # built once, as that takes as long as the answer

_STORY: dict[str, Any] = {"genome": (), "operators": (), "origins": {}}
LIGHT_INDIVIDUAL = select(*(column for column in individuals.c if column.name not in _STORY))
"""All of an individual but how it was made."""


def search(connection: Connection, ref: str) -> SearchRecord:
    """The search of this id, or name (the newest one of it), or unique beginning of an id.

    A whole name goes before the beginning of an id, which a name may happen to be.

    Raises:
        SearchNotFound: None, or several ids begin like this.
    """
    found: list[dict[str, Any]] = []
    if ref.isprintable():  # PostgreSQL refuses NUL
        newest = SEARCH.order_by(searches.c.ordinal.desc())
        found = rows(connection, _BY_ID, b_id=ref)
        found = found or rows(connection, newest.where(searches.c.name == ref).limit(1))
        if not found and len(ref) >= _PREFIX:
            found = rows(connection, SEARCH.where(searches.c.id.startswith(ref, autoescape=True)).limit(2))
    if len(found) == 1:
        return search_record(found[0])
    problem = "several ids begin like this" if found else "no search has this id or name"
    raise SearchNotFound(f"search {ref}: {problem}; `evolve list` shows all of them")


def search_list(
    connection: Connection,
    *,
    name: str | None,
    states: Collection[SearchState] | None,
    limit: int,
    offset: int,
) -> list[SearchRecord]:
    """Searches, newest first."""
    query = SEARCH.order_by(searches.c.ordinal.desc()).limit(limit).offset(offset)
    if name is not None:
        query = query.where(searches.c.name == name)
    if states is not None:
        query = query.where(searches.c.state.in_([str(state) for state in states]))
    return [search_record(row) for row in rows(connection, query)]


def individual_list(
    connection: Connection,
    search_id: str,
    *,
    generation: int | None,
    numbers: Collection[int] | None,
    limit: int | None,
    offset: int,
) -> list[IndividualRecord]:
    """Individuals by number."""
    query = select(individuals).where(individuals.c.search_id == search_id)
    if generation is not None:
        query = query.where(individuals.c.generation == generation)
    if numbers is not None:
        query = query.where(individuals.c.number.in_(list(numbers)))
    query = query.order_by(individuals.c.number).limit(limit).offset(offset or None)
    return [individual_record(row) for row in rows(connection, query)]


def history(connection: Connection, search_id: str) -> list[IndividualRecord]:
    """Individuals with a verdict, in the order in which it was told."""
    query = select(individuals).where(individuals.c.search_id == search_id, individuals.c.told.is_not(None))
    return [individual_record(row) for row in rows(connection, query.order_by(individuals.c.told))]


def evaluation_list(connection: Connection, search_id: str, individual: int | None) -> list[EvaluationRecord]:
    """Evaluations by individual and attempt."""
    query = select(evaluations).where(evaluations.c.search_id == search_id)
    if individual is not None:
        query = query.where(evaluations.c.individual == individual)
    query = query.order_by(evaluations.c.individual, evaluations.c.attempt)
    return [evaluation_record(row) for row in rows(connection, query)]


def epoch_list(connection: Connection, search_id: str, individual: int | None) -> list[EpochRecord]:
    """Epochs by individual, attempt and epoch."""
    query = select(epochs).where(epochs.c.search_id == search_id)
    if individual is not None:
        query = query.where(epochs.c.individual == individual)
    query = query.order_by(epochs.c.individual, epochs.c.attempt, epochs.c.epoch)
    return [_epoch_record(row) for row in rows(connection, query)]


def event_list(
    connection: Connection, search_id: str, after: int, limit: int, kinds: Collection[EventKind] | None
) -> list[EventRecord]:
    """Events after a sequence number, oldest first."""
    query = select(events).where(events.c.search_id == search_id, events.c.sequence > after)
    if kinds is not None:
        query = query.where(events.c.kind.in_([str(kind) for kind in kinds]))
    return [_event_record(row) for row in rows(connection, query.order_by(events.c.sequence).limit(limit))]


def cursor(connection: Connection, observer: str, search_id: str) -> int:
    """The last event that an observer has handled, 0 before the first."""
    query = select(cursors.c.sequence).where(cursors.c.observer == observer, cursors.c.search_id == search_id)
    return connection.scalar(query) or 0


def rows(connection: Connection, query: Select[Any], **parameters: object) -> list[dict[str, Any]]:
    """What a query finds."""
    result = connection.execute(query, parameters)
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result]


def search_record(row: dict[str, Any]) -> SearchRecord:
    """A row of `SEARCH` or `LIGHT_SEARCH`; without the documents these are empty."""
    for name in _DOCUMENTS:
        row.setdefault(name, {})
    row["state"] = SearchState(row["state"])
    row["leased"] = bool(row["leased"])  # unknown, so false, where there is no lease
    row["request"] = None if row["request"] is None else Request(row["request"])
    return _filled(SearchRecord, row)


def individual_record(row: dict[str, Any]) -> IndividualRecord:
    """A row of `individuals` or `LIGHT_INDIVIDUAL`; without its story that is empty."""
    for name, nothing in _STORY.items():
        row.setdefault(name, nothing)
    for name in ("genome", "parents", "operators", "objectives"):
        row[name] = tuple(row[name])
    row["role"] = Role(row["role"])
    row["rungs"] = {float(rung): value for rung, value in row["rungs"].items()}  # JSON has no other keys than texts
    _restore_verdict(row)
    return _filled(IndividualRecord, row)


def evaluation_record(row: dict[str, Any]) -> EvaluationRecord:
    """A row of `evaluations`."""
    row["notes"] = tuple(row["notes"])
    _restore_verdict(row)
    return EvaluationRecord(**row)


def _filled(kind: type[_Record], row: dict[str, Any]) -> _Record:
    """A record of a row that has all of its fields.

    A page of them takes half as long as by the constructors of frozen dataclasses, which set one field after the
    other through `object.__setattr__`.
    """
    record = object.__new__(kind)
    vars(record).update(row)
    return record


def _restore_verdict(row: dict[str, Any]) -> None:
    row["state"] = TrialState(row["state"])
    row["failure"] = None if row["failure"] is None else FailureKind(row["failure"])
    row["metrics"] = _floats(row["metrics"])


def _epoch_record(row: dict[str, Any]) -> EpochRecord:
    del row["search_id"]
    row["metrics"] = _floats(row["metrics"])
    return EpochRecord(**row)


def _event_record(row: dict[str, Any]) -> EventRecord:
    row["kind"] = EventKind(row["kind"])
    return EventRecord(**row)


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def active_seconds(connection: Connection, search_id: str) -> float:
    """Time between each start of a driver and the last event before the next start."""
    mine = select(events.c.sequence, events.c.at).where(events.c.search_id == search_id)
    starts = connection.execute(
        mine.where(events.c.kind == EventKind.SEARCH_STARTED).order_by(events.c.sequence)
    ).all()
    last = connection.execute(mine.order_by(events.c.sequence.desc()).limit(1)).first()
    if not starts or last is None:
        return 0.0
    ends = connection.execute(
        mine.where(events.c.sequence.in_([each.sequence - 1 for each in starts[1:]])).order_by(events.c.sequence)
    ).all()
    return sum(float(end.at - start.at) for start, end in zip(starts, [*ends, last], strict=True))
