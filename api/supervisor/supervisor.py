"""Keeps the searches of the queue driven: shares the workers out, starts drivers, and replaces those that die."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from api.options import ServiceOptions
from api.supervisor.choice import make_pool
from api.supervisor.drivers import Driver, Launcher, kill
from api.supervisor.planning import Candidate, in_line, plan
from api.supervisor.pool import Pool
from api.supervisor.status import DriverStatus, PoolStatus
from api.supervisor.troubles import Patience, Troubles, ended_in_order, last_words
from evolve.exceptions import EvolveError, LeaseHeld, NotFound
from evolve.ledger import Ledger, Request, SearchRecord, SearchState
from evolve.ledger.owner import is_dead, local_pid
from evolve.searches import cancel_idle
from evolve.settings import Settings
from evolve.trial import Json

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
FROZEN_SECONDS = 120.0
"""How long a driver may live without the lease that it had, before it is killed and another goes on."""
REST_SECONDS = 0.2
REST_SHARE = 10
"""After a look at a long queue, the supervisor rests for ten times as long as that took."""


class Supervisor:
    """Drives the managed searches of a ledger; a thread that looks at the queue every second.

    All that it knows is in the ledger, or can be seen from the processes that live, so a new supervisor takes
    over from one that is gone.

    Args:
        ledger: The queue.
        settings: Where drivers keep things.
        options: Which pool there is.
        pool: Instead of the one in `options`; closed by `stop`.
        patience: What is borne of drivers that die.

    Raises:
        InputError: if there is no such pool on this machine.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        options: ServiceOptions,
        *,
        pool: Pool | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._ledger = ledger
        self._pool = pool or make_pool(settings, options)
        self._launcher = Launcher(settings)
        self._troubles = Troubles(patience or Patience())
        self._drivers: dict[str, Driver] = {}
        self._populations: dict[str, int] = {}
        self._lapsed: dict[str, float] = {}
        self._status = PoolStatus(slots=self._pool.slots, used=0, gpus=self._pool.gpus)
        self._starts_at_once = max(2, os.cpu_count() or 1)
        self._poked = threading.Event()
        self._closing = threading.Event()
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> PoolStatus:
        """End. The drivers live on; a pool that none of them uses ends too.

        Args:
            seconds: How long to wait for a look at the queue that is under way.

        Returns:
            What is left behind.
        """
        self._closing.set()
        self._poked.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        left = {search_id for search_id, driver in self._drivers.items() if driver.is_alive}
        self._launcher.let_go()
        self._pool.close(for_good=not left)
        drivers = tuple(each for each in self._status.drivers if each.search_id in left)
        return replace(self._status, drivers=drivers)

    def poke(self) -> None:
        """Look at the queue now."""
        self._poked.set()

    def snapshot(self) -> PoolStatus:
        """The pool and the drivers, as they were at the last look."""
        return self._status

    def _run(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self.look()
                self._complaint = ""
            except Exception as error:  # whatever it is, the searches that run must not be left alone for it
                self._complain(error)
            # many submissions at once are looked at together, and a long queue not all the time
            self._closing.wait(max(REST_SECONDS, REST_SHARE * (time.monotonic() - began)))
            self._poked.wait(LOOK_SECONDS)
            self._poked.clear()

    def _complain(self, error: Exception) -> None:
        complaint = f"{type(error).__name__}: {error}"
        if complaint != self._complaint:
            unexpected = error if not isinstance(error, EvolveError) else None
            log.warning("the queue cannot be looked after: %s", complaint, exc_info=unexpected)
        self._complaint = complaint

    def look(self) -> None:
        """Look at the queue once, and do what there is to do."""
        self._launcher.reap()
        queue = [search for each in self._ledger.queue() if (search := self._visit(each)) is not None]
        self._forget({search.id for search in queue})
        slots = self._pool.slots
        granted = self._plan(queue, slots)
        for search in queue:
            self._allot(search, granted.get(search.id, 0))
        self._start_drivers([search for search in queue if search.id in granted])
        self._status = self._describe(queue, granted, slots)

    # one search

    def _visit(self, search: SearchRecord) -> SearchRecord | None:
        """See whether the driver of a search lives; None for a search that is over."""
        known = self._drivers.get(search.id)
        if search.leased and search.owner is not None and not is_dead(search.owner):
            if known is None or known.pid is None or known.pid != local_pid(search.owner):
                self._adopt(search)
            self._lapsed.pop(search.id, None)
            return search
        if known is None and search.allotment:
            known = self._adopt(search)
        if known is not None and not known.is_alive:
            return self._bury(known)
        if known is not None and self._is_frozen(known, search):
            kill(known)
        if known is None and search.request is Request.CANCEL:
            return self._end(search, SearchState.CANCELLED, "cancelled on request")
        return search

    def _is_frozen(self, driver: Driver, search: SearchRecord) -> bool:
        """Whether a driver lives but has long since lost its lease, which a thread of its own would keep."""
        if search.owner is None or local_pid(search.owner) != driver.pid:
            self._lapsed.pop(search.id, None)
            return False
        return time.monotonic() - self._lapsed.setdefault(search.id, time.monotonic()) > FROZEN_SECONDS

    def _adopt(self, search: SearchRecord) -> Driver | None:
        found = self._launcher.find(search)
        known = self._drivers.get(search.id)
        if found is not None and (known is None or known.owner != found.owner):
            self._drivers[search.id] = found
        return found

    def _bury(self, driver: Driver) -> SearchRecord | None:
        """A driver is gone: see how it left its search, and whether another may go on."""
        del self._drivers[driver.search_id]
        try:
            search = self._ledger.search(driver.search_id)
        except NotFound:
            return None
        if search.state.is_over or search.state is SearchState.FAILED:
            return None
        code = self._launcher.exit_code(driver)
        if not ended_in_order(search, code):
            log.warning("search %s: its driver ended: %s", search.id, last_words(search, driver, code))
        reason = self._troubles.enter(search, driver, code)
        return search if reason is None else self._end(search, SearchState.FAILED, reason)

    def _end(self, search: SearchRecord, state: SearchState, reason: str) -> SearchRecord | None:
        """End a search that has no driver; returns it if it has one after all."""
        try:
            if state is SearchState.CANCELLED:
                cancel_idle(self._ledger, search)
            else:
                self._ledger.end_idle(search.id, state, reason)
        except LeaseHeld:
            return search
        except NotFound:
            pass
        return None

    # shares

    def _plan(self, queue: Sequence[SearchRecord], slots: int) -> dict[str, int]:
        wanting = in_line(
            Candidate(search.id, search.priority, workers=search.allotment or 0)
            for search in queue
            if search.request is not Request.PAUSE
        )[:slots]
        return plan([replace(each, most=self._most(each.search_id)) for each in wanting], slots)

    def _most(self, search_id: str) -> int:
        """Workers that a search can make use of."""
        if search_id not in self._populations:
            try:
                self._populations[search_id] = _population(self._ledger.search(search_id).document)
            except NotFound:  # deleted just now
                return 1
        return max(1, min(self._populations[search_id], self._pool.slots_of_a_search))

    def _allot(self, search: SearchRecord, workers: int) -> None:
        wanted = workers if workers or search.id in self._drivers else None
        if search.allotment != wanted:
            with suppress(NotFound):  # deleted just now; the others get theirs all the same
                self._ledger.allot(search.id, wanted)

    # drivers

    def _start_drivers(self, searches: Sequence[SearchRecord]) -> None:
        missing = [each for each in searches if each.id not in self._drivers and self._troubles.may_start(each.id)]
        if not missing or not self._pool.is_ready:
            return
        starting = [each for each in searches if each.id in self._drivers and not each.leased]
        for search in missing[: max(0, self._starts_at_once - len(starting))]:
            self._start_driver(search)

    def _start_driver(self, search: SearchRecord) -> None:
        pool = self._pool
        try:
            with pool.held() as files:
                driver = self._launcher.launch(search, pool.arguments, pool.environment, files)
        except OSError as error:
            log.warning("search %s: its driver could not be started: %s", search.id, error)
            self._troubles.postpone(search.id)
        else:
            self._drivers[search.id] = driver

    def _forget(self, queued: set[str]) -> None:
        self._drivers = {key: value for key, value in self._drivers.items() if key in queued}
        self._populations = {key: value for key, value in self._populations.items() if key in queued}
        self._lapsed = {key: value for key, value in self._lapsed.items() if key in queued}
        self._troubles.forget(queued)

    def _describe(self, queue: Sequence[SearchRecord], granted: Mapping[str, int], slots: int) -> PoolStatus:
        drivers = tuple(
            DriverStatus(driver.search_id, driver.pid, granted.get(driver.search_id, 0), driver.since)
            for driver in self._drivers.values()
        )
        used = sum(driver.workers for driver in drivers)
        return PoolStatus(slots, used, self._pool.gpus, drivers, queued=len(queue) - len(drivers))


def _population(document: Mapping[str, Json]) -> int:
    search = document.get("search")
    population = search.get("population") if isinstance(search, dict) else None
    return population if isinstance(population, int) else 1
