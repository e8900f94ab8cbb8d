"""A search that a service drives: entered without a preparation, and run on workers that a supervisor grants."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from functools import partial
from types import TracebackType

from evolve.compose.dispatching import make_dispatcher
from evolve.compose.driving import conduct
from evolve.compose.options import RunOptions
from evolve.compose.preparation import Prepared, prepare_again
from evolve.dispatch import Dispatcher
from evolve.environment import describe_environment
from evolve.exceptions import EvolveError, InputError, LeaseLost, PoolUnavailable
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger, Request, SearchRecord, SearchState
from evolve.runner import INTERRUPTION, Ending, Interrupted
from evolve.settings import Settings
from evolve.signals import Signals
from evolve.space import SearchSpace
from evolve.trial import Json

LOOK_SECONDS = 0.5
CANCELLED = Ending(SearchState.CANCELLED, "cancelled on request")


def drive_managed(ledger: Ledger, search_id: str, settings: Settings, pool: RunOptions) -> Ending | None:
    """Prepare a search if nobody has, and run it until it ends or is interrupted.

    What was found out is recorded, so that a driver that goes on with it starts from the same weights.

    Args:
        ledger: Where it is recorded.
        search_id: Its id.
        settings: Where things are kept.
        pool: Where its trials run; what says how many, and what trains, is the search's own.

    Returns:
        How it ended; None if it was over already.

    Raises:
        LeaseHeld: another driver is at work on it.
        LeaseLost: another driver has taken it over.
        PoolUnavailable: the workers cannot be reached.
    """
    search = ledger.search(search_id)
    if search.state.is_over or search.state is SearchState.FAILED:
        return None
    with LeaseKeeper(ledger.acquire(search.id)) as keeper, Signals() as signals:
        try:
            with _Canceller(keeper):
                prepared = _prepare(keeper, search, settings)
        except Interrupted:
            return _leave(keeper, CANCELLED if keeper.request is Request.CANCEL else INTERRUPTION)
        except InputError as error:
            return _leave(keeper, Ending(SearchState.FAILED, f"cannot be trained: {error}"))
        place = partial(_place, keeper, search, pool)
        return conduct(ledger, keeper, signals, ledger.search(search.id), prepared, settings, place, allotted=True)


def _prepare(keeper: LeaseKeeper, search: SearchRecord, settings: Settings) -> Prepared:
    prepared = prepare_again(search, settings)
    if search.options.get("prepared"):
        return prepared
    submitted = search.options.get("notes")
    notes = [*(submitted if isinstance(submitted, list) else ()), *prepared.notes]
    with keeper.transaction() as tx:
        found: dict[str, Json] = {**prepared.document(), "notes": notes, "prepared": True}
        tx.prepared(found, prepared.data_hash, describe_environment())
        for note in notes:
            tx.notice(str(note))
    return prepared


def _place(keeper: LeaseKeeper, search: SearchRecord, pool: RunOptions) -> tuple[Dispatcher, float]:
    """The dispatcher on the pool, with as many workers as are granted now."""
    options = replace(
        pool,
        objective=search.objective,
        hang_timeout=RunOptions.of(search).hang_timeout,
        workers=max(1, keeper.allotment or 1),
    )
    population = SearchSpace.from_document(search.document, f"search {search.id}").search.population
    try:
        return make_dispatcher(options, population)
    except EvolveError as error:
        raise PoolUnavailable(str(error)) from error


def _leave(keeper: LeaseKeeper, ending: Ending) -> Ending:
    keeper.release(ending.state, ending.reason)
    return ending


class _Canceller:
    """While entered, a request to cancel interrupts this process, as a signal from outside would."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        self._keeper = keeper
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="canceller", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            while not self._done.wait(LOOK_SECONDS):
                if self._keeper.request is Request.CANCEL:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
        except LeaseLost:  # the next transaction says so
            return
