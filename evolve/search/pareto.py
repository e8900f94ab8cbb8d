"""Several objectives at once: NSGA-II's selection by DEAP, and one number for a model to learn.

Values are those of `evolve.objectives`, each the larger the better. Nothing here draws from a generator that is not
passed in, so what a search proposes stays a function of its seed and its history.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from deap import base, tools
from deap.tools import emo

from evolve.pareto import Values

if TYPE_CHECKING:
    from evolve.search.operators import Individual

RHO = 0.05
"""ParEGO's share of the plain sum: it tells apart what is equal in the worst objective."""
_MANY = 200


@cache
def objectives_fitness(count: int) -> type[Any]:
    """DEAP's fitness class for so many objectives, all maximised."""
    return type(f"Objectives{count}", (base.Fitness,), {"weights": (1.0,) * count})


def fronts(population: Sequence[Individual]) -> list[list[Individual]]:
    """The population in layers: those that nobody dominates, those that only the former dominate, and so on."""
    if not population:
        return []
    layers: list[list[Individual]] = tools.sortNondominated(population, len(population))
    return layers


def survivors(population: Sequence[Individual], amount: int) -> list[Individual]:
    """NSGA-II's environmental selection: layer by layer, the least crowded of the last one that has room.

    All of them know how crowded they are among each other afterwards, which `tournament` needs. Of equals the older
    ones stay.
    """
    ordered = sorted(population, key=lambda each: each.number)
    kept = _nsga2(ordered, min(amount, len(ordered)))
    for layer in fronts(kept):
        emo.assignCrowdingDist(layer)
    return kept


def _nsga2(population: list[Individual], amount: int) -> list[Individual]:
    if amount <= 0:
        return []
    kept: list[Individual] = tools.selNSGA2(population, amount, nd="log" if len(population) > _MANY else "standard")
    return kept


def tournament(population: Sequence[Individual], amount: int, generator: random.Random) -> list[Individual]:
    """Parents by binary tournaments: who dominates the other wins, else who stands less crowded, else chance.

    The rule is that of DEAP's `selTournamentDCD`, which wants populations of multiples of four and draws each
    parent at most twice; in a steady state two parents are wanted of whoever is there.

    Args:
        population: What `survivors` gave.
        amount: How many parents; consecutive ones differ where the population has two members.
        generator: Where chance comes from.
    """
    chosen: list[Individual] = []
    for _ in range(amount):
        others = [each for each in population if not chosen or each is not chosen[-1]] or list(population)
        pair = generator.sample(others, min(2, len(others)))
        chosen.append(_winner(pair[0], pair[-1], generator))
    return chosen


def _winner(one: Individual, other: Individual, generator: random.Random) -> Individual:
    if one.fitness.dominates(other.fitness):
        return one
    if other.fitness.dominates(one.fitness):
        return other
    if one.fitness.crowding_dist != other.fitness.crowding_dist:
        return max(one, other, key=lambda each: each.fitness.crowding_dist)
    return one if generator.random() < 0.5 else other  # noqa: PLR2004 - a coin


def draw_weights(rng: np.random.Generator, k: int) -> Values:
    """Weights of `k` objectives, evenly spread over all that are positive and sum to 1."""
    return np.asarray(rng.dirichlet(np.ones(k)), dtype=np.float64)


def scalarise(values: npt.ArrayLike, weights: npt.ArrayLike, rho: float = RHO) -> Values:
    """One number for each individual, the larger the better: the augmented Chebyshev distance to the ideal point.

    As in ParEGO (Knowles 2006): over random weights, the best individuals by this number are those of the front,
    wherever that is not convex, too. An objective in which all are equal decides nothing.

    Args:
        values: A row for each individual, a column for each objective, each the larger the better.
        weights: Of the objectives; see `draw_weights`.
        rho: Share of the plain sum.
    """
    points, share = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if not len(points):
        return np.empty(0)
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    costs = share * (high - points) / span
    return np.asarray(-(costs.max(axis=1) + rho * costs.sum(axis=1)), dtype=np.float64)
