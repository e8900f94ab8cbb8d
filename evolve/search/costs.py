"""What a whole training of a genome is likely to take."""

from __future__ import annotations

import math

import numpy as np

from evolve.search.archive import representative
from evolve.search.base import Outcome
from evolve.search.geometry import Array
from evolve.search.surrogate import Surrogate, checkpoint, standard
from evolve.search.variation import Places
from evolve.trial import Role

FEWEST = 5
"""Trainings with a known duration before one is predicted."""

_MOST = 100


class Costs:
    """Learns the seconds of trainings: a Gaussian process on their logarithm.

    Args:
        full: What a whole training has, in the units of the rungs.
    """

    def __init__(self, full: float) -> None:
        self._full = full
        self._seen: list[Array] = []
        self._seconds: list[float] = []
        self._learnt = 0
        self._surrogate: Surrogate | None = None

    def add(self, outcome: Outcome, columns: Array) -> None:
        """Take in what a training took, reckoned up to a whole one where it was stopped.

        Args:
            outcome: Its verdict; of one that continued another, nothing is learnt, as it did only a part.
            columns: The genome as a model sees it.
        """
        if outcome.seconds <= 0 or outcome.failure is not None or outcome.proposal.role is Role.CONTINUATION:
            return
        share = max(outcome.rungs) / self._full if outcome.is_partial and outcome.rungs else 1.0
        self._seen.append(columns)
        self._seconds.append(math.log(outcome.seconds / share))

    def log_seconds(self, columns: Array) -> Array:
        """Expected logarithm of the seconds, less a constant; zeros while too little is known.

        Args:
            columns: Genomes as a model sees them, shape (n, columns).
        """
        count = len(self._seconds)
        if count < FEWEST:
            return np.zeros(len(columns))
        seconds = np.array(self._seconds)
        if self._surrogate is None or self._learnt != checkpoint(count):
            self._learnt = checkpoint(count)
            early = seconds[: self._learnt]
            places = representative(early, _MOST)
            self._surrogate = Surrogate(columns.shape[1])
            self._surrogate.learn(self._rows(places), standard(early[places]))
        places = representative(seconds, _MOST)
        rows, scale = self._rows(places), max(float(seconds[places].std()), 1e-9)
        self._surrogate.condition(rows, standard(seconds[places]), np.empty(0), rows)
        return self._surrogate.mean(columns) * scale

    def _rows(self, places: Places) -> Array:
        return np.array([self._seen[place] for place in places])
