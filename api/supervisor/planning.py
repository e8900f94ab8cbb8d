"""Who gets how many workers: a pure function of the queue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Candidate:
    """A search that wants workers.

    Attributes:
        search_id: Its id.
        priority: Higher goes first.
        most: Workers that it can make use of, at least 1.
        workers: Workers that it has now; 0 for one that waits.
    """

    search_id: str
    priority: int = 0
    most: int = 1
    workers: int = 0


def in_line(queue: Iterable[Candidate]) -> list[Candidate]:
    """The queue in the order in which it is served: by priority, those that have workers first, then by age.

    Args:
        queue: The oldest of equals first.
    """
    return sorted(queue, key=lambda each: (-each.priority, -each.workers))


def plan(queue: Sequence[Candidate], slots: int) -> dict[str, int]:
    """Share the workers of a pool.

    Priorities are strict: what a search can use, no search of lower priority gets. Equals share equally; those
    that have workers keep one at least before another of the same priority starts, so only a higher priority
    takes the last worker of a search away. No worker is idle that somebody could use.

    Args:
        queue: The oldest of equals first.
        slots: Workers of the pool.

    Returns:
        Workers of each search that gets any, at least 1; the others wait.
    """
    granted: dict[str, int] = {}
    free = slots
    for _, equals in groupby(in_line(queue), key=lambda each: each.priority):
        if free <= 0:
            break
        shares = _share(list(equals)[:free], free)
        granted |= shares
        free -= sum(shares.values())
    return granted


def _share(equals: Sequence[Candidate], free: int) -> dict[str, int]:
    """A worker for each in turn, until there is none left or nobody can use one more."""
    shares = dict.fromkeys((each.search_id for each in equals), 0)
    wanting = list(equals)
    while free and wanting:
        served = wanting[:free]
        for each in served:
            shares[each.search_id] += 1
        free -= len(served)
        wanting = [each for each in wanting if shares[each.search_id] < each.most]
    return shares
