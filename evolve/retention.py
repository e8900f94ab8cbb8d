"""Which weights are worth their room on the disk: those of the best individuals and of the default one."""

from __future__ import annotations

import heapq
import shutil
from pathlib import Path

from evolve.specs import trial_directory


class WeightShelf:
    """Keeps the folders of the best few individuals and of individual 0, and removes all others.

    Ten thousand trainings of a small model leave 50 GB of weights otherwise. What a trial reported is in the
    ledger; its folder holds nothing else that is needed.

    Args:
        directory: Folder of the search.
        size: How many of the best to keep, beside individual 0.
    """

    def __init__(self, directory: Path, size: int = 5) -> None:
        self._directory = directory
        self._size = size
        self._best: list[tuple[float, int]] = []

    def offer(self, number: int, fitness: float | None) -> None:
        """Take in a verdict, and throw out whatever it pushes off the shelf."""
        if number == 0:
            return
        if fitness is None:
            self._remove(number)
            return
        heapq.heappush(self._best, (fitness, -number))
        if len(self._best) > self._size:
            self._remove(-heapq.heappop(self._best)[1])

    def _remove(self, number: int) -> None:
        # another process may look into the folder; what cannot be removed costs room, not correctness
        shutil.rmtree(trial_directory(self._directory, number), ignore_errors=True)
