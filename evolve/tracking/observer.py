"""The observer that shows searches in MLflow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evolve.ledger.records import EventRecord, SearchRecord
from evolve.tracking.mirror import SearchMirror
from evolve.tracking.runs import SearchRuns
from evolve.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from evolve.ledger import Ledger

_PAGE = 1000


class MlflowObserver:
    """Shows searches in MLflow.

    The experiment has the search's name. The search is a run, each generation a run nested in it and so are the
    finals, each individual a run nested in one of those, so that MLflow's compare view works across all of them.

    Args:
        uri: MLflow's tracking URI; the store may be away or not exist yet.
        ledger: Where everything that is shown comes from.
    """

    name = "mlflow"

    def __init__(self, uri: str, ledger: Ledger) -> None:
        self._uri = uri
        self._ledger = ledger
        self._client: MlflowClient | None = None
        self._mirrors: dict[str, SearchMirror] = {}

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Bring MLflow up to date; see `evolve.observers.Observer`.

        Raises:
            MlflowException: The store cannot be reached.
        """
        try:
            self._mirror(search, before=events[0].sequence).apply(search, events)
        except Exception:
            # What is remembered of the store may be what was wrong, so the next attempt looks again.
            self._mirrors.pop(search.id, None)
            raise

    def reconcile(self, search: SearchRecord) -> None:
        """End every run of a search that no driver works on; only for a caller who knows that none does.

        A driver that was killed leaves runs that look as if they went on. Should the search be resumed later,
        its runs are opened again. Let a follower deliver what is left first: old news of a search that counts
        as running would open them, too.

        Raises:
            MlflowException: The store cannot be reached.
        """
        self._mirrors.pop(search.id, None)
        self._mirror(search).end(search, search.finished_at or search.lease_expires or time.time())
        self._mirrors.pop(search.id)

    def close(self) -> None:
        """Forget the connection."""
        self._mirrors.clear()
        self._client = None

    def _mirror(self, search: SearchRecord, before: int | None = None) -> SearchMirror:
        """The search's mirror; what MLflow lacks of the events `before` a sequence number is delivered first.

        It lacks all of them when somebody deleted the experiment, or when another store was used until now.
        """
        if search.id not in self._mirrors:
            if self._client is None:
                self._client = open_store(self._uri)
            runs = SearchRuns(self._client, search)
            mirror = SearchMirror(self._ledger, runs, search)
            if not runs.complete:
                self._catch_up(mirror, search, before)
                runs.mark_complete()
            self._mirrors[search.id] = mirror
        return self._mirrors[search.id]

    def _catch_up(self, mirror: SearchMirror, search: SearchRecord, before: int | None) -> None:
        after = 0
        while page := self._ledger.events(search.id, after=after, limit=_PAGE):
            after = page[-1].sequence
            missing = [event for event in page if before is None or event.sequence < before]
            if not missing:
                return
            mirror.apply(search, missing)
