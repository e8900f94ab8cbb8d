"""How the best of a search rose with what was spent on it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Literal, TypeAlias

from evolve.ledger.records import EventKind, EventRecord, IndividualRecord
from evolve.ledger.times import TrialTimes
from evolve.trial import FailureKind, Role, TrialState

Axis: TypeAlias = Literal["trainings", "seconds", "gpu_seconds", "wall"]
"""What fitness can be set against: trainings, their seconds, seconds of GPU, seconds with a driver at work."""

CANDIDATES = (Role.SEARCH, Role.CONTINUATION)
"""Roles that can be the best: a repeat has another's genes, and the luckiest of several seeds is no find."""


@dataclass(frozen=True)
class Point:
    """What had been spent when the search was told of a verdict, and the best fitness by then."""

    trainings: int
    seconds: float
    gpu_seconds: float
    wall: float
    fitness: float


@dataclass(frozen=True)
class Course:
    """The rise of a search's best.

    Attributes:
        rises: Where the best rose, in their order.
        trainings: Trainings that were begun, also those that failed or were stopped early, as they were spent too;
            without those that were lost to infrastructure, and without the finals.
        seconds: What all attempts took, in seconds of training.
        gpu_seconds: The same in seconds of GPU.
        wall: Seconds with a driver at work until the last verdict.
    """

    rises: tuple[Point, ...]
    trainings: int
    seconds: float
    gpu_seconds: float
    wall: float

    def reached(self, axis: Axis, amount: float) -> float | None:
        """The best fitness that `amount` on an axis was enough for; None before the first."""
        index = bisect_right(self._places[axis], amount)
        return self.rises[index - 1].fitness if index else None

    @cached_property
    def _places(self) -> Mapping[Axis, list[float]]:
        axes: tuple[Axis, ...] = ("trainings", "seconds", "gpu_seconds", "wall")
        return {axis: [attrgetter(axis)(each) for each in self.rises] for axis in axes}


def course_of(
    history: Sequence[IndividualRecord], times: Sequence[TrialTimes], events: Sequence[EventRecord]
) -> Course:
    """Follow a search from verdict to verdict.

    Args:
        history: Individuals with a verdict, in the order told.
        times: Every attempt of the search.
        events: When drivers began, and when they let go.
    """
    clock = working_clock(times, events)
    attempts: defaultdict[int, list[TrialTimes]] = defaultdict(list)
    for attempt in times:
        attempts[attempt.individual].append(attempt)
    rises: list[Point] = []
    trainings, seconds, gpu_seconds, wall = 0, 0.0, 0.0, 0.0
    for each in history:
        if each.role is Role.FINAL or each.reused_from is not None:
            continue
        trainings += counts(each)
        for attempt in attempts[each.number]:
            seconds += attempt.seconds
            gpu_seconds += attempt.gpu_seconds
            if attempt.finished_at is not None:
                wall = max(wall, clock(attempt.finished_at))
        fitness = each.fitness
        if fitness is not None and is_candidate(each) and (not rises or fitness > rises[-1].fitness):
            rises.append(Point(trainings, seconds, gpu_seconds, wall, fitness))
    return Course(tuple(rises), trainings, seconds, gpu_seconds, wall)


def counts(individual: IndividualRecord) -> bool:
    """Whether it is a training of its own: a continuation belongs to the one that it continues."""
    return individual.role is not Role.CONTINUATION and individual.failure is not FailureKind.INFRASTRUCTURE


def is_candidate(individual: IndividualRecord) -> bool:
    """Whether it can be the best of its search."""
    done = individual.state is TrialState.COMPLETED and individual.fitness is not None
    return done and individual.role in CANDIDATES


def working_clock(times: Sequence[TrialTimes], events: Sequence[EventRecord]) -> Callable[[float], float]:
    """From seconds since the epoch to seconds with a driver at work, without the time between crash and resume."""
    starts = [each.at for each in events if each.kind is EventKind.SEARCH_STARTED]
    if not starts:
        starts = [min((each.started_at for each in times if each.started_at is not None), default=0.0)]
    signs = [each.at for each in events]
    signs += [at for each in times for at in (each.started_at, each.finished_at) if at is not None]
    signs.sort()
    gaps = [0.0]
    for before, start in pairwise(starts):
        index = bisect_right(signs, start) - 1
        while index >= 0 and signs[index] == start:
            index -= 1
        gaps.append(gaps[-1] + start - max(before, signs[index] if index >= 0 else before))

    def clock(at: float) -> float:
        session = max(0, bisect_right(starts, at) - 1)
        return max(0.0, at - starts[0] - gaps[session])

    return clock
