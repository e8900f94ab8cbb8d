"""Lets DEAP draw from a generator that is passed in.

DEAP's operators draw from the module `random`, which every thread of the process shares. Inside `drawing_from`
they draw from the given generator instead; outside of it, and in every other thread, they behave as ever.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from deap.tools import crossover, mutation, selection

_generator: ContextVar[random.Random | None] = ContextVar("generator", default=None)


class _Chance:
    """Stands in for the module `random` inside DEAP."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_generator.get() or random, name)


for _module in (crossover, mutation, selection):
    _module.random = _Chance()


@contextmanager
def drawing_from(generator: random.Random) -> Iterator[None]:
    """Within this block, DEAP operators called from this thread draw from `generator`."""
    token = _generator.set(generator)
    try:
        yield
    finally:
        _generator.reset(token)
