"""The first individuals: the default, what is known to be worth a trial, and points that fill the space evenly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from evolve.codec import Codec
from evolve.search.base import Genome
from evolve.search.breeding import Birth, unbred
from evolve.space import SearchSpace


class Beginning:
    """Individuals that nobody bred.

    Args:
        space: The space.
        codec: Its codec.
        points: Known configurations, the most interesting first, with scores if somebody has trained them.
    """

    def __init__(self, space: SearchSpace, codec: Codec, points: Sequence[tuple[Genome, float | None]]) -> None:
        self._settings = space.search
        self._codec = codec
        wanted = [genome for genome, score in points if score is None]
        trained = [genome for genome, score in points if score is not None]
        default = codec.encode(space.default())
        known = [genome for genome in wanted + trained[: space.search.population // 2] if genome != default]
        self._given = [
            unbred(default, "default", "default"),
            *(unbred(genome, "known", "known") for genome in known),
        ]

    def given(self, number: int) -> Birth | None:
        """The default as number 0, then known ones: all that nobody has trained yet, and the best few others."""
        return self._given[number] if number < len(self._given) else None

    def design(self, number: int) -> Birth:
        """A point of the design that fills the space, for a number in the first generation."""
        settings = self._settings
        design = start_design(settings.start, self._codec.dimensions, settings.population, settings.seed)
        return unbred(self._codec.canonical(design[number]), settings.start)


@lru_cache(maxsize=8)
def start_design(kind: str, dimensions: int, count: int, seed: int) -> tuple[Genome, ...]:
    """`count` points in the unit cube.

    Args:
        kind: `sobol` (scrambled) or `latin_hypercube`.
        dimensions: Coordinates of a point.
        count: Number of points.
        seed: Equal seeds give equal points.
    """
    from scipy.stats import qmc

    if kind == "latin_hypercube":
        points = qmc.LatinHypercube(dimensions, rng=seed).random(count)
    else:
        # a power of two keeps the sequence balanced; what is over is cut off
        points = qmc.Sobol(dimensions, rng=seed).random_base2((count - 1).bit_length())[:count]
    return tuple(tuple(float(x) for x in point) for point in points)
