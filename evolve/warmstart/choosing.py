"""Which configurations are taken where there are more than a search can begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class _Scored(Protocol):
    @property
    def fitness(self) -> float | None:
        """What came of it; None if it was not trained."""
        ...


_Any = TypeVar("_Any", bound=_Scored)


def choose(known: Sequence[_Any], most: int) -> list[_Any]:
    """Those that somebody wants trained, then the best, then an even spread of the rest.

    The best alone would tell a model nothing of where it is bad.

    Args:
        known: Of one source.
        most: How many to take.

    Returns:
        Those without a fitness as they come, and then the others, best first.
    """
    wanted = [each for each in known if each.fitness is None][:most]
    scored = sorted((each for each in known if each.fitness is not None), key=_fitness, reverse=True)
    room = most - len(wanted)
    if len(scored) <= room:
        return [*wanted, *scored]
    best = (room + 1) // 2
    rest, spread = scored[best:], room - best
    step = (len(rest) - 1) / max(1, spread - 1)
    return [*wanted, *scored[:best], *(rest[round(index * step)] for index in range(spread))]


def allot(sizes: Sequence[int], most: int) -> list[int]:
    """How many each of several sources may give: as many as it has, or else an equal share of what is left."""
    shares = [0] * len(sizes)
    left = most
    for place, index in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[index] = min(sizes[index], left // (len(sizes) - place))
        left -= shares[index]
    return shares


def _fitness(known: _Scored) -> float:
    return known.fitness or 0.0
