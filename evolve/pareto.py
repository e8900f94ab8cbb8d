"""Which individuals of a search no other one beats in all objectives: the front, and how much it covers.

Values are those of `evolve.objectives`: a tuple for each individual, each value the larger the better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from evolve.trial import Role

if TYPE_CHECKING:
    from evolve.ledger.records import IndividualRecord

Values: TypeAlias = npt.NDArray[np.float64]

_PAIR = 2
_BLOCK = 256
_WHOLE = (Role.SEARCH, Role.CONTINUATION)
"""Who can be in the front: repeats with other seeds would let luck in, and finals were trained otherwise."""


def compared(individuals: Iterable[IndividualRecord]) -> list[IndividualRecord]:
    """Those that a front is made of, by number: trained themselves and in full, with all objectives."""
    return sorted(
        (
            each
            for each in individuals
            if each.objectives and each.fitness is not None and each.reused_from is None and each.role in _WHOLE
        ),
        key=lambda each: each.number,
    )


def front(individuals: Iterable[IndividualRecord]) -> list[IndividualRecord]:
    """The individuals that no other one beats in all objectives, the best in the first objective first."""
    candidates = compared(individuals)
    found = [candidates[place] for place in front_of([each.objectives for each in candidates])]
    return sorted(found, key=lambda each: (*(-value for value in each.objectives), each.number))


def front_of(values: Sequence[Sequence[float]] | Values) -> list[int]:
    """Places of the points that no other point dominates, ascending; of equal points all are in it.

    A point dominates another if it is nowhere worse and somewhere better.
    """
    points = np.asarray(values, dtype=np.float64)
    if not len(points):
        return []
    # in this order nothing is dominated by what comes later
    order = np.lexsort(-points.T[::-1])
    kept = _front_of_pairs(points[order]) if points.shape[1] == _PAIR else _front_of_many(points[order])
    return sorted(int(place) for place in order[kept])


def _front_of_pairs(ordered: Values) -> npt.NDArray[np.intp]:
    """With two objectives, a point is in the front if it is better in the second than all before it."""
    second = ordered[:, 1]
    before = np.concatenate(([-np.inf], np.maximum.accumulate(second)[:-1]))
    best = second > before
    # an equal of one in the front follows right after it
    leader = np.maximum.accumulate(np.where(best, np.arange(len(ordered)), 0))
    return np.flatnonzero((ordered == ordered[leader]).all(axis=1))


def _front_of_many(ordered: Values) -> npt.NDArray[np.intp]:
    """Block by block against the front so far, so that memory stays small and the loops are numpy's."""
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(ordered), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(ordered)))
        block = block[~_dominated(ordered[block], ordered[kept])]
        kept = np.concatenate((kept, block[~_dominated(ordered[block], ordered[block])]))
    return kept


def _dominated(points: Values, by: Values) -> npt.NDArray[np.bool_]:
    """For each point, whether one of `by` is nowhere worse and somewhere better."""
    shape = (len(points), len(by))
    nowhere_worse, somewhere_better = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for column in range(points.shape[1]):
        mine, theirs = points[:, column, None], by[None, :, column]
        nowhere_worse &= theirs >= mine
        somewhere_better |= theirs > mine
    return np.asarray((nowhere_worse & somewhere_better).any(axis=1), dtype=np.bool_)


def hypervolume(values: Sequence[Sequence[float]] | Values, reference: Sequence[float]) -> float:
    """The volume that points dominate above a reference point; what lies below that adds nothing.

    Exact, by slices along the last objective; made for fronts, not for crowds, where there are more than three.
    """
    points = np.asarray(values, dtype=np.float64).reshape(-1, len(reference)) - np.asarray(reference, np.float64)
    return _volume(points[(points > 0).all(axis=1)])


def _volume(points: Values) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = points[front_of(points)]
    points = points[np.argsort(-points[:, -1], kind="stable")]
    if points.shape[1] == _PAIR:
        widths = np.maximum.accumulate(points[:, 0])
        heights = points[:, 1] - np.append(points[1:, 1], 0.0)
        return float(widths @ heights)
    below = np.append(points[1:, -1], 0.0)
    thick = points[:, -1] - below
    return float(sum(depth * _volume(points[: place + 1, :-1]) for place, depth in enumerate(thick) if depth > 0))
