"""During a search: the runner and everyone who looks on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from evolve.compose.dispatching import make_dispatcher
from evolve.compose.options import RunOptions
from evolve.compose.preparation import Prepared
from evolve.dispatch import Dispatcher
from evolve.environment import DiskWatch
from evolve.exceptions import InputError
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger, SearchRecord, SearchState
from evolve.observers import Follower, Observer
from evolve.runner import INTERRUPTION, Ending, Interrupted, Runner
from evolve.search.base import SearchAlgorithm
from evolve.search.making import make_search, thinking_ahead
from evolve.settings import Settings
from evolve.signals import Signals
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate, measured

log = logging.getLogger(__name__)

GRACE_SECONDS = 30.0
"""How long a finished search waits for those who look on and can be reached; MLflow gets what is left later."""
HURRY_SECONDS = 3.0
"""The same for a search that is interrupted, and for those who cannot be reached."""


def drive(
    ledger: Ledger,
    search: SearchRecord,
    prepared: Prepared,
    settings: Settings,
    observers: Sequence[Observer],
) -> Ending:
    """Run a search until it ends or is interrupted.

    Args:
        ledger: Where it is recorded.
        search: A new search, or one to go on with.
        prepared: What it trains on.
        settings: Where things are kept.
        observers: Shown what happens, beside MLflow.

    Raises:
        LeaseHeld: another driver is at work on it.
        LeaseLost: another driver has taken it over.
    """
    space = SearchSpace.from_document(search.document, f"search {search.id}")
    place = partial(make_dispatcher, RunOptions.of(search), space.search.population)
    with LeaseKeeper(ledger.acquire(search.id)) as keeper, Signals() as signals:
        try:
            return conduct(ledger, keeper, signals, search, prepared, settings, place, observers)
        except InputError as error:
            if search.started_at is None:  # a search that cannot begin is not one to resume
                keeper.release(SearchState.CANCELLED, f"never started: {error}")
            raise


def conduct(
    ledger: Ledger,
    keeper: LeaseKeeper,
    signals: Signals,
    search: SearchRecord,
    prepared: Prepared,
    settings: Settings,
    place: Callable[[], tuple[Dispatcher, float]],
    observers: Sequence[Observer] = (),
    *,
    allotted: bool = False,
) -> Ending:
    """Run a search whose lease is held until it ends or is interrupted.

    Args:
        ledger: Where it is recorded.
        keeper: Its lease, entered.
        signals: What interrupts it, entered.
        search: The search.
        prepared: What it trains on.
        settings: Where things are kept.
        place: Makes the dispatcher, and says which share of a GPU a trial gets.
        observers: Shown what happens, beside MLflow.
        allotted: Whether a supervisor decides how many trials run at once.
    """
    for note in prepared.notes:
        log.warning("note: %s", note)
    followers: list[Follower] = []
    ending = INTERRUPTION
    try:
        followers += [Follower(ledger, search.id, each, durable=False).start() for each in observers]
        space = SearchSpace.from_document(search.document, f"search {search.id}")
        beside = not RunOptions.of(search).inline
        with thinking_ahead(make_search(space), beside=beside) as algorithm:
            runner = _runner(ledger, keeper, search, space, algorithm, prepared, settings, place, allotted=allotted)
            followers.append(_track(ledger, search.id, settings))
            signals.call(runner.interrupt)
            ending = runner.run()
    except Interrupted:
        keeper.release(ending.state, ending.reason)
    finally:
        _dismiss(followers, HURRY_SECONDS if ending.state is SearchState.INTERRUPTED else GRACE_SECONDS)
    return ending


def _track(ledger: Ledger, search_id: str, settings: Settings) -> Follower:
    """Tell MLflow, from where it was; only once the search is known to be able to begin."""
    from evolve.tracking import MlflowObserver

    mlflow = MlflowObserver(settings.tracking_uri, ledger)
    return Follower(ledger, search_id, mlflow, locks=settings.home / "locks").start()


def _dismiss(followers: Sequence[Follower], seconds: float) -> None:
    deadline = time.monotonic() + seconds

    def left() -> float:
        return max(0.1, deadline - time.monotonic())

    for follower in followers:
        if not follower.drain(min(left(), HURRY_SECONDS)) and not follower.is_failing:
            follower.drain(left())
        follower.close(left())


def _runner(
    ledger: Ledger,
    keeper: LeaseKeeper,
    search: SearchRecord,
    space: SearchSpace,
    algorithm: SearchAlgorithm,
    prepared: Prepared,
    settings: Settings,
    place: Callable[[], tuple[Dispatcher, float]],
    *,
    allotted: bool,
) -> Runner:
    dispatcher, gpus = place()
    template = SpecTemplate(
        search_id=search.id,
        directory=Path(search.directory),
        settings=space.train,
        model=space.model,
        weights=prepared.weights,
        data=prepared.data,
        seed=space.search.seed,
        weights_of=prepared.weights_of,
        measure=measured(space),
    )
    return Runner(
        space=space,
        algorithm=algorithm,
        dispatcher=dispatcher,
        ledger=ledger,
        keeper=keeper,
        template=template,
        gpus_per_trial=gpus,
        shortage=DiskWatch(settings.home, settings.min_free_gb),
        allotted=allotted,
    )
