"""Lets DEAP draw from a generator that is passed in.

DEAP's operators draw from the module `random`, which every thread of the process shares. Inside `drawing_from`
they draw from the given generator instead; outside of it, and in every other thread, they behave as ever.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deap.tools import crossover, mutation, selection

_DRAWS = ("random", "choice", "gauss", "sample", "randint", "randrange", "uniform", "shuffle")
"""What DEAP's operators ask of it; bound beforehand, as they ask some hundred thousand times for one proposal."""


class _Chance(threading.local):
    """Stands in for the module `random` inside DEAP: has what this thread gave it, and else the module's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(random, name)


_chance = _Chance()
for _module in (crossover, mutation, selection):
    _module.random = _chance


@contextmanager
def drawing_from(generator: random.Random) -> Iterator[None]:
    """Within this block, DEAP operators called from this thread draw from `generator`."""
    given = vars(_chance)
    before = dict(given)
    given.update((name, getattr(generator, name)) for name in _DRAWS)
    try:
        yield
    finally:
        given.clear()
        given.update(before)
