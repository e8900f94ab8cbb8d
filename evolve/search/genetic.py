"""The genetic algorithm: selection, crossover, mutation, generation after generation.

Individual 0 is the default configuration and the rest of the first generation fills the space evenly. After that
every individual is bred: parents are selected from the population, crossed, mutated, and repaired where the child
is known not to fit the memory. By default breeding is steady-state: a child enters the population as soon as its
verdict is in and the worst member leaves, so a free GPU never waits for the slowest of a generation. With
`generational: true` a generation is bred only when the one before it is known; then the trajectory depends on the
seed alone, however the trials interleave.

The n-th individual draws from a generator seeded with (seed, n). So nothing of the random state needs to be kept,
and a replay of the recorded history continues exactly as the first run would have.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from deap import tools

from evolve.codec import Codec
from evolve.search.base import Decision, Genome, Outcome, Proposal
from evolve.search.memory import BATCH, MemoryLimit
from evolve.search.operators import (
    BLENDED,
    MUTATED,
    Child,
    Individual,
    build_toolbox,
    cross,
    inherited,
    mutate,
    select_parents,
)
from evolve.search.start import start_design
from evolve.space import BooleanGene, CategoricalGene, SearchSpace
from evolve.trial import FailureKind

Breeding: TypeAlias = tuple[Genome, tuple[int, ...], tuple[str, ...], list[str]]

ATTEMPTS = 24
"""Children bred before a fresh sample takes the place of one that is always infeasible or known already."""


class GeneticSearch:
    """DEAP's genetic operators behind ask/tell.

    Args:
        space: What to search; its `search:` section holds every setting of the algorithm.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._settings = space.search
        self._codec = Codec(space)
        self._genes = list(space.genes.values())
        self._default = self._codec.encode(space.default())
        self._toolbox = build_toolbox(space.search)
        self._choices = {
            dimension: len(gene.options)
            for dimension, gene in enumerate(self._genes)
            if isinstance(gene, CategoricalGene | BooleanGene)
        }
        self._memory = MemoryLimit(image_size=float(space.train.get("imgsz", 640) or 640))  # type: ignore[arg-type]
        self._asked = 0
        self._known_keys: set[str] = set()
        self._population: list[Individual] = []
        self._nursery: list[Outcome] = []  # verdicts not yet thought about
        self._told = 0
        self._best = float("-inf")
        self._quiet_since = 0  # number of verdicts at the last improvement or influx of immigrants
        self._immigration: set[int] = set()  # generations that begin with fresh samples

    # the seam

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

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Take over a former driver's proposals and verdicts; see `SearchAlgorithm.replay`."""
        for proposal in proposals:
            self._asked = max(self._asked, proposal.number + 1)
            self._known_keys.add(proposal.key)
        for outcome in outcomes:
            self.tell(outcome)

    def diversity(self) -> float:
        """Mean over the genes of the population's standard deviation: 0 (all equal) to about 0.5."""
        if len(self._population) < 2:  # noqa: PLR2004
            return 0.0
        return float(np.mean(np.std(np.asarray(self._population, dtype=float), axis=0)))

    # the population

    def _complete_generations(self) -> int:
        return self._told // self._settings.population

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        """Infrastructure failures teach nothing, running out of memory a limit, a fitness the population."""
        for outcome in outcomes:
            if outcome.failure is FailureKind.OUT_OF_MEMORY:
                self._memory.learn(outcome.proposal.params)
        born = [_individual(outcome) for outcome in outcomes if outcome.fitness is not None]
        best = max((each.fitness.values[0] for each in born), default=float("-inf"))
        if best > self._best:
            self._best, self._quiet_since = best, self._told
        if self._settings.generational:
            elite = tools.selBest(self._population, self._settings.elites)
            self._population = elite + tools.selBest(born, self._settings.population - len(elite))
        else:
            self._population += born
            if len(self._population) > self._settings.population:
                self._population.remove(min(self._population, key=_rank))

    def _invite_immigrants(self) -> None:
        """On stagnation, or when the population has all but collapsed, the next generation gets fresh blood."""
        settings = self._settings
        generation = self._complete_generations()
        if settings.stagnation is None or generation == 0:
            return
        stagnant = self._told - self._quiet_since >= settings.stagnation * settings.population
        if stagnant or self.diversity() < settings.min_diversity:
            self._quiet_since = self._told
            # steady-state children of the next generation are on their way already
            self._immigration.add(generation if settings.generational else generation + 1)

    # proposals

    def _propose(self) -> Proposal:
        number = self._asked
        self._asked += 1
        genome, parents, operators, origins = self._make(number)
        params = self._codec.decode(genome)
        key = self._codec.key(params)
        self._known_keys.add(key)
        names = self._codec.names
        return Proposal(
            number=number,
            generation=number // self._settings.population,
            genome=genome,
            params=params,
            key=key,
            parents=parents,
            operators=operators,
            origins={name: origin for name, origin in zip(names, origins, strict=True) if name in params},
        )

    def _make(self, number: int) -> Breeding:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, number])
        generation, place = divmod(number, settings.population)
        if number == 0:
            return self._default, (), ("default",), ["default"] * len(self._default)
        if generation == 0:
            return self._start(number, rng)
        immigrant = generation in self._immigration and place < settings.immigrants * settings.population
        if immigrant or len(self._population) < 2:  # noqa: PLR2004
            return self._sample(rng, "immigrant" if immigrant else "sample")
        return self._breed(rng)

    def _start(self, number: int, rng: np.random.Generator) -> Breeding:
        settings = self._settings
        design = start_design(settings.start, len(self._default), settings.population, settings.seed)
        genome = self._codec.canonical(design[number])
        if not self._is_new(genome):
            return self._sample(rng, "sample")
        return self._repaired(genome, (), (settings.start,), ["sampled"] * len(genome))

    def _sample(self, rng: np.random.Generator, operator: str) -> Breeding:
        genome: Genome = ()
        for _ in range(ATTEMPTS):
            genome = self._codec.sample(rng)
            if self._is_new(genome):
                break
        return self._repaired(genome, (), (operator,), ["sampled"] * len(genome))

    def _breed(self, rng: np.random.Generator) -> Breeding:
        """A feasible child that nobody has trained yet; a fresh sample where the parents have none left."""
        generator = random.Random(int(rng.integers(2**63)))  # noqa: S311  # not for secrets
        for _ in range(ATTEMPTS):
            first, second = select_parents(self._toolbox, self._population, generator)
            child, operators = self._vary(first, second, generator)
            genome = self._codec.canonical(child.genome)
            if self._is_new(genome):
                origins = _settle_origins(child.origins, genome, first, second)
                return self._repaired(genome, _by_share(origins, first, second), operators, origins)
        return self._sample(rng, "sample")

    def _vary(
        self, first: Individual, second: Individual, generator: random.Random
    ) -> tuple[Child, tuple[str, ...]]:
        settings = self._settings
        operators = [settings.selection]
        child = Child(list(first), [inherited(first.number)] * len(first))
        if generator.random() < settings.crossover_probability:
            child = cross(self._toolbox, first, second, self._choices, generator)
            operators.append(f"{settings.crossover}_crossover")
        child = self._fill_conditional(child, first, second)
        mutated = self._mutated_dimensions(child, generator)
        if mutated:
            child = mutate(self._toolbox, child, mutated, self._choices, generator)
            child = self._fill_conditional(child, first, second)
            operators.append(f"{settings.mutation}_mutation")
        return child, tuple(operators)

    def _mutated_dimensions(self, child: Child, generator: random.Random) -> list[int]:
        """The active genes that mutate: each with the same probability, on average one if none is set."""
        active = self._active_dimensions(child.genome)
        probability = self._settings.mutation_probability
        if probability is None:
            probability = 1.0 / len(active)
        return [dimension for dimension in active if generator.random() < probability]

    def _fill_conditional(self, child: Child, first: Individual, second: Individual) -> Child:
        """Give a gene that exists in the child, but not in the parent that passed it on, a value that was tried.

        The coordinate of a gene that does not exist is a placeholder. Where the other parent has the gene, its
        value is taken.
        """
        genome, origins = list(child.genome), list(child.origins)
        living = {parent.number: set(self._active_dimensions(parent)) for parent in (first, second)}
        for dimension in self._active_dimensions(genome):
            holders = [parent for parent in (first, second) if dimension in living[parent.number]]
            if origins[dimension] == MUTATED or len(holders) == 2:  # noqa: PLR2004
                continue
            if holders:
                genome[dimension] = holders[0][dimension]
                origins[dimension] = inherited(holders[0].number)
            else:
                genome[dimension], origins[dimension] = self._default[dimension], "default"
        return Child(genome, origins)

    def _active_dimensions(self, genome: Sequence[float]) -> list[int]:
        params = self._codec.decode(genome)
        return [dimension for dimension, name in enumerate(self._codec.names) if name in params]

    def _is_new(self, genome: Genome) -> bool:
        if not self._codec.feasible(genome):
            return False
        return self._codec.key(self._codec.decode(genome)) not in self._known_keys

    def _repaired(
        self, genome: Genome, parents: tuple[int, ...], operators: tuple[str, ...], origins: list[str]
    ) -> Breeding:
        """The individual with a batch that has a chance to fit; a repair that breaks a constraint is not made."""
        if BATCH not in self._codec.names:
            return genome, parents, operators, origins
        dimension = self._codec.names.index(BATCH)
        smaller = self._memory.repair(self._codec, genome, int(self._genes[dimension].low))
        if smaller == genome or not self._codec.feasible(smaller):
            return genome, parents, operators, origins
        origins = [*origins[:dimension], "repaired", *origins[dimension + 1 :]]
        return smaller, parents, (*operators, "memory_repair"), origins


def _rank(individual: Individual) -> tuple[float, int]:
    """By fitness; of equals the younger ranks lower."""
    return individual.fitness.values[0], -individual.number


def _individual(outcome: Outcome) -> Individual:
    return Individual(outcome.proposal.genome, outcome.proposal.number, outcome.fitness)


def _settle_origins(origins: Sequence[str], genome: Genome, first: Individual, second: Individual) -> list[str]:
    """A step too small to change the value, as of an integer, was no mutation."""
    settled = list(origins)
    for dimension, coordinate in enumerate(genome):
        for parent in (second, first):
            if origins[dimension] in (MUTATED, BLENDED) and coordinate == parent[dimension]:
                settled[dimension] = inherited(parent.number)
    return settled


def _by_share(origins: Sequence[str], first: Individual, second: Individual) -> tuple[int, ...]:
    """The parents' numbers, the one that passed on most genes first; one that passed on none is no parent."""
    blended = BLENDED in origins
    shares = {parent.number: list(origins).count(inherited(parent.number)) for parent in (first, second)}
    ranked = sorted(shares, key=lambda number: -shares[number])
    return tuple(number for number in ranked if blended or shares[number] or number == ranked[0])
