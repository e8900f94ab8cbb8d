"""Variation in the unit cube, by DEAP's operators.

DEAP changes its arguments in place and knows neither categories nor bounds that must hold. Here parents are
copied first, numeric coordinates go to DEAP, coordinates of categorical and boolean genes are exchanged or
redrawn as a whole, and every result lies in [0, 1]. For each gene the child remembers where its value is from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deap import base, tools

from evolve.search.chance import drawing_from
from evolve.search.pareto import objectives_fitness, tournament
from evolve.space import SearchSettings

MUTATED = "mutated"
BLENDED = "blended"


class MaximizedFitness(base.Fitness):  # type: ignore[misc]  # DEAP ships no types
    """One fitness, the larger the better."""

    weights = (1.0,)


class Individual(list[float]):
    """A genome with a fitness, or one for each objective, in the form in which DEAP's operators want it."""

    def __init__(self, genome: Sequence[float], number: int = -1, *fitness: float) -> None:
        super().__init__(genome)
        self.number = number
        self.fitness = (MaximizedFitness if len(fitness) <= 1 else objectives_fitness(len(fitness)))(fitness)


@dataclass(frozen=True)
class Child:
    """What variation made: coordinates, and for each the parent's number, `mutated` or `blended`."""

    genome: list[float]
    origins: list[str]


def inherited(number: int) -> str:
    """The origin of a gene that was taken over from a parent as it was."""
    return f"inherited:{number}"


def build_toolbox(settings: SearchSettings) -> base.Toolbox:
    """DEAP's toolbox with `select(population, k)`, `mate(a, b)` and `mutate(numeric)` as the settings say."""
    toolbox = base.Toolbox()
    if settings.selection == "tournament":
        toolbox.register("select", tools.selTournament, tournsize=settings.tournament_size)
    else:
        toolbox.register("select", _select_from_top, share=settings.truncation)
    mates: dict[str, tuple[Callable[..., Any], dict[str, float]]] = {
        "uniform": (tools.cxUniform, {"indpb": 0.5}),
        "blend": (tools.cxBlend, {"alpha": settings.blend_alpha}),
        "sbx": (tools.cxSimulatedBinaryBounded, {"eta": settings.sbx_eta, "low": 0.0, "up": 1.0}),
    }
    mate, arguments = mates[settings.crossover]
    toolbox.register("mate", mate, **arguments)
    if settings.mutation == "gaussian":
        toolbox.register("mutate", tools.mutGaussian, mu=0.0, sigma=settings.mutation_sigma, indpb=1.0)
    else:
        toolbox.register(
            "mutate", tools.mutPolynomialBounded, eta=settings.polynomial_eta, low=0.0, up=1.0, indpb=1.0
        )
    return toolbox


def _select_from_top(individuals: Sequence[Individual], k: int, share: float) -> list[Individual]:
    top = tools.selBest(individuals, max(2, round(share * len(individuals))))
    chosen: list[Individual] = tools.selRandom(top, k)
    return chosen


def select_parents(
    toolbox: base.Toolbox, population: Sequence[Individual], generator: random.Random
) -> tuple[Individual, Individual]:
    """Two different members of the population (of two or more), the fitter one first.

    With several objectives the tournaments are NSGA-II's, whatever the settings say, and the one that is better in
    the first objective comes first.
    """
    if len(population[0].fitness.values) > 1:
        return _fitter_first(*tournament(population, 2, generator))
    with drawing_from(generator):
        first = toolbox.select(population, 1)[0]
        second = toolbox.select([each for each in population if each is not first], 1)[0]
    return _fitter_first(first, second)


def _fitter_first(one: Individual, other: Individual) -> tuple[Individual, Individual]:
    first, second = sorted((one, other), key=lambda each: (-each.fitness.values[0], each.number))
    return first, second


def cross(
    toolbox: base.Toolbox,
    first: Individual,
    second: Individual,
    choices: Mapping[int, int],
    generator: random.Random,
) -> Child:
    """One child of two parents.

    Args:
        toolbox: From `build_toolbox`.
        first: A parent; not changed.
        second: The other parent; not changed.
        choices: For each dimension of a categorical or boolean gene, the number of its choices.
        generator: All chance comes from here.
    """
    one, other = Individual(first), Individual(second)
    with drawing_from(generator):
        toolbox.mate(one, other)
    genome, origins = [], []
    for dimension in range(len(one)):
        if dimension in choices:  # half a category means nothing: the whole coordinate is one parent's
            one[dimension] = generator.choice((first, second))[dimension]
        genome.append(min(1.0, max(0.0, one[dimension])))
        origins.append(_origin(one[dimension], dimension, first, second))
    return Child(genome, origins)


def _origin(value: float, dimension: int, first: Individual, second: Individual) -> str:
    for parent in (first, second):
        if value == parent[dimension]:
            return inherited(parent.number)
    return BLENDED


def mutate(
    toolbox: base.Toolbox,
    child: Child,
    dimensions: Sequence[int],
    choices: Mapping[int, int],
    generator: random.Random,
) -> Child:
    """The child with the given dimensions mutated; numeric ones by DEAP, the others drawn anew."""
    genome, origins = list(child.genome), list(child.origins)
    for dimension in dimensions:
        if dimension in choices:
            genome[dimension] = _another_choice(genome[dimension], choices[dimension], generator)
        else:
            gene = Individual([genome[dimension]])
            with drawing_from(generator):
                toolbox.mutate(gene)
            genome[dimension] = _reflect(gene[0])
        origins[dimension] = MUTATED
    return Child(genome, origins)


def _another_choice(coordinate: float, count: int, generator: random.Random) -> float:
    current = min(count - 1, int(coordinate * count))
    drawn = generator.randrange(count - 1)
    return ((drawn + 1 if drawn >= current else drawn) + 0.5) / count


def _reflect(value: float) -> float:
    """Bounce off the walls of [0, 1]; clipping would pile children up on the bounds."""
    value = abs(value) % 2.0
    return 2.0 - value if value > 1.0 else value
