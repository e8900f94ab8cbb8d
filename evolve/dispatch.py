"""Where trials run: the interface of a dispatcher and the one that runs them in this process.

A dispatcher takes specs, runs at most `slots` of them at once, and hands back events in the order in which each
trial produced them. One contract suite (tests/test_dispatch_contract.py) runs over every implementation.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from evolve.trial import (
    EpochReport,
    Failure,
    FailureKind,
    Objective,
    TrialFailed,
    TrialResult,
    TrialSpec,
    TrialStream,
)


@dataclass(frozen=True)
class Started:
    """The trial has a worker now."""

    trial_id: str
    worker: str


@dataclass(frozen=True)
class Reported:
    """An epoch is over."""

    trial_id: str
    report: EpochReport


@dataclass(frozen=True)
class Completed:
    """The trial trained to its end."""

    trial_id: str
    result: TrialResult


@dataclass(frozen=True)
class Stopped:
    """The trial was stopped by `Dispatcher.stop`; it left no result."""

    trial_id: str


@dataclass(frozen=True)
class Failed:
    """The trial failed; no further event comes from it."""

    trial_id: str
    failure: Failure


TrialEvent: TypeAlias = Started | Reported | Completed | Stopped | Failed


class Dispatcher(Protocol):
    """Runs trials somewhere."""

    @property
    def slots(self) -> int:
        """How many trials can run at once."""
        ...

    def resize(self, slots: int) -> None:
        """Run so many trials at once from now on, as far as this dispatcher can; 0 starts none.

        Trials that run go on although they may be too many for a while; those that are queued wait.
        """
        ...

    def submit(self, spec: TrialSpec) -> None:
        """Queue a trial; it starts as soon as a slot is free. Never blocks on training."""
        ...

    def events(self, timeout: float) -> list[TrialEvent]:
        """Wait up to `timeout` seconds for news and return all of it, oldest first; may be empty.

        Every submitted trial yields at most one `Started`, any number of `Reported`, and then exactly one of
        `Completed`, `Stopped` and `Failed`.
        """
        ...

    def stop(self, trial_id: str) -> None:
        """Stop a queued or running trial between two epochs. Unknown and finished trials are ignored."""
        ...

    def close(self) -> None:
        """Stop everything and free every worker. A second call does nothing."""
        ...


def failure_of(error: BaseException) -> Failure:
    """The typed failure behind an exception that left an objective."""
    if isinstance(error, TrialFailed):
        return error.failure
    text = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError):
        return Failure(FailureKind.OUT_OF_MEMORY, f"out of memory: {error}", details=text)
    summary = str(error).strip().split("\n", 1)[0]
    return Failure(FailureKind.CODE, f"{type(error).__name__}: {summary}"[:500], details=text[-8000:])


class InlineDispatcher:
    """Runs one trial at a time in this process, an epoch for every call of `events`.

    Nothing here is concurrent, so a debugger can step from the search into the training. For the same reason the
    order of events depends on the specs alone.
    """

    def __init__(self, objective: Objective) -> None:
        self.slots = 1
        self._objective = objective
        self._queue: deque[TrialSpec] = deque()
        self._current: tuple[str, TrialStream] | None = None
        self._news: list[TrialEvent] = []

    def resize(self, slots: int) -> None:
        """Start trials one by one, or none: there is one slot and there will be no other."""
        self.slots = min(slots, 1)

    def submit(self, spec: TrialSpec) -> None:
        """Queue a trial; it starts when the trials before it are over."""
        self._queue.append(spec)

    def events(self, timeout: float) -> list[TrialEvent]:
        """Train one epoch of the current trial; blocks for as long as that takes, whatever `timeout` says."""
        if self._current is None and self._queue and not self.slots:
            time.sleep(timeout)
        elif self._current is None and self._queue:
            spec = self._queue.popleft()
            self._current = (spec.trial_id, self._objective.run(spec))
            self._news.append(Started(spec.trial_id, "inline"))
        if self._current is not None:
            self._advance(*self._current)
        news, self._news = self._news, []
        return news

    def _advance(self, trial_id: str, stream: TrialStream) -> None:
        try:
            self._news.append(Reported(trial_id, next(stream)))
            return
        except StopIteration as end:
            self._news.append(Completed(trial_id, end.value))
        except Exception as error:  # an objective may raise anything, and all of it is a failed trial
            self._news.append(Failed(trial_id, failure_of(error)))
        self._current = None

    def stop(self, trial_id: str) -> None:
        """Stop a trial; see `Dispatcher.stop`."""
        if self._current is not None and self._current[0] == trial_id:
            self._current[1].close()
            self._current = None
            self._news.append(Stopped(trial_id))
            return
        for spec in self._queue:
            if spec.trial_id == trial_id:
                self._queue.remove(spec)
                self._news.append(Stopped(trial_id))
                return

    def close(self) -> None:
        """Stop the current trial and forget the queue."""
        self._queue.clear()
        if self._current is not None:
            self._current[1].close()
            self._current = None
