"""From two parents to a child: operators, conditional genes, and the origin of every gene."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evolve.codec import Codec
from evolve.search import variation
from evolve.search.base import Genome
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
from evolve.search.variation import Brood
from evolve.space import SearchSpace

_ORIGINS = {
    variation.MUTATED: MUTATED,
    variation.BLENDED: BLENDED,
    variation.SAMPLED: "sampled",
    variation.DEFAULT: "default",
}


@dataclass(frozen=True)
class Birth:
    """A new individual and how it came about.

    Attributes:
        genome: Canonical.
        origins: For each coordinate.
        operators: Names of what made it, in order.
        parents: Their numbers, the one that passed on most genes first.
    """

    genome: Genome
    origins: tuple[str, ...]
    operators: tuple[str, ...]
    parents: tuple[int, ...] = ()


def unbred(genome: Genome, operator: str, origin: str = "sampled") -> Birth:
    """An individual without parents."""
    return Birth(genome, (origin,) * len(genome), (operator,))


def repaired(birth: Birth, genome: Genome, operator: str) -> Birth:
    """The same individual with another genome, if its own cannot be trained; what differs is repaired."""
    if genome == birth.genome:
        return birth
    coordinates = zip(birth.origins, birth.genome, genome, strict=True)
    origins = tuple(origin if was == now else "repaired" for origin, was, now in coordinates)
    return replace(birth, genome=genome, origins=origins, operators=(*birth.operators, operator))


def screened_birth(brood: Brood, place: int, genome: Genome) -> Birth:
    """How one of a brood came about.

    Args:
        brood: Children that a model chose among.
        place: Which.
        genome: Its canonical genome.
    """
    numbers = brood.origins[place]
    origins = tuple(_ORIGINS.get(number, inherited(number)) for number in numbers.tolist())
    passed_on, shares = np.unique(numbers[numbers >= 0], return_counts=True)
    parents = tuple(passed_on[np.argsort(-shares, kind="stable")].tolist())
    return Birth(genome, origins, (brood.operators[place], "screened"), parents)


class Breeder:
    """Selects, crosses and mutates as the settings of a space say; keeps no state.

    Args:
        space: Its `search:` section chooses the operators.
        codec: The codec of that space.
    """

    def __init__(self, space: SearchSpace, codec: Codec) -> None:
        self._settings = space.search
        self._codec = codec
        self._toolbox = build_toolbox(space.search)
        self._default = codec.encode(space.default())
        self._choices = {
            dimension: gene.choice_count
            for dimension, gene in enumerate(space.genes.values())
            if gene.choice_count is not None
        }

    def breed(self, population: Sequence[Individual], generator: random.Random) -> Birth:
        """A child of two members of the population; it may be infeasible, or known already."""
        first, second = select_parents(self._toolbox, population, generator)
        child, operators = self._vary(first, second, generator)
        genome = self._codec.canonical(child.genome)
        origins = _settle_origins(child.origins, genome, first, second)
        return Birth(genome, origins, operators, _by_share(origins, first, second))

    def _vary(
        self, first: Individual, second: Individual, generator: random.Random
    ) -> tuple[Child, tuple[str, ...]]:
        settings = self._settings
        operators: list[str] = [settings.selection]
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
        """The existing genes that mutate, each with the same probability; one on average if none is set."""
        active = self._active_dimensions(child.genome)
        probability = self._settings.mutation_probability or 1.0 / len(active)
        return [dimension for dimension in active if generator.random() < probability]

    def _fill_conditional(self, child: Child, first: Individual, second: Individual) -> Child:
        """Give a gene that exists in the child, but not in the parent that passed it on, a value with a meaning.

        The coordinate of a gene that does not exist is a placeholder. Where the other parent has the gene, its
        value is taken; where neither has it, the default.
        """
        genome, origins = list(child.genome), list(child.origins)
        living = {parent.number: set(self._active_dimensions(parent)) for parent in (first, second)}
        for dimension in self._active_dimensions(genome):
            holders = [parent for parent in (first, second) if dimension in living[parent.number]]
            if origins[dimension] == MUTATED or len(holders) == len((first, second)):
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


def _settle_origins(
    origins: Sequence[str], genome: Genome, first: Individual, second: Individual
) -> tuple[str, ...]:
    """A step too small to change the value, as may happen to an integer, was no mutation."""
    settled = list(origins)
    for dimension, coordinate in enumerate(genome):
        for parent in (second, first):
            if origins[dimension] in (MUTATED, BLENDED) and coordinate == parent[dimension]:
                settled[dimension] = inherited(parent.number)
    return tuple(settled)


def _by_share(origins: Sequence[str], first: Individual, second: Individual) -> tuple[int, ...]:
    """The parents' numbers, the one that passed on most first; one that passed on nothing is no parent."""
    shares = {parent.number: origins.count(inherited(parent.number)) for parent in (first, second)}
    ranked = sorted(shares, key=lambda number: -shares[number])
    return tuple(number for number in ranked if BLENDED in origins or shares[number] or number == ranked[0])
