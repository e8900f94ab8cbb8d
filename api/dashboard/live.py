"""Searches that somebody is looking at, read once for all who look.

A search is read whole when the first one looks at it. After that only its events are followed, and of the
individuals those that an event names are read again; so a page costs the same however long the search has become.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from api.dashboard.facts import fitness_of_search, remaining_of, total_of, value_of
from evolve.ledger.records import EventKind, EventRecord, IndividualRecord, SearchRecord, SearchState
from evolve.progress_state import ProgressState

if TYPE_CHECKING:
    from evolve.ledger import Ledger

FRESH_SECONDS = 0.8
"""Whoever asks again within this time gets the same answer."""

_MOST_INDIVIDUALS = 200_000
"""Held of all searches together; more only while somebody looks at them."""
_IN_USE_SECONDS = 10.0
_UNUSED_SECONDS = 120.0
_FIRST_EVENTS = 1000
_BATCH = 5000
_MOST_NEWS = 40
_MANY_CHANGES = 400
_FORMER_FAILURES = 8


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker holds, or waits for one.

    Attributes:
        curve: The fitness after each epoch so far.
    """

    individual: int
    attempt: int
    worker: str
    started_at: float | None
    epochs: int
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class News:
    """Something that a person should know: a notice, or a failure."""

    at: float
    individual: int | None
    text: str
    kind: str = ""
    retry: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A search as it stood at one moment.

    Attributes:
        version: Higher than before when anything is different.
        record: The search.
        individuals: By number.
        running: Trials under way.
        eta: Seconds to go, if that can be told.
        news: Notices and failures, the newest first.
    """

    version: int
    record: SearchRecord
    individuals: tuple[IndividualRecord, ...]
    running: tuple[RunningTrial, ...]
    eta: float | None
    news: tuple[News, ...]


class LiveSearch:
    """One search, kept up to date by whoever asks for it. Safe to use from several threads.

    Args:
        ledger: Where it is recorded.
        search_id: Its id.
    """

    def __init__(self, ledger: Ledger, search_id: str) -> None:
        self._ledger = ledger
        self._id = search_id
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._snapshot: Snapshot | None = None
        self._sequence = 0
        self._individuals: dict[int, IndividualRecord] = {}
        self._curves: dict[tuple[int, int], list[tuple[int, float]]] = {}
        self._news: deque[News] = deque(maxlen=_MOST_NEWS)
        self._progress: ProgressState | None = None

    @property
    def size(self) -> int:
        """Individuals that are held."""
        return len(self._individuals)

    def snapshot(self, *, fresh: bool = False) -> Snapshot:
        """The search as it stands, or unless `fresh` stood a moment ago. Waits for the database.

        Raises:
            SearchNotFound: It is gone.
        """
        with self._lock:
            if fresh or self._snapshot is None or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._snapshot = self._refreshed()
                self._read_at = time.monotonic()
            return self._snapshot

    def _refreshed(self) -> Snapshot:
        before = self._snapshot
        record = self._ledger.search(self._id)
        events = self._new_events()
        if before is None:
            self._individuals = {each.number: each for each in self._ledger.individuals(self._id)}
            self._recall_failures(events)
        elif events:
            self._reread(events)
        elif record == before.record:
            return before
        self._follow(record, events)
        return Snapshot(
            version=1 if before is None else before.version + 1,
            record=record,
            individuals=tuple(self._individuals[number] for number in sorted(self._individuals)),
            running=self._running(record),
            eta=self._eta(record),
            news=tuple(reversed(self._news)),
        )

    def _new_events(self) -> list[EventRecord]:
        if self._snapshot is None:
            # the recent past tells the pace and the latest failures; all of it may be a million lines
            self._sequence = max(0, self._ledger.heads([self._id]).get(self._id, 0) - _FIRST_EVENTS)
        found: list[EventRecord] = []
        while batch := self._ledger.events(self._id, self._sequence, _BATCH):
            found += batch
            self._sequence = batch[-1].sequence
            if len(batch) < _BATCH:
                break
        return found

    def _reread(self, events: Iterable[EventRecord]) -> None:
        changed = {
            event.individual
            for event in events
            if event.individual is not None and event.kind is not EventKind.EPOCH_REPORTED
        }
        if len(changed) > _MANY_CHANGES:
            self._individuals = {each.number: each for each in self._ledger.individuals(self._id)}
        elif changed:
            for each in self._ledger.individuals(self._id, numbers=changed):
                self._individuals[each.number] = each

    def _follow(self, record: SearchRecord, events: Sequence[EventRecord]) -> None:
        if self._progress is None:
            self._progress = ProgressState(total_of(record))
        fitness = fitness_of_search(record)
        for event in self._progress.begin(record, events):
            self._progress.fold(event)
            attempt = cast("int", event.data.get("attempt", 0))
            if event.kind is EventKind.EPOCH_REPORTED and event.individual is not None:
                if self._snapshot is None:
                    continue  # these events may begin amid a trial; what runs now is read from its first epoch on
                value = value_of(fitness, cast("dict[str, float]", event.data.get("metrics") or {}))
                curve = self._curves.setdefault((event.individual, attempt), [])
                if value is not None:
                    curve.append((cast("int", event.data.get("epoch", len(curve) + 1)), value))
            elif event.kind is EventKind.TRIAL_FAILED:
                self._news.append(_failure(event))
            elif event.kind is EventKind.NOTICE:
                self._news.append(News(event.at, event.individual, str(event.data.get("message", ""))))

    def _recall_failures(self, events: Sequence[EventRecord]) -> None:
        """The latest failures of individuals that were given up before the events that are followed."""
        told = {event.individual for event in events if event.kind is EventKind.TRIAL_FAILED}
        given_up = [each for each in self._individuals.values() if each.failure is not None]
        for each in [each for each in given_up if each.number not in told][-_FORMER_FAILURES:]:
            for attempt in self._ledger.evaluations(self._id, each.number):
                if attempt.failure is not None:
                    at = attempt.finished_at or attempt.created_at
                    self._news.append(News(at, each.number, attempt.failure_message, attempt.failure.value))

    def _running(self, record: SearchRecord) -> tuple[RunningTrial, ...]:
        if record.state.is_over:
            self._curves.clear()
            return ()
        rows = self._ledger.running(self._id)
        keys = {(row.individual, row.attempt) for row in rows}
        for gone in self._curves.keys() - keys:
            del self._curves[gone]
        fitness = fitness_of_search(record)
        trials = []
        for row in rows:
            key = (row.individual, row.attempt)
            if key not in self._curves and row.started_at is not None:
                epochs = [
                    each for each in self._ledger.epochs(self._id, row.individual) if each.attempt == row.attempt
                ]
                values = ((each.epoch, value_of(fitness, each.metrics)) for each in epochs)
                self._curves[key] = [(epoch, value) for epoch, value in values if value is not None]
            curve = tuple(sorted(dict(self._curves.get(key, [])).items()))
            trials.append(RunningTrial(*key, row.worker, row.started_at, row.epochs, curve))
        return tuple(trials)

    def _eta(self, record: SearchRecord) -> float | None:
        if record.state is not SearchState.RUNNING or self._progress is None:
            return None
        pace = self._progress.eta
        return remaining_of(record) if pace is None else pace


def _failure(event: EventRecord) -> News:
    message, kind = str(event.data.get("message", "")), str(event.data.get("kind", ""))
    return News(event.at, event.individual, message, kind, bool(event.data.get("retry")))


class LiveSearches:
    """The searches that were looked at lately; those that nobody looks at any more are forgotten.

    Args:
        ledger: Where they are recorded.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._searches: OrderedDict[str, tuple[LiveSearch, float]] = OrderedDict()  # and when it was last used

    def snapshot(self, search_id: str, *, fresh: bool = False) -> Snapshot:
        """A search as it stands, or unless `fresh` stood a moment ago. Waits for the database.

        Raises:
            SearchNotFound: There is none of this id.
        """
        now = time.monotonic()
        with self._lock:
            known = self._searches.pop(search_id, None)
            search = known[0] if known else LiveSearch(self._ledger, search_id)
            self._searches[search_id] = search, now
            self._forget(now)
        try:
            return search.snapshot(fresh=fresh)
        except Exception:
            with self._lock:
                self._searches.pop(search_id, None)
            raise

    def _forget(self, now: float) -> None:
        """Let go of what nobody looks at; what was looked at a moment ago will be again, however much it is."""
        held = sum(search.size for search, _ in self._searches.values())
        for key, (search, used) in list(self._searches.items()):
            if now - used <= (_IN_USE_SECONDS if held > _MOST_INDIVIDUALS else _UNUSED_SECONDS):
                break  # the others were used later
            del self._searches[key]
            held -= search.size
