"""Which trainings are repeated with other seeds, and what a fitness is on average."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from evolve.search.base import Outcome, Proposal
from evolve.space import SearchSettings
from evolve.trial import Role


@dataclass(frozen=True)
class Repeat:
    """A training to repeat.

    Attributes:
        original: The individual.
        seed: Its other seed.
    """

    original: int
    seed: int


class Repeats:
    """Keeps count of repeats, and of the fitness of each individual over all of its trainings.

    Args:
        settings: `seed` and `repeats` are read.
    """

    def __init__(self, settings: SearchSettings) -> None:
        self._seed = settings.seed
        self._default = settings.repeats.default
        self._elites = settings.repeats.elites
        self._trainings: defaultdict[int, list[float]] = defaultdict(list)
        self._proposed: defaultdict[int, int] = defaultdict(int)
        self._wanted: dict[int, int] = {}  # how many repeats of each contender
        self._contenders: list[int] = []  # the default, and all that were better than those before them

    def enter(self, proposal: Proposal) -> None:
        """It is going to be trained."""
        if proposal.role is Role.REPEAT and proposal.original is not None:
            self._proposed[proposal.original] += 1

    def learn(self, outcome: Outcome, first: int) -> tuple[int, float] | None:
        """Take in a verdict on the individual that first entered under `first`.

        Returns:
            The number of an individual and its mean fitness, where a repeat changes that.
        """
        proposal, fitness = outcome.proposal, outcome.fitness
        if fitness is None:
            return None
        if proposal.role is Role.REPEAT and proposal.original is not None:
            self._trainings[proposal.original].append(fitness)
            return proposal.original, self._mean(proposal.original)
        self._trainings[proposal.number].append(fitness)
        if fitness > max(map(self._mean, self._contenders), default=-math.inf) or first == 0:
            self._contenders.append(proposal.number)
            self._wanted[proposal.number] = self._elites if first else self._default
        return None

    def due(self) -> Repeat | None:
        """The next training to repeat."""
        for number in reversed(self._contenders):
            if self._proposed[number] < self._wanted[number]:
                return Repeat(number, (self._seed + 1 + self._proposed[number]) % 2**31)
        return None

    def _mean(self, number: int) -> float:
        trainings = self._trainings[number]
        return math.fsum(trainings) / len(trainings)
