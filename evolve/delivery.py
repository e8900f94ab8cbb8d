"""Brings MLflow up to date with searches that nobody drives any more."""

from __future__ import annotations

from evolve.exceptions import EvolveError
from evolve.ledger import Ledger
from evolve.observers import Follower
from evolve.searches import is_driven
from evolve.settings import Settings
from evolve.tracking import MlflowObserver, check_store

PAGE = 100
SECONDS = 600.0


def deliver_missed(ledger: Ledger, settings: Settings, seconds: float = SECONDS) -> int:
    """Deliver what MLflow missed, and end the runs of drivers that died.

    Args:
        ledger: Where the searches are recorded.
        settings: Where the MLflow store is.
        seconds: How long to try for each search.

    Returns:
        How many searches MLflow is now up to date with; those with a living driver see to themselves.

    Raises:
        EvolveError: if MLflow cannot be reached.
    """
    check_store(settings.tracking_uri)
    delivered = offset = 0
    while page := ledger.searches(limit=PAGE, offset=offset):
        offset += len(page)
        for search in page:
            if not is_driven(search):
                _deliver(ledger, search.id, settings, seconds)
                delivered += 1
    return delivered


def _deliver(ledger: Ledger, search_id: str, settings: Settings, seconds: float) -> None:
    observer = MlflowObserver(settings.tracking_uri, ledger)
    follower = Follower(ledger, search_id, observer, locks=settings.home / "locks").start()
    complete = follower.drain(seconds)
    if complete:
        search = ledger.search(search_id)
        if not search.state.is_over:
            observer.reconcile(search)
    follower.close()
    if not complete:
        raise EvolveError(f"MLflow at {settings.tracking_uri} did not take everything; try `evolve sync` again")
