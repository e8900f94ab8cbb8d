"""The genetic algorithm: selection, crossover, mutation, generation after generation.

Individual 0 is the default configuration and the rest of the first generation fills the space evenly. After
that every individual is bred: parents are selected from the population, crossed, mutated, and repaired where the
child is known not to fit the memory. By default breeding is steady-state: a child enters the population as soon
as its verdict is in and the worst member leaves, so a free GPU never waits for the slowest of a generation. With
`generational: true` a generation is bred only when the one before it is known; then the trajectory depends on
the seed alone, however the trials interleave.

The n-th individual draws from a generator seeded with (seed, n). So nothing of the random state needs to be
kept, and a replay of the recorded history continues exactly as the first run would have.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from deap import tools

from evolve.codec import Codec
from evolve.search.base import Decision, Genome, Outcome, Proposal
from evolve.search.breeding import Birth, Breeder
from evolve.search.memory import BATCH, MemoryLimit
from evolve.search.operators import Individual
from evolve.search.start import start_design
from evolve.space import SearchSpace
from evolve.trial import FailureKind

ATTEMPTS = 24
"""Children bred before a fresh sample takes the place of one that is always infeasible or known already."""
PAIR = 2


class GeneticSearch:
    """DEAP's genetic operators behind ask/tell.

    Args:
        space: What to search; its `search:` section holds every setting of the algorithm.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._settings = space.search
        self._codec = Codec(space)
        self._default = self._codec.encode(space.default())
        self._breeder = Breeder(space, self._codec)
        self._memory = MemoryLimit(space, self._codec)
        self._asked = 0
        self._known_keys: set[str] = set()
        self._population: list[Individual] = []
        self._nursery: list[Outcome] = []  # verdicts not yet thought about
        self._told = 0
        self._best = float("-inf")
        self._quiet_since = 0  # number of verdicts at the last improvement or influx of immigrants
        self._immigration: set[int] = set()  # generations that begin with fresh samples

    def ask(self, n: int) -> list[Proposal]:
        """Up to `n` proposals; none beyond the current generation while a generational search awaits it."""
        if self._settings.generational:
            n = min(n, self._settings.population * (self._complete_generations() + 1) - self._asked)
        return [self._propose() for _ in range(n)]

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        """Every trial is trained to its end."""
        return Decision.CONTINUE

    def tell(self, outcome: Outcome) -> None:
        """Take in a verdict; a generational search thinks about it when its generation is complete."""
        self._told += 1
        self._nursery.append(outcome)
        turn = self._told % self._settings.population == 0
        if turn or not self._settings.generational:
            # birth order, not the order of arrival, which depends on how the trials interleaved
            self._learn(sorted(self._nursery, key=lambda each: each.proposal.number))
            self._nursery = []
        if turn:
            self._invite_immigrants()

    def possible_parents(self) -> set[int]:
        """The members of the population, and those who may join it when their generation is complete."""
        waiting = (outcome.proposal.number for outcome in self._nursery if outcome.fitness is not None)
        return {*waiting, *(each.number for each in self._population)}

    def continuable(self) -> set[int]:
        """Nobody: every trial is trained to its end."""
        return set()

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Take over a former driver's proposals and verdicts; see `SearchAlgorithm.replay`."""
        for proposal in proposals:
            self._asked = max(self._asked, proposal.number + 1)
            self._known_keys.add(proposal.key)
        for outcome in outcomes:
            self.tell(outcome)

    # the population

    def _complete_generations(self) -> int:
        return self._told // self._settings.population

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        """A fitness joins the population, running out of memory sets a limit, other failures teach nothing."""
        for outcome in outcomes:
            if outcome.failure is FailureKind.OUT_OF_MEMORY:
                self._memory.learn(outcome.proposal.params)
        born = [
            Individual(outcome.proposal.genome, outcome.proposal.number, outcome.fitness)
            for outcome in outcomes
            if outcome.fitness is not None
        ]
        best = max((each.fitness.values[0] for each in born), default=float("-inf"))
        if best > self._best:
            self._best, self._quiet_since = best, self._told
        if self._settings.generational:
            elite = tools.selBest(self._population, self._settings.elites)
            self._population = elite + tools.selBest(born, self._settings.population - len(elite))
        else:
            self._population += born
            if len(self._population) > self._settings.population:
                worst = min(self._population, key=_rank)  # by identity: a twin's genome is equal to it
                self._population = [each for each in self._population if each is not worst]

    def _invite_immigrants(self) -> None:
        """On stagnation, or when the population has all but collapsed, a generation gets fresh blood."""
        settings = self._settings
        generation = self._complete_generations()
        if settings.stagnation is None:
            return
        stagnant = self._told - self._quiet_since >= settings.stagnation * settings.population
        if stagnant or self._diversity() < settings.min_diversity:
            self._quiet_since = self._told
            # in a steady state the next generation is partly born already
            self._immigration.add(generation if settings.generational else generation + 1)

    def _diversity(self) -> float:
        """Mean over the genes of the population's standard deviation: 0 (all equal) to about 0.5."""
        if len(self._population) < PAIR:
            return 0.0
        return float(np.mean(np.std(np.asarray(self._population, dtype=float), axis=0)))

    # proposals

    def _propose(self) -> Proposal:
        number = self._asked
        self._asked += 1
        birth = self._repair(self._bear(number))
        params = self._codec.decode(birth.genome)
        key = self._codec.key(params)
        self._known_keys.add(key)
        origins = zip(self._codec.names, birth.origins, strict=True)
        return Proposal(
            number=number,
            generation=number // self._settings.population,
            genome=birth.genome,
            params=params,
            key=key,
            parents=birth.parents,
            operators=birth.operators,
            origins={name: origin for name, origin in origins if name in params},
        )

    def _bear(self, number: int) -> Birth:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, number])
        generation, place = divmod(number, settings.population)
        if number == 0:
            return self._unbred(self._default, "default", "default")
        if generation == 0:
            return self._start(number, rng)
        if generation in self._immigration and place < settings.immigrants * settings.population:
            return self._sample(rng, "immigrant")
        if len(self._population) < PAIR:
            return self._sample(rng, "sample")
        return self._breed(rng)

    def _start(self, number: int, rng: np.random.Generator) -> Birth:
        settings = self._settings
        design = start_design(settings.start, self._codec.dimensions, settings.population, settings.seed)
        genome = self._codec.canonical(design[number])
        return self._unbred(genome, settings.start) if self._is_new(genome) else self._sample(rng, "sample")

    def _sample(self, rng: np.random.Generator, operator: str) -> Birth:
        """A fresh point of the space, new if one can be found."""
        genome: Genome = ()
        for _ in range(ATTEMPTS):
            genome = self._codec.sample(rng)
            if self._is_new(genome):
                break
        return self._unbred(genome, operator)

    def _breed(self, rng: np.random.Generator) -> Birth:
        """A feasible child that nobody has trained yet; a fresh sample where the parents have none left."""
        generator = random.Random(int(rng.integers(2**63)))  # noqa: S311  # chance, not secrecy
        for _ in range(ATTEMPTS):
            birth = self._breeder.breed(self._population, generator)
            if self._is_new(birth.genome):
                return birth
        return self._sample(rng, "sample")

    def _unbred(self, genome: Genome, operator: str, origin: str = "sampled") -> Birth:
        return Birth(genome, (origin,) * len(genome), (operator,))

    def _is_new(self, genome: Genome) -> bool:
        if not self._codec.feasible(genome):
            return False
        return self._codec.key(self._codec.decode(genome)) not in self._known_keys

    def _repair(self, birth: Birth) -> Birth:
        genome = self._memory.repair(birth.genome)
        if genome == birth.genome:
            return birth
        origins = list(birth.origins)
        origins[self._codec.names.index(BATCH)] = "repaired"
        return replace(birth, genome=genome, origins=tuple(origins), operators=(*birth.operators, "memory_repair"))


def _rank(individual: Individual) -> tuple[float, int]:
    """By fitness; of equals the younger ranks lower."""
    return individual.fitness.values[0], -individual.number
