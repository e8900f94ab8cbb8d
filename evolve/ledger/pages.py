"""Pages, sums and queues: the questions of those who look at many searches, or at large ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
)

from evolve.exceptions import InputError
from evolve.ledger import queries
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.models import cursors, evaluations, individuals, searches
from evolve.ledger.records import (
    EvaluationRecord,
    GenerationSummary,
    IndividualRecord,
    LedgerTotals,
    SearchRecord,
    SearchState,
)
from evolve.ledger.writing import UNFINISHED
from evolve.trial import Role, TrialState

MOST = 1000
"""Longest page."""

_LARGEST = 2**31 - 1
_TINY = 1e-150
_QUEUED = (SearchState.CREATED, SearchState.RUNNING, SearchState.PAUSED, SearchState.INTERRUPTED)

SEARCH_ORDERS = {
    "created": searches.c.ordinal,
    "name": searches.c.name,
    "state": searches.c.state,
    "best": searches.c.best_fitness,
    "evaluated": searches.c.evaluated,
    "gpu_seconds": searches.c.gpu_seconds,
    "priority": searches.c.priority,
}
"""What searches can be sorted by; with `-` before it, from high to low."""

INDIVIDUAL_ORDERS = {"number": individuals.c.number, "fitness": individuals.c.fitness}
"""The same for individuals."""


def search_page(
    connection: Connection,
    *,
    states: Collection[SearchState] | None,
    name: str | None,
    text: str | None,
    managed: bool | None,
    submitted_by: str | None,
    order: str,
    light: bool,
    limit: int,
    offset: int,
) -> tuple[list[SearchRecord], int]:
    """A page of searches, and how many there are on all pages."""
    conditions: list[ColumnElement[bool]] = []
    if states is not None:
        conditions.append(searches.c.state.in_([str(state) for state in states]))
    if name is not None:
        conditions.append(searches.c.name == name)
    if text:
        by_id = searches.c.id.startswith(text, autoescape=True)
        conditions.append(or_(searches.c.name.icontains(text, autoescape=True), by_id))
    if managed is not None:
        conditions.append(searches.c.managed.is_(managed))
    if submitted_by is not None:
        conditions.append(searches.c.submitted_by == submitted_by)
    ordering = _ordering(order, SEARCH_ORDERS, searches.c.ordinal)
    chosen = _cut(select(searches.c.ordinal).where(*conditions).order_by(*ordering), limit, offset).subquery()
    # the sort sees the short columns only, and the rows of the page are fetched with their documents
    query = queries.LIGHT_SEARCH if light else queries.SEARCH
    query = query.join(chosen, chosen.c.ordinal == searches.c.ordinal).order_by(*ordering)
    count = connection.scalar(select(func.count()).select_from(searches).where(*conditions)) or 0
    return [queries.search_record(row) for row in queries.rows(connection, query)], count


def individual_page(
    connection: Connection,
    search_id: str,
    *,
    sort: str,
    states: Collection[TrialState] | None,
    generation: int | None,
    failure: str | None,
    light: bool,
    limit: int,
    offset: int,
) -> tuple[list[IndividualRecord], int]:
    """A page of individuals, and how many there are on all pages; those without a fitness come last."""
    conditions: list[ColumnElement[bool]] = [individuals.c.search_id == search_id]
    if states is not None:
        conditions.append(individuals.c.state.in_([str(state) for state in states]))
    if generation is not None:
        known = abs(generation) <= _LARGEST
        conditions.append(individuals.c.generation == generation if known else false())
    if failure is not None:
        conditions.append(individuals.c.failure == failure)
    ordering = _ordering(sort, INDIVIDUAL_ORDERS, individuals.c.number)
    chosen = select(individuals.c.number).where(*conditions).order_by(*ordering)
    page = _cut(chosen, limit, offset).subquery()
    query = queries.LIGHT_INDIVIDUAL if light else select(individuals)
    query = query.where(individuals.c.search_id == search_id)
    query = query.join(page, page.c.number == individuals.c.number).order_by(*ordering)
    count = connection.scalar(select(func.count()).select_from(individuals).where(*conditions)) or 0
    return [queries.individual_record(row) for row in queries.rows(connection, query)], count


def _ordering(
    order: str, known: Mapping[str, ColumnElement[Any]], tie: ColumnElement[Any]
) -> tuple[ColumnElement[Any], ...]:
    """Order by a column of `known`, without a value last; ties go by `tie`, in the same direction as time."""
    column = known.get(order.removeprefix("-"))
    if column is None:
        names = ", ".join(f"{name}, -{name}" for name in known)
        raise InputError(f"order: must be one of {names}, but got {order[:40]!r}; leave it out for the usual one")
    down = order.startswith("-")
    if column is tie:
        return (column.desc() if down else column.asc(),)
    return (column.is_(None), column.desc() if down else column.asc(), tie.asc())


def _cut(query: Select[Any], limit: int, offset: int) -> Select[Any]:
    return query.limit(max(0, min(limit, MOST))).offset(max(0, min(offset, _LARGEST)))


def _generation_query() -> Select[Any]:
    column = individuals.c
    search_id: BindParameter[str] = bindparam("b_search", type_=column.search_id.type)
    amount = func.count(column.fitness)
    groups = (
        select(
            column.generation,
            func.count().label("members"),
            func.count(column.told).label("told"),
            amount.label("scored"),
            func.count(column.failure).label("failed"),
            func.max(column.fitness).label("best"),
            func.min(column.fitness).label("worst"),
            # avg() of PostgreSQL squares its input on the way, and fails where the squares overflow
            (func.sum(column.fitness) / func.nullif(amount, 0)).label("mean"),
        )
        .where(column.search_id == search_id, column.role != Role.FINAL)
        .group_by(column.generation)
        .subquery()
    )
    spread = func.nullif(groups.c.best - groups.c.worst, 0.0)
    distance = column.fitness - groups.c.mean
    share = distance / spread  # in [-1, 1], so that no square overflows; PostgreSQL refuses underflow too
    least = case((spread > _TINY, spread), else_=_TINY) * _TINY
    square = case((func.abs(distance) < least, 0.0), else_=share * share)
    same = and_(column.search_id == search_id, column.generation == groups.c.generation)
    return (
        select(groups, (spread * func.sqrt(func.sum(square) / func.nullif(amount, 0))).label("std"))
        .join(individuals, same)
        .group_by(*groups.c)
        .order_by(groups.c.generation)
    )


_GENERATIONS = _generation_query()  # built once, as that takes as long as the answer


def generation_summaries(connection: Connection, search_id: str) -> list[GenerationSummary]:
    """The generations of a search, as `evolve.overview.generations` makes them of its individuals."""
    return _summaries(queries.rows(connection, _GENERATIONS, b_search=search_id))


def _summaries(rows: Iterable[dict[str, Any]]) -> list[GenerationSummary]:
    summaries: list[GenerationSummary] = []
    best_so_far: float | None = None
    for row in rows:
        best = row["best"]
        best_so_far = max((value for value in (best, best_so_far) if value is not None), default=None)
        summaries.append(
            GenerationSummary(
                generation=row["generation"],
                evaluated=row["scored"],
                failed=row["failed"],
                open=row["members"] - row["told"],
                best=best,
                mean=row["mean"],
                std=None if best is None else row["std"] or 0.0,
                best_so_far=best_so_far,
                stopped=row["told"] - row["scored"] - row["failed"],
            )
        )
    return summaries


def running(connection: Connection, search_id: str) -> list[EvaluationRecord]:
    """Evaluations without an end, by individual and attempt."""
    query = select(evaluations).where(evaluations.c.state.in_(UNFINISHED), evaluations.c.search_id == search_id)
    query = query.order_by(evaluations.c.individual, evaluations.c.attempt)
    return [queries.evaluation_record(row) for row in queries.rows(connection, query)]


def failure_counts(connection: Connection, search_id: str) -> dict[str, int]:
    """Individuals that failed for good, by kind."""
    kind = individuals.c.failure
    query = select(kind, func.count()).where(individuals.c.search_id == search_id, kind.is_not(None))
    return {str(name): amount for name, amount in connection.execute(query.group_by(kind).order_by(kind)).all()}


def state_counts(connection: Connection) -> dict[str, int]:
    """Searches in each state, also in those that none is in."""
    found = connection.execute(select(searches.c.state, func.count()).group_by(searches.c.state)).all()
    return {**{str(state): 0 for state in SearchState}, **{str(state): amount for state, amount in found}}


def totals(connection: Connection) -> LedgerTotals:
    """Sums over all searches."""
    names = ("evaluated", "trained", "failed", "gpu_seconds", "trial_seconds")
    driven = searches.c.lease_expires > DatabaseTime()
    sums = [func.coalesce(func.sum(searches.c[name]), 0).label(name) for name in names]
    row = connection.execute(select(*sums, func.count(case((driven, 1))).label("driven"))).mappings().one()
    trials = connection.execute(
        select(evaluations.c.state, func.count().label("amount"))
        .join(searches, searches.c.id == evaluations.c.search_id)
        .where(evaluations.c.state.in_(UNFINISHED), driven)
        .group_by(evaluations.c.state)
    ).all()
    under_way = {str(row.state): row.amount for row in trials}
    return LedgerTotals(
        searches={SearchState(state): amount for state, amount in state_counts(connection).items()},
        driven=row["driven"],
        evaluated=int(row["evaluated"]),
        trained=int(row["trained"]),
        failed=int(row["failed"]),
        gpu_seconds=float(row["gpu_seconds"]),
        trial_seconds=float(row["trial_seconds"]),
        trials_pending=under_way.get(TrialState.PENDING, 0),
        trials_running=under_way.get(TrialState.RUNNING, 0),
    )


def queue(connection: Connection) -> list[SearchRecord]:
    """Searches that a service drives or is to drive, those first that go first, without their documents."""
    query = queries.LIGHT_SEARCH.where(searches.c.managed, searches.c.state.in_([str(each) for each in _QUEUED]))
    query = query.order_by(searches.c.priority.desc(), searches.c.ordinal)
    return [queries.search_record(row) for row in queries.rows(connection, query)]


def searches_behind(
    connection: Connection, observer: str, limit: int, search_id: str | None
) -> list[tuple[str, int, int]]:
    """Searches with events that an observer has not handled, oldest search first."""
    handled = func.coalesce(cursors.c.sequence, 0)
    mine = and_(cursors.c.search_id == searches.c.id, cursors.c.observer == observer)
    query = (
        select(searches.c.id, handled, searches.c.last_event)
        .outerjoin(cursors, mine)
        .where(searches.c.last_event > handled)
        .order_by(searches.c.ordinal)
    )
    if search_id is not None:
        query = query.where(searches.c.id == search_id)
    found = connection.execute(query.limit(max(0, min(limit, _LARGEST)))).all()
    return [(each, cursor, head) for each, cursor, head in found]


def heads(connection: Connection, search_ids: Collection[str]) -> dict[str, int]:
    """The last event of each search that there is."""
    query = select(searches.c.id, searches.c.last_event).where(searches.c.id.in_(list(search_ids)))
    return {row.id: row.last_event for row in connection.execute(query)}
