"""Which weights are worth their room on the disk: of the best, of the default, and those to be handed down."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Set
from pathlib import Path

from evolve.ledger.records import IndividualRecord
from evolve.search.base import Proposal
from evolve.specs import trial_directory
from evolve.trial import Role


class WeightShelf:
    """Keeps the folders of the best few individuals and of the default, and removes all others.

    Those of the finals are kept until it is known which of them are the best.

    Ten thousand trainings of a small model leave 50 GB of weights otherwise. What a trial reported is in the
    ledger; its folder holds nothing else that is needed. Nothing is removed before `clear`, because a verdict
    that is not committed yet may still be lost, and its individual is then trained again from its checkpoint.

    Args:
        directory: Folder of the search.
        size: How many of the best to keep, beside the default.
    """

    def __init__(self, directory: Path, size: int = 5) -> None:
        self._directory = directory
        self._size = size
        self._best: list[tuple[float, int, int]] = []  # fitness, minus the time of offering, number
        self._offered = 0
        self._doomed: set[int] = set()
        self._finals: set[int] = set()
        self._defaults = {0}

    def offer(self, individual: Proposal | IndividualRecord, fitness: float | None) -> None:
        """Take in a verdict; to be called in the order told: of equals the first stays, as in the ledger.

        Args:
            individual: Whose weights it is about.
            fitness: None for failures and for trainings that were stopped.
        """
        number = individual.number
        if individual.continues in self._defaults:
            self._defaults.add(number)
        if number in self._defaults:
            return
        if fitness is None:
            self._doomed.add(number)
            return
        if individual.role is Role.FINAL:
            self._finals.add(number)
            return
        self._offered += 1
        heapq.heappush(self._best, (fitness, -self._offered, number))
        if len(self._best) > self._size:
            self._doomed.add(heapq.heappop(self._best)[-1])

    def choose(self, best: Set[int]) -> None:
        """The search has an answer: what it names is kept, and none of the other finals."""
        self._doomed = (self._doomed | self._finals) - best

    def clear(self, spared: Set[int] = frozenset()) -> None:
        """Throw out what has been pushed off the shelf.

        Args:
            spared: Individuals whose weights are still to be handed down; they go at a later call without them.
        """
        for number in self._doomed - spared:
            # another process may look into the folder; what cannot be removed costs room, not correctness
            shutil.rmtree(trial_directory(self._directory, number), ignore_errors=True)
        self._doomed &= spared
