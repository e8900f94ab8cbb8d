"""What is known of a search from its events so far: the model behind every progress display."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from evolve.ledger.records import EventKind, EventRecord, SearchRecord, SearchState
from evolve.trial import Json

_WINDOW = 50
_ENDED = frozenset(
    {EventKind.TRIAL_COMPLETED, EventKind.TRIAL_FAILED, EventKind.TRIAL_STOPPED, EventKind.TRIAL_INTERRUPTED}
)


@dataclass
class RunningTrial:
    """A trial that a worker holds right now; `received` is this process's monotonic clock."""

    individual: int
    attempt: int
    worker: str
    received: float
    seconds: float = 0.0
    epoch: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Seconds since it began, told by the worker's clock and continued by ours, which may differ."""
        return self.seconds + time.monotonic() - self.received


class ProgressState:
    """Folds events, one by one, into what a person wants to know.

    Events may come twice. They may also begin in the middle of a search, whose record then gives the counts
    to start from; or with the past of a resumed search, which is counted but not news.

    Args:
        total: Individuals that the search will evaluate, or None where only a stop rule ends it.
        since: Events before this time (seconds since the epoch) are the past.
    """

    def __init__(self, total: int | None, since: float = 0.0) -> None:
        self.total = total
        self._since = since
        self._sequence = 0
        self.search: SearchRecord | None = None
        self.evaluated = 0
        self.generation = 0
        self.best: tuple[int, float] | None = None
        self.default: float | None = None
        self.defaults = {0}  # individual 0, and those that continue it
        self.running: dict[int, RunningTrial] = {}
        self.failures: Counter[str] = Counter()
        self.retries = 0
        self.last_failure = ""
        self.notice = ""
        self.finals: int | None = None  # how many there are, once they have begun
        self.finals_done = 0
        self.paused = ""
        self.finished = False
        self._paused_at = 0.0
        self._paused_for = 0.0
        self._away = 0.0
        self._clock = (0.0, 0.0)
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self._handlers: dict[EventKind, Callable[[EventRecord], None]] = {
            EventKind.SEARCH_STARTED: self._search_started,
            EventKind.SEARCH_PAUSED: self._search_paused,
            EventKind.SEARCH_UNPAUSED: self._search_unpaused,
            EventKind.SEARCH_FINISHED: self._search_finished,
            EventKind.INDIVIDUAL_PROPOSED: self._individual_proposed,
            EventKind.TRIAL_STARTED: self._trial_started,
            EventKind.EPOCH_REPORTED: self._epoch_reported,
            EventKind.TRIAL_FAILED: self._trial_failed,
            EventKind.INDIVIDUAL_EVALUATED: self._individual_evaluated,
            EventKind.NEW_BEST: self._new_best,
            EventKind.FINALS_STARTED: self._finals_started,
            EventKind.NOTICE: self._noticed,
        }

    def begin(self, search: SearchRecord, events: Sequence[EventRecord]) -> list[EventRecord]:
        """Take a batch's record and return those of its events that were not seen yet, to be folded."""
        unseen = [event for event in events if event.sequence > self._sequence]
        if unseen:
            if self.search is None and unseen[0].sequence > 1:
                self._join(search, unseen)
            self._sequence = unseen[-1].sequence
        self.search = search
        if search.default_fitness is not None:  # the mean over its repeats, which no single event tells
            self.default = search.default_fitness
        return unseen

    def _join(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Stand where the search stood before these events."""
        told = [event for event in events if event.kind is EventKind.INDIVIDUAL_EVALUATED]
        self.evaluated = max(0, search.evaluated - len(told))
        self.default = search.default_fitness
        improved = any(event.kind is EventKind.NEW_BEST for event in events)
        if not improved and search.best_individual is not None and search.best_fitness is not None:
            self.best = (search.best_individual, search.best_fitness)

    def fold(self, event: EventRecord) -> None:
        """Take one event into account."""
        if event.kind is EventKind.SEARCH_STARTED and event.data.get("resumed"):
            self._away += max(0.0, event.at - (self._clock[0] or event.at))
        self._clock = (event.at, time.monotonic())
        if event.kind in _ENDED:
            self.running.pop(event.individual or 0, None)
        handler = self._handlers.get(event.kind)
        if handler is not None:
            handler(event)

    def is_news(self, event: EventRecord) -> bool:
        """Whether this happened while somebody was watching."""
        return event.at >= self._since

    def ends(self, events: Sequence[EventRecord]) -> bool:
        """Whether the driver let go of the search within these events, and has not taken it up again."""
        over = self.search is not None and self.search.state not in (SearchState.RUNNING, SearchState.PAUSED)
        return over and any(event.kind is EventKind.SEARCH_FINISHED and self.is_news(event) for event in events)

    @property
    def elapsed(self) -> float | None:
        """Seconds since the search first started, on the ledger's clock, without those when nobody drove it."""
        if self.search is None or self.search.started_at is None:
            return None
        at, received = self._clock
        idle = 0.0 if self.finished else time.monotonic() - received
        return max(0.0, at + idle - self.search.started_at - self._away)

    @property
    def eta(self) -> float | None:
        """Seconds to go at the throughput of the latest evaluations; None before there is any."""
        left = self._left
        if left is None or len(self._times) < 2 or self.finished:  # noqa: PLR2004 - a rate needs two times
            return None
        rate = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return max(0, left) * rate

    @property
    def _left(self) -> int | None:
        if self.finals is not None:
            return self.finals - self.finals_done
        return None if self.total is None else self.total - self.evaluated

    def _search_started(self, event: EventRecord) -> None:
        self.finished = False
        self.running.clear()
        self._times.clear()
        self._times.append(event.at - self._paused_for)

    def _search_paused(self, event: EventRecord) -> None:
        self.paused = str(event.data.get("reason", "")) or "paused"
        self._paused_at = event.at

    def _search_unpaused(self, event: EventRecord) -> None:
        if self.paused:
            self._paused_for += event.at - self._paused_at
        self.paused = ""

    def _search_finished(self, event: EventRecord) -> None:
        self.finished = True
        self.running.clear()

    def _individual_proposed(self, event: EventRecord) -> None:
        if event.data.get("continues") in self.defaults:
            self.defaults.add(event.individual or 0)
        if self.finals is None:
            self.generation = max(self.generation, cast("int", event.data.get("generation", 0)))

    def _trial_started(self, event: EventRecord) -> None:
        individual = event.individual or 0
        attempt = cast("int", event.data.get("attempt", 1))
        worker = str(event.data.get("worker", ""))
        self.running[individual] = RunningTrial(individual, attempt, worker, time.monotonic())

    def _epoch_reported(self, event: EventRecord) -> None:
        trial = self.running.get(event.individual or 0)
        if trial is None:
            return
        trial.received = time.monotonic()
        trial.seconds = cast("float", event.data.get("seconds", 0.0))
        trial.epoch = cast("int", event.data.get("epoch", 0))
        trial.epochs = cast("int", event.data.get("epochs", 0))
        metrics = cast("Mapping[str, float | str | None]", event.data.get("metrics") or {})
        # the ledger writes NaN and the infinities as text, a service may leave them null
        trial.metrics = {name: float(value) for name, value in metrics.items() if value is not None}

    def _trial_failed(self, event: EventRecord) -> None:
        self.retries += bool(event.data.get("retry"))
        self.last_failure = str(event.data.get("message", ""))

    def _individual_evaluated(self, event: EventRecord) -> None:
        if self.finals is None:
            self.evaluated += 1
        else:
            self.finals_done += 1
        self._times.append(event.at - self._paused_for)
        failure: Json = event.data.get("failure")
        if failure is not None:
            self.failures[str(failure)] += 1
        if event.individual in self.defaults and self.default is None:
            self.default = cast("float | None", event.data.get("fitness"))

    def _new_best(self, event: EventRecord) -> None:
        self.best = (event.individual or 0, cast("float", event.data["fitness"]))

    def _finals_started(self, event: EventRecord) -> None:
        self.finals, self.finals_done = cast("int", event.data.get("trainings", 0)), 0
        self._times.clear()
        self._times.append(event.at - self._paused_for)

    def _noticed(self, event: EventRecord) -> None:
        self.notice = str(event.data.get("message", ""))
