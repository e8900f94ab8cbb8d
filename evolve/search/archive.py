"""What the trainings so far have told, in the form that a model learns from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evolve.search.base import Outcome
from evolve.search.geometry import Array, Geometry
from evolve.search.pareto import scalarise
from evolve.search.surrogate import warp
from evolve.search.variation import Places
from evolve.trial import FailureKind, Role

_SPAN = 4.0
"""Log of the ratio between two lengths of training that lie as far apart, to a model, as the ends of a gene."""

ENOUGH = 8
"""Whole trainings after which partial ones teach nothing more."""
_PATIENCE = 8
_TRIFLE = 0.01
_RECENT = 0.25
_BEST = 0.5


class Archive:
    """Observations in the order in which they were learnt: of whole trainings, and of the rungs on the way.

    Args:
        geometry: Of the space.
        full: What a whole training has, in the units of the rungs.
    """

    def __init__(self, geometry: Geometry, full: float = 1.0) -> None:
        self._geometry = geometry
        self._full = full
        self.numbers: list[int] = []
        self.holders: dict[int, int] = {}  # under which number those that entered as another were trained in full
        self._rungs: set[tuple[int, float]] = set()
        self._genomes: list[Array] = []
        self._lengths: list[float] = []
        self._values: list[tuple[float, ...]] = []
        self._whole = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, outcome: Outcome, number: int) -> None:
        """Take in a verdict. One that diverged is worse than all that did not; other failures teach nothing.

        Args:
            outcome: The verdict.
            number: Under which the individual first entered; what it told on former rungs is known already.
        """
        for level, fitness in sorted(outcome.rungs.items()):
            if level < self._full and (number, level) not in self._rungs:
                self._rungs.add((number, level))
                self._enter(outcome, number, math.log(level / self._full) / _SPAN, (fitness,))
        if outcome.fitness is not None:
            if outcome.proposal.role is not Role.REPEAT:
                self.holders[number] = outcome.proposal.number
            self._enter(outcome, number, 0.0, outcome.objectives or (outcome.fitness,))
        elif outcome.failure is FailureKind.DIVERGED:
            self._enter(outcome, number, 0.0, (-math.inf,))

    def _enter(self, outcome: Outcome, number: int, length: float, values: tuple[float, ...]) -> None:
        self.numbers.append(number)
        self._genomes.append(self._geometry.snap(np.array([outcome.proposal.genome]))[0])
        self._lengths.append(length)
        self._values.append(values)
        self._whole += length == 0

    def individuals(self) -> list[Array]:
        """Snapped genomes of all individuals, each once."""
        return list(dict(zip(self.numbers, self._genomes, strict=True)).values())

    @property
    def is_stalled(self) -> bool:
        """Whether the latest whole trainings brought nothing better, but for trifles.

        What is a trifle is told by how much the first of them differ, which no model chose.
        """
        whole = [values[0] for values, length in zip(self._values, self._lengths, strict=True) if length == 0]
        if len(whole) <= 2 * _PATIENCE:
            return False
        gained = max(whole) - max(whole[:-_PATIENCE])
        return bool(gained <= _TRIFLE * (max(whole) - float(np.median(whole[:_PATIENCE]))))

    @property
    def is_rich(self) -> bool:
        """Whether enough is known of whole trainings to do without what rungs tell of them."""
        return self._whole >= ENOUGH

    def telling(self) -> Places:
        """Places of the observations to learn from, in order.

        Partial trainings are all that there is at first. But what learns fast is not what learns most in the end,
        and a model that has seen both would rather believe the many partial ones than the few whole ones.
        """
        lengths = np.array(self._lengths)
        return np.flatnonzero(lengths == 0) if self.is_rich else np.arange(len(lengths))

    def scores(self, places: Places, weights: Array | None = None) -> Array:
        """Warped scores of some observations.

        Args:
            places: One or more.
            weights: Of the objectives; equal ones by default.
        """
        found = [self._values[place] for place in places]
        width = max(map(len, found))
        rows = np.array([values if len(values) == width else (-math.inf,) * width for values in found])
        learnt = np.isfinite(rows).all(axis=1)
        if not learnt.any():
            return np.zeros(len(places))
        fitness = np.empty(len(places))
        if width == 1:
            fitness[learnt] = rows[learnt, 0]
        else:
            fitness[learnt] = scalarise(rows[learnt], np.full(width, 1 / width) if weights is None else weights)
        fitness[~learnt] = fitness[learnt].min()
        return warp(fitness)

    def genomes(self, places: Sequence[int] | Places) -> Array:
        """Snapped genomes of some observations, shape (n, genes)."""
        return np.array([self._genomes[place] for place in places]).reshape(len(places), -1)

    def seen(self, places: Sequence[int] | Places) -> Array:
        """Some observations as a model sees them: the columns of the genomes, and the length of the training."""
        lengths = np.array([self._lengths[place] for place in places])
        return np.column_stack([self._geometry.columns(self.genomes(places)), lengths])

    def whole(self, places: Sequence[int] | Places) -> Places:
        """Those of some observations that are of whole trainings."""
        return np.array([place for place in places if self._lengths[place] == 0], dtype=np.int64)


def representative(scores: Array, most: int) -> Places:
    """Places of at most so many observations: the best, the latest, and an even choice of all others, in order.

    What a model costs grows with the cube of what it knows, and of ten thousand trainings most say the same.
    """
    count = len(scores)
    if count <= most:
        return np.arange(count)
    chosen = set(np.argsort(-scores, kind="stable")[: int(_BEST * most)].tolist())
    chosen |= set(range(count - int(_RECENT * most), count))
    others = [place for place in range(count) if place not in chosen]
    spread = np.linspace(0, len(others) - 1, most - len(chosen)).round().astype(int)
    return np.array(sorted(chosen | {others[place] for place in spread}))
