"""Keeps the lease of a search alive while its driver is busy elsewhere."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

from evolve.exceptions import LeaseLost, LedgerError
from evolve.ledger import Lease, Request, SearchState, Standing, Transaction

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 300.0
RETRY_SECONDS = 1.0


class LeaseKeeper:
    """Renews a lease from a thread of its own, and hears through it what other processes ask.

    An epoch in this process may take longer than the lease lasts, so renewal cannot wait for the loop.

    Args:
        lease: What to keep.
        interval: Seconds between renewals; also how soon a request is heard.
    """

    def __init__(self, lease: Lease, interval: float = 2.0) -> None:
        self._lease = lease
        self._interval = interval
        self._standing = Standing(None, None)
        self._lost: LeaseLost | None = None
        self._done = threading.Event()
        self._hurried = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease-keeper", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._standing = self._lease.renew()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is not None and not isinstance(error, LeaseLost):
            self._lease.release(SearchState.INTERRUPTED, f"the driver failed: {type(error).__name__}: {error}")

    @property
    def request(self) -> Request | None:
        """What another process asks of this search.

        Raises:
            LeaseLost: another driver has taken the search over.
        """
        if self._lost is not None:
            raise self._lost
        return self._standing.request

    @property
    def allotment(self) -> int | None:
        """How many workers a supervisor grants this search now; None where nobody rations them."""
        return self._standing.allotment

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction of the lease; waits for a database that is away.

        A result that took a GPU five hours must not be lost to a database that restarts.

        Raises:
            LeaseLost: another driver has taken the search over.
            LedgerError: the database was away for too long, or refused to commit.
        """
        with ExitStack() as stack:
            yield self._open(stack)

    def _open(self, stack: ExitStack) -> Transaction:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return stack.enter_context(self._lease.transaction())
            except LeaseLost:
                raise
            except LedgerError as error:
                if time.monotonic() > deadline or self._hurried.wait(RETRY_SECONDS):
                    raise
                log.warning("waiting for the ledger: %s", error)

    def hurry(self) -> None:
        """Wait no longer for a database that is away: the driver is asked to leave."""
        self._hurried.set()

    def release(
        self, state: SearchState, reason: str, conclude: Callable[[Transaction], None] | None = None
    ) -> None:
        """Let go of the search for good; see `Lease.release`."""
        self._done.set()
        self._lease.release(state, reason, conclude)

    def _keep(self) -> None:
        while not self._done.wait(self._interval):
            try:
                self._standing = self._lease.renew()
            except LeaseLost as error:
                self._lost = error
                return
            except LedgerError as error:  # the database may be back before the lease is over
                log.warning("the lease could not be renewed: %s", error)
