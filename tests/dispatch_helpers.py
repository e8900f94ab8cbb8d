"""What the tests of dispatchers share."""

from __future__ import annotations

import time
from pathlib import Path

from evolve.dispatch import Completed, Dispatcher, Failed, Reported, Started, Stopped, TrialEvent
from evolve.trial import Json, TrialSpec

TERMINAL = (Completed, Stopped, Failed)


def make_spec(individual: int = 0, directory: Path | str = "", *, attempt: int = 1, **settings: Json) -> TrialSpec:
    """A trial of the search `s`, with `settings` for the objective."""
    return TrialSpec("s", individual, attempt, {"x": 0.7}, settings, seed=0, directory=str(directory))


def collect(
    dispatcher: Dispatcher, *, ended: int = 0, reported: int = 0, seconds: float = 60.0
) -> list[TrialEvent]:
    """Events until so many trials ended and so many reports came."""
    events: list[TrialEvent] = []
    deadline = time.monotonic() + seconds
    while (
        sum(isinstance(event, TERMINAL) for event in events) < ended
        or sum(isinstance(event, Reported) for event in events) < reported
    ):
        assert time.monotonic() < deadline, f"waited in vain, got {events}"
        events += dispatcher.events(1.0)
    return events


def verdict(events: list[TrialEvent], trial_id: str) -> Completed | Stopped | Failed:
    """The one terminal event of a trial."""
    (found,) = [event for event in events if isinstance(event, TERMINAL) and event.trial_id == trial_id]
    return found


def workers_of(events: list[TrialEvent]) -> list[str]:
    """`host:pid` of every trial that started, in order."""
    return [event.worker for event in events if isinstance(event, Started)]
