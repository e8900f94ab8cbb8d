"""Which algorithm a space asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evolve.search.ahead import Ahead
from evolve.search.base import SearchAlgorithm
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace


def make_search(space: SearchSpace) -> SearchAlgorithm:
    """A fresh search, as the `search:` section of its space says."""
    if space.search.algorithm == "genetic":
        return GeneticSearch(space)
    from evolve.search.optuna_search import OptunaSearch

    return OptunaSearch(space)


@contextmanager
def thinking_ahead(algorithm: SearchAlgorithm, *, beside: bool) -> Iterator[SearchAlgorithm]:
    """The search, thinking while trials run where that changes nothing that is promised.

    Args:
        algorithm: A fresh search.
        beside: Whether trials run beside this process and not in it. In it, one at a time, a search has nothing to
            think of until the trial is over, and what it proposes is to depend on the results alone.
    """
    if not (beside and isinstance(algorithm, GeneticSearch) and algorithm.may_think_ahead):
        yield algorithm
        return
    with Ahead(algorithm) as ahead:
        yield ahead
