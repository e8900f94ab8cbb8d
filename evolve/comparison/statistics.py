"""Whether one way to search finds more than another, or was only luckier.

A run is one observation, however many individuals it has: they descend from each other, so that a test over
individuals would find a difference between any two runs. What is tested is the best fitness of whole runs.

Permutation tests (exact where there are few runs) of the difference between means; Vargha and Delaney's measure of
effect, "A Critique and Improvement of the CL Common Language Effect Size Statistics" (2000); Holm's correction, "A
Simple Sequentially Rejective Multiple Test Procedure" (1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
FEWEST = 2
"""Runs that a contender needs for any test."""

_RESAMPLES = 19_999  # exact up to 8 runs against 8, or 14 pairs
_SEED = 0
_Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """Two contenders against each other.

    Attributes:
        first: Name of one.
        second: Name of the other.
        paired: Whether runs of equal seed were compared with each other.
        runs: How many of each were compared.
        difference: Mean of the first minus mean of the second.
        low: Lower end of its 95 % bootstrap interval, which few runs make too narrow.
        high: Upper end of it.
        superiority: How often a run of the first reaches more than one of the second, equals counting half.
        p: Of the permutation test, two-sided.
        adjusted: The same by Holm's correction for all contrasts that were made with it.
        least: The smallest value that `p` could have had with so many runs.
        hopeless: Whether so few runs could not have shown any difference.
        needed: Runs of each with which a difference could be shown at all.
    """

    first: str
    second: str
    paired: bool
    runs: tuple[int, int]
    difference: float
    low: float
    high: float
    superiority: float
    p: float
    adjusted: float
    least: float
    hopeless: bool
    needed: int

    @property
    def shown(self) -> bool:
        """Whether the runs show that the two differ."""
        return self.adjusted <= LEVEL


def contrasts(groups: Mapping[str, Mapping[int, float]], pairs: Sequence[tuple[str, str]]) -> list[Contrast]:
    """Test some pairs of contenders, with Holm's correction over all of them.

    Args:
        groups: For each contender its results by seed, at least `FEWEST` of them.
        pairs: Which ones to compare.
    """
    found = [contrast(groups, pair, len(pairs)) for pair in pairs]
    adjusted = holm([each.p for each in found])
    return [replace(each, adjusted=value) for each, value in zip(found, adjusted, strict=True)]


def contrast(groups: Mapping[str, Mapping[int, float]], pair: tuple[str, str], comparisons: int = 1) -> Contrast:
    """Test one pair of contenders.

    Runs are paired by seed if the seeds of one all occur with the other and the pairs are enough to show anything.
    With fewer, they are compared as if they were independent: runs that share a seed are alike, if anything, which
    makes that test too careful and never too bold.
    """
    one, other = groups[pair[0]], groups[pair[1]]
    seeds = sorted(one.keys() & other.keys())
    paired = len(seeds) == min(len(one), len(other)) and len(seeds) >= fewest(comparisons, paired=True)
    if paired:
        first, second = _array(one[seed] for seed in seeds), _array(other[seed] for seed in seeds)
        differences = first - second
        superiority = float(np.mean(_wins(differences)))
        difference, low, high, p = _tested_pairs(differences)
        least = 2.0 ** (1 - len(seeds))
    else:
        first, second = _array(sorted(one.values())), _array(sorted(other.values()))
        superiority = float(np.mean(_wins(first[:, None] - second[None, :])))
        difference, low, high, p = _tested_groups(first, second)
        least = min(1.0, 2 / math.comb(len(first) + len(second), len(first)))
    runs = (len(first), len(second))
    needed = fewest(comparisons, paired=False)
    hopeless = least * comparisons > LEVEL
    return Contrast(*pair, paired, runs, difference, low, high, superiority, p, p, least, hopeless, needed)


def fewest(comparisons: int, *, paired: bool) -> int:
    """Runs of each that can give a p value which survives the correction for so many comparisons."""
    ways = (2.0 ** (size - 1) if paired else math.comb(2 * size, size) / 2 for size in count(FEWEST))
    return FEWEST + next(index for index, way in enumerate(ways) if comparisons / way <= LEVEL)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's correction: p values that hold for all of them together, in the order given."""
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def _tested_pairs(differences: _Values) -> tuple[float, float, float, float]:
    """Mean difference, its interval, and the p value of a sign-flip test.

    Whichever way round they are given, they are computed in the same one, so that chance cannot tell the two apart.
    """
    forth, back = np.sort(differences), np.sort(-differences)
    turned = tuple(back) > tuple(forth)
    values = back if turned else forth
    low, high = _interval((values,), lambda sample, axis: np.mean(sample, axis=axis))
    p = _permuted((values,), lambda sample, axis: np.mean(sample, axis=axis), "samples")
    return _turned(float(np.mean(values)), low, high, p, turned=turned)


def _tested_groups(first: _Values, second: _Values) -> tuple[float, float, float, float]:
    """The same for two independent groups, each in ascending order."""
    turned = (len(second), *second) > (len(first), *first)
    groups = (second, first) if turned else (first, second)
    low, high = _interval(groups, _mean_difference)
    p = _permuted(groups, _mean_difference, "independent")
    return _turned(float(np.mean(groups[0]) - np.mean(groups[1])), low, high, p, turned=turned)


def _turned(
    difference: float, low: float, high: float, p: float, *, turned: bool
) -> tuple[float, float, float, float]:
    return (-difference, -high, -low, p) if turned else (difference, low, high, p)


def _mean_difference(first: _Values, second: _Values, axis: int) -> Any:
    return np.mean(first, axis=axis) - np.mean(second, axis=axis)


def _permuted(groups: tuple[_Values, ...], statistic: Any, kind: str) -> float:
    from scipy.stats import permutation_test

    if _constant(groups, around_zero=kind == "samples"):
        return 1.0
    found = permutation_test(
        groups, statistic, permutation_type=kind, vectorized=True, n_resamples=_RESAMPLES,
        rng=np.random.default_rng(_SEED),
    )  # fmt: skip
    return float(found.pvalue)


def _interval(groups: tuple[_Values, ...], statistic: Any) -> tuple[float, float]:
    from scipy.stats import bootstrap

    found = bootstrap(
        groups, statistic, vectorized=True, n_resamples=_RESAMPLES, method="percentile",
        rng=np.random.default_rng(_SEED),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _constant(groups: tuple[_Values, ...], *, around_zero: bool) -> bool:
    """Whether no permutation changes anything, so that rounding alone would decide."""
    values = np.concatenate(groups)
    return bool(np.all(values == 0.0)) if around_zero else bool(np.all(values == values[0]))


def _wins(differences: _Values) -> _Values:
    return (np.sign(differences) + 1) / 2


def _array(values: Any) -> _Values:
    return np.array(list(values), dtype=np.float64)
