"""Offspring by the hundred, from a mix of operators, for a model to choose from.

No operator is best on all landscapes, and bred children that nobody trains cost next to nothing. So the mix is
wide: DEAP's crossover and mutation at many step sizes, differential variation, and a few strangers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from deap import base
from numpy.typing import NDArray

from evolve.search.chance import drawing_from
from evolve.search.geometry import Array, Geometry
from evolve.space import SearchSettings

Places: TypeAlias = NDArray[np.int64]

MUTATED, BLENDED, SAMPLED, DEFAULT = -1, -2, -3, -4
"""Origins of a coordinate that was taken over from no individual."""

SHARES = {"differential": 0.42, "crossover": 0.17, "mutation": 0.39, "immigrant": 0.02}
"""How often each operator is used; crossover and mutation are those of the settings."""

_STEPS = (0.01, 0.4)
_AMPLIFICATION = (0.3, 1.0)
_CROSSOVER_RATES = (0.3, 0.6, 0.9, 1.0)
_CHOOSE = (0.4, 0.8)
_TOP = 5
_TOURNAMENT = 2
_FOR_DIFFERENCES = 4


@dataclass(frozen=True)
class Brood:
    """Individuals, real or imagined, and where each of their coordinates is from.

    Attributes:
        genomes: Snapped, shape (n, genes).
        origins: Numbers of the individuals that the coordinates are from, or `MUTATED`, `BLENDED` or `SAMPLED`;
            shape (n, genes).
        operators: What made each one last.
    """

    genomes: Array
    origins: Places
    operators: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.genomes)

    def take(self, places: Sequence[int] | Places) -> Brood:
        """Those at some places, in that order."""
        return Brood(self.genomes[places], self.origins[places], tuple(self.operators[place] for place in places))

    def join(self, other: Brood) -> Brood:
        """These and then others."""
        return Brood(
            np.vstack([self.genomes, other.genomes]),
            np.vstack([self.origins, other.origins]),
            self.operators + other.operators,
        )


class Variation:
    """Breeds many children of ranked parents; keeps no state.

    Args:
        toolbox: From `operators.build_toolbox` of the same settings.
        settings: Which operators those are.
        geometry: Of the space.
    """

    def __init__(self, toolbox: base.Toolbox, settings: SearchSettings, geometry: Geometry) -> None:
        self._toolbox = toolbox
        self._geometry = geometry
        self._chosen = geometry.choices > 0
        self._gaussian = settings.mutation == "gaussian"
        self._names = {
            "differential": "differential_variation",
            "crossover": f"{settings.crossover}_crossover",
            "mutation": f"{settings.mutation}_mutation",
            "immigrant": "immigrant",
        }

    def breed(self, parents: Brood, count: int, generator: random.Random) -> Brood:
        """`count` children.

        Args:
            parents: The best first; two or more.
            count: How many children.
            generator: All chance comes from here.
        """
        usable = [name for name in SHARES if name != "differential" or len(parents) >= _FOR_DIFFERENCES]
        drawn = np.array(generator.choices(usable, [SHARES[name] for name in usable], k=count))
        rng = np.random.default_rng(generator.getrandbits(63))
        firsts = rng.integers(0, len(parents), (_TOURNAMENT, count)).min(axis=0)  # a tournament: they are ranked
        seconds = rng.integers(0, len(parents), count)
        children = np.empty((count, parents.genomes.shape[1]))
        with drawing_from(generator):
            for name in usable:
                rows = np.flatnonzero(drawn == name)
                operate = getattr(self, f"_{name}")
                children[rows] = operate(parents.genomes, firsts[rows], seconds[rows], rng)
        genomes = self._geometry.snap(_reflect(children))
        # where there is no gene there is nothing to hand down: the coordinate is the default's
        holders = np.where(self._geometry.active(parents.genomes), parents.origins, DEFAULT)
        origins = _origins(genomes, Brood(parents.genomes, holders, parents.operators), firsts, seconds, drawn)
        return Brood(genomes, origins, tuple(self._names[name] for name in drawn))

    def strangers(self, dimension: int, coordinate: float, count: int, generator: random.Random) -> Brood:
        """Fresh samples that all have one choice of a gene.

        Args:
            dimension: Of the gene.
            coordinate: Of the choice.
            count: How many.
            generator: All chance comes from here.
        """
        rng = np.random.default_rng(generator.getrandbits(63))
        genomes = rng.random((count, len(self._geometry.choices)))
        genomes[:, dimension] = coordinate
        return Brood(self._geometry.snap(genomes), np.full(genomes.shape, SAMPLED), ("stranger",) * count)

    def choose(self, brood: Brood, dimension: int, coordinate: float) -> Brood:
        """The same children, but all with this choice of a gene, which counts as mutated where it was another."""
        genomes, origins = brood.genomes.copy(), brood.origins.copy()
        origins[genomes[:, dimension] != coordinate, dimension] = MUTATED
        genomes[:, dimension] = coordinate
        return Brood(self._geometry.snap(genomes), origins, brood.operators)

    def _differential(self, genomes: Array, firsts: Places, seconds: Places, rng: np.random.Generator) -> Array:
        """Current-to-pbest/1 (Zhang and Sanderson, "JADE", 2009); categories come whole from one of the three."""
        first, second = genomes[firsts], genomes[seconds]
        best = genomes[rng.integers(0, min(_TOP, len(genomes)), len(firsts))]
        third = genomes[rng.integers(0, len(genomes), len(firsts))]
        amplification = rng.uniform(*_AMPLIFICATION, (len(firsts), 1))
        moved = first + amplification * (best - first) + amplification * (second - third)
        which = rng.random(first.shape)
        chosen = np.where(which < _CHOOSE[0], first, np.where(which < _CHOOSE[1], best, second))
        moved = np.where(self._chosen, chosen, moved)
        rate = rng.choice(_CROSSOVER_RATES, (len(firsts), 1))
        return np.where(rng.random(first.shape) < rate, moved, first)

    def _crossover(self, genomes: Array, firsts: Places, seconds: Places, rng: np.random.Generator) -> Array:
        """DEAP's, of the numbers; half a category means nothing, so those come whole from either parent."""
        first, second = genomes[firsts], genomes[seconds]
        children = [self._toolbox.mate(*pair)[0] for pair in zip(first.tolist(), second.tolist(), strict=True)]
        whole = np.where(rng.random(first.shape) < 0.5, first, second)  # noqa: PLR2004  # a fair coin
        return np.where(self._chosen, whole, np.array(children).reshape(first.shape))

    def _mutation(self, genomes: Array, firsts: Places, seconds: Places, rng: np.random.Generator) -> Array:
        """DEAP's, with steps and probabilities from the smallest that matter to the largest; at least one gene."""
        first = genomes[firsts]
        genes = first.shape[1]
        steps = np.exp(rng.uniform(math.log(_STEPS[0]), math.log(_STEPS[1]), len(firsts)))
        shares = np.exp(rng.uniform(-math.log(genes), 0.0, len(firsts)))
        mutants = np.array(
            [
                self._mutant(genome, step, share)
                for genome, step, share in zip(first.tolist(), steps, shares, strict=True)
            ]
        ).reshape(first.shape)
        certain = np.arange(genes) == rng.integers(0, genes, (len(firsts), 1))
        touched = (mutants != first) | certain
        step = np.where(certain & (mutants == first), steps[:, None] * rng.normal(size=first.shape), 0.0)
        return np.where(touched & self._chosen, rng.random(first.shape), mutants + step)

    def _mutant(self, genome: list[float], step: float, share: float) -> list[float]:
        chance = {"sigma": step, "indpb": share} if self._gaussian else {"indpb": share}
        mutant: list[float] = self._toolbox.mutate(genome, **chance)[0]
        return mutant

    def _immigrant(self, genomes: Array, firsts: Places, seconds: Places, rng: np.random.Generator) -> Array:
        return rng.random((len(firsts), genomes.shape[1]))


def _reflect(genomes: Array) -> Array:
    """Bounce off the walls of [0, 1]; clipping would pile children up on the bounds."""
    folded = np.abs(genomes) % 2.0
    return np.where(folded > 1.0, 2.0 - folded, folded)


def _origins(genomes: Array, parents: Brood, firsts: Places, seconds: Places, drawn: NDArray[np.str_]) -> Places:
    """A coordinate that is a parent's is from where that parent has it; imagined parents are no ancestors."""
    new = np.select([drawn == "mutation", drawn == "immigrant"], [MUTATED, SAMPLED], BLENDED)[:, None]
    second = np.where(genomes == parents.genomes[seconds], parents.origins[seconds], new)
    return np.where(genomes == parents.genomes[firsts], parents.origins[firsts], second)
