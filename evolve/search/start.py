"""The first generation: points that fill the space evenly."""

from __future__ import annotations

from functools import lru_cache

from evolve.search.base import Genome


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
