"""The right to write to a search: one process at a time, on the database's clock.

The search row holds a fencing token that every new driver counts up. A driver renews its lease, and proves
that its token is still the newest, in the transaction that carries its writes; so one that was thought dead
and comes back cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Double, RowMapping, bindparam, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from evolve.exceptions import LeaseHeld, LeaseLost, SearchNotFound
from evolve.ledger.database import Database
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.models import event_row, events, searches
from evolve.ledger.owner import is_dead, this_process
from evolve.ledger.records import EventKind, Request, SearchState, Standing
from evolve.ledger.transaction import Transaction
from evolve.ledger.writing import RUNNING_TOTALS

_HOLD = update(searches).where(
    searches.c.id == bindparam("b_search"), searches.c.lease_token == bindparam("b_token")
)
_EXTEND = _HOLD.values(lease_expires=DatabaseTime() + bindparam("b_ttl", type_=Double))
_RENEW = _EXTEND.returning(searches.c.request, searches.c.allotment)
_BEGIN = _EXTEND.returning(*(searches.c[name] for name in RUNNING_TOTALS), DatabaseTime().label("at"))
_LET_GO = _HOLD.values(
    owner=None,
    allotment=None,
    lease_since=None,
    lease_expires=None,
    lease_token=searches.c.lease_token + 1,
    last_event=searches.c.last_event + 1,
)
_EVENT = (searches.c.last_event, DatabaseTime().label("at"))
_HOLDER = select(
    searches.c.owner,
    searches.c.lease_token,
    searches.c.lease_since,
    (searches.c.lease_expires > DatabaseTime()).label("valid"),
)


class Lease:
    """Held by one driver; made by `Ledger.acquire`.

    Attributes:
        search_id: The search.
        token: The fencing token, higher than that of every driver before.
    """

    def __init__(self, database: Database, search_id: str, token: int, ttl: float) -> None:
        self._database = database
        self._ttl = ttl
        self.search_id = search_id
        self.token = token

    def renew(self) -> Standing:
        """Stay the driver for another `ttl` seconds.

        Returns:
            What other processes ask of the driver, and the workers that it is granted.

        Raises:
            LeaseLost: Another driver has taken over.
        """
        with self._database.writing() as connection:
            row = self._hold(connection, _RENEW, b_ttl=self._ttl)
            request = None if row["request"] is None else Request(row["request"])
            return Standing(request, row["allotment"])

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write as the driver; all of it is committed at the end, or nothing on any exception.

        Raises:
            LeaseLost: Another driver has taken over; nothing is written.
        """
        with self._database.writing() as connection, self._writes(connection) as transaction:
            yield transaction

    @contextmanager
    def _writes(self, connection: Connection) -> Iterator[Transaction]:
        totals = dict(self._hold(connection, _BEGIN, b_ttl=self._ttl))
        transaction = Transaction(connection, self.search_id, totals, totals.pop("at"))
        yield transaction
        transaction.flush()

    def release(
        self, state: SearchState, reason: str = "", conclude: Callable[[Transaction], None] | None = None
    ) -> None:
        """Leave the search in `state` and let the next driver in; does nothing when the lease is lost.

        What `conclude` writes is committed with that, or not at all.

        The time of finishing is set unless the search is merely interrupted; what was asked of the driver is
        forgotten once the search is over.
        """
        try:
            with self._database.writing() as connection:
                if conclude is not None:
                    with self._writes(connection) as transaction:
                        conclude(transaction)
                self._let_go(connection, state, reason)
        except LeaseLost:
            return

    def _let_go(self, connection: Connection, state: SearchState, reason: str) -> None:
        values: dict[str, Any] = {"state": state, "reason": reason}
        if state.is_over:
            values["request"] = None
        if state is not SearchState.INTERRUPTED:
            values["finished_at"] = DatabaseTime()
        row = self._hold(connection, _LET_GO.values(**values).returning(*_EVENT))
        data = {"state": state, "reason": reason}
        event = event_row(self.search_id, row["last_event"], EventKind.SEARCH_FINISHED, row["at"], data=data)
        connection.execute(insert(events), event)

    def _hold(self, connection: Connection, change: ReturningUpdate[Any], **parameters: float) -> RowMapping:
        """Make a change that only the holder of the newest token may make."""
        key = {"b_search": self.search_id, "b_token": self.token}
        row = connection.execute(change, {**key, **parameters}).mappings().one_or_none()
        if row is None:
            raise LeaseLost(f"search {self.search_id}: another driver has taken it over; this one stops writing")
        return row


def acquire(database: Database, search_id: str, ttl: float) -> Lease:
    """Become the driver of a search.

    Raises:
        SearchNotFound: There is no search of this id.
        LeaseHeld: Its driver is alive, as far as can be known.
    """
    with database.writing() as connection:
        token = lock_idle(connection, search_id) + 1
        connection.execute(
            update(searches)
            .where(searches.c.id == search_id)
            .values(
                owner=this_process(),
                lease_token=token,
                lease_since=DatabaseTime(),
                lease_expires=DatabaseTime() + ttl,
            )
        )
    return Lease(database, search_id, token, ttl)


def end_idle(database: Database, search_id: str, state: SearchState, reason: str) -> None:
    """End a search that nobody drives, in one transaction: whoever asks for it never becomes its driver.

    Trials that its last driver left unfinished end with it.

    Raises:
        SearchNotFound: There is no search of this id.
        LeaseHeld: Its driver is alive, as far as can be known.
    """
    with database.writing() as connection:
        lease = Lease(database, search_id, lock_idle(connection, search_id), ttl=0.0)
        with lease._writes(connection) as transaction:
            transaction.end_open_trials(resumable=not state.is_over)
        lease._let_go(connection, state, reason)


def lock_idle(connection: Connection, search_id: str) -> int:
    """Lock the row of a search that nobody drives, and return its newest fencing token.

    Raises:
        SearchNotFound: There is no search of this id.
        LeaseHeld: Its driver is alive, as far as can be known.
    """
    holder = connection.execute(_HOLDER.where(searches.c.id == search_id).with_for_update()).one_or_none()
    if holder is None:
        raise SearchNotFound(f"search {search_id}: no search has this id; `evolve list` shows all of them")
    if holder.owner is not None and holder.valid and not is_dead(holder.owner):
        since = datetime.fromtimestamp(holder.lease_since, UTC).isoformat(" ", "seconds")
        raise LeaseHeld(
            f"search {search_id}: {holder.owner} drives it since {since}; "
            f"wait for it, or end it with `evolve cancel {search_id}`"
        )
    return int(holder.lease_token)
