"""Between genomes, which the search sees, and configurations, which are trained."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from evolve.trial import Json

if TYPE_CHECKING:
    import numpy as np

    from evolve.space.document import SearchSpace

Genome: TypeAlias = tuple[float, ...]
"""A coordinate in [0, 1] for each gene, in the order of the space."""

_REJECTIONS = 100
_PULLS = 12


class Codec:
    """Converts between genomes and configurations of one space.

    Attributes:
        names: Names of the genes, in the order of a genome's coordinates.
        dimensions: Their number.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._genes = dict(space.genes)
        self.names: tuple[str, ...] = tuple(self._genes)
        self.dimensions = len(self.names)
        self._default: Genome = tuple(self._encode_gene(name, gene.default) for name, gene in self._genes.items())

    def decode(self, genome: Sequence[float]) -> dict[str, Json]:
        """The values of the genes that exist. Coordinates outside [0, 1] count as the nearest end.

        Raises:
            ValueError: if the genome has the wrong length or holds a NaN.
        """
        if len(genome) != self.dimensions:
            raise ValueError(f"a genome of this space has {self.dimensions} coordinates, but got {len(genome)}")
        if any(math.isnan(coordinate) for coordinate in genome):
            raise ValueError(f"coordinates must be numbers, but got {genome}")
        values: dict[str, Json] = {
            name: gene.decode(min(max(float(coordinate), 0.0), 1.0))
            for (name, gene), coordinate in zip(self._genes.items(), genome, strict=True)
        }
        active = self._space.active(values)
        return {name: value for name, value in values.items() if name in active}

    def encode(self, params: Mapping[str, Json]) -> Genome:
        """The genome of a configuration; a gene without a value gets its default's coordinate.

        Raises:
            ValueError: if a name or value is not one of the space.
        """
        if unknown := params.keys() - self._genes.keys():
            raise ValueError(f"this space has no gene {min(unknown)!r}")
        return tuple(
            self._encode_gene(name, params[name]) if name in params else default
            for name, default in zip(self.names, self._default, strict=True)
        )

    def canonical(self, genome: Sequence[float]) -> Genome:
        """The one genome for all that decode to the same configuration."""
        return self.encode(self.decode(genome))

    def key(self, params: Mapping[str, Json]) -> str:
        """A digest of a configuration: equal keys are the same training."""
        values = [[name, _plain_number(params[name])] for name in self.names if name in params]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]

    def feasible(self, genome: Sequence[float]) -> bool:
        """Whether all constraints hold."""
        return not self._space.violated(self.decode(genome))

    def repair(self, genome: Sequence[float]) -> Genome:
        """A feasible, canonical genome: this one if it can be, else one on the way to the default configuration.

        The default satisfies every constraint, so half the distance, a quarter and so on are tried, and then the
        default itself.
        """
        for _ in range(_PULLS):
            candidate = self.canonical(genome)
            if self.feasible(candidate):
                return candidate
            genome = [(home + away) / 2 for home, away in zip(self._default, genome, strict=True)]
        return self.canonical(self._default)

    def mend(self, genome: Sequence[float]) -> Genome | None:
        """A feasible, canonical genome that differs from this one only where it breaks a rule.

        The genes that broken rules name go to the default: numbers half the way, a quarter and so on. Unlike
        `repair`, this leaves all others alone, so that what is known of the genome still says something.

        Returns:
            None where that is not enough.
        """
        named: set[str] = set()
        for pull in range(_PULLS + 1):
            candidate = self.canonical(genome)
            broken = self._space.violated(self.decode(candidate))
            if not broken:
                return candidate
            named |= {name for rule in broken for name in rule.names}
            genome = tuple(
                self._pulled(name, home, away, whole=pull == _PULLS - 1) if name in named else away
                for name, home, away in zip(self.names, self._default, genome, strict=True)
            )
        return None

    def _pulled(self, name: str, home: float, away: float, *, whole: bool) -> float:
        if whole or self._genes[name].choice_count is not None:  # what lies between two choices means nothing
            return home
        return (home + away) / 2

    def sample(self, rng: np.random.Generator) -> Genome:
        """A feasible, canonical genome: uniform in [0, 1] among the feasible ones, unless those are very rare."""
        for _ in range(_REJECTIONS):
            genome = self.canonical(rng.random(self.dimensions).tolist())
            if self.feasible(genome):
                return genome
        return self.repair(genome)

    def _encode_gene(self, name: str, value: Json) -> float:
        gene = self._genes[name]
        if problem := gene.problem(value):
            raise ValueError(f"gene {name!r}: {problem}")
        return gene.encode(value)  # type: ignore[arg-type]  # problem() has checked that the gene takes it


def _plain_number(value: Json) -> Json:
    """Make 1.0 and 1 the same."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
