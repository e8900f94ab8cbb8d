"""Who may breed: the population, and when it needs fresh blood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deap import tools

from evolve.search.operators import Individual
from evolve.search.pareto import survivors
from evolve.space import SearchSettings

_FEWEST = 2


class Population:
    """The members, and how long none of them was better than all before.

    Args:
        settings: `population`, `generational`, `elites`, `stagnation` and `min_diversity` are read.
    """

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._best = float("-inf")
        self._quiet_since = 0  # number of verdicts at the last improvement or influx of immigrants
        self.members: list[Individual] = []

    def renew(self, born: Sequence[Individual], told: int) -> None:
        """Let newborns in and the worst out; `told` verdicts are known by now."""
        best = max((each.fitness.values[0] for each in born), default=float("-inf"))
        if best > self._best:
            self._best, self._quiet_since = best, told
        size = self._settings.population
        if any(len(each.fitness.values) > 1 for each in born):
            self.members = survivors([*self.members, *born], size)
        elif self._settings.generational:
            elite = tools.selBest(self.members, self._settings.elites)
            self.members = elite + tools.selBest(born, size - len(elite))
        else:
            self.members = sorted([*self.members, *born], key=_rank, reverse=True)[:size]

    def correct(self, number: int, fitness: float) -> None:
        """A repeat has shown what the fitness of a member is on average; it stays where it was."""
        for each in self.members:
            if each.number == number and len(each.fitness.values) == 1:
                each.fitness.values = (fitness,)

    def needs_immigrants(self, told: int) -> bool:
        """Whether nothing has become better for long, or the members are all but alike; asking begins anew."""
        settings = self._settings
        if settings.stagnation is None:
            return False
        stagnant = told - self._quiet_since >= settings.stagnation * settings.population
        if stagnant or self._diversity() < settings.min_diversity:
            self._quiet_since = told
            return True
        return False

    def _diversity(self) -> float:
        """Mean over the genes of the members' standard deviation: 0 (all equal) to about 0.5."""
        if len(self.members) < _FEWEST:
            return 0.0
        return float(np.mean(np.std(np.asarray(self.members, dtype=float), axis=0)))


def _rank(individual: Individual) -> tuple[float, int]:
    """By fitness; of equals the younger ranks lower."""
    return individual.fitness.values[0], -individual.number
