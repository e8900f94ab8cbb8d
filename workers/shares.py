"""What one trial holds of a machine."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

SMALLEST_SHARE = 0.125  # of a core: thousands of processes by a slip of the finger would take the machine down


@dataclass(frozen=True)
class Share:
    """What one trial holds of a node: CPU cores and GPUs; fractions share a device."""

    cpus: float
    gpus: float

    def fits(self, resources: Mapping[str, float]) -> int:
        """How many such shares a node with these resources holds; a fraction never spans two GPUs."""
        limits = []
        if self.cpus:
            limits.append(_whole(resources.get("CPU", 0.0) / self.cpus))
        if self.gpus:
            devices = resources.get("GPU", 0.0)
            split = self.gpus < 1
            limits.append(int(devices) * _whole(1 / self.gpus) if split else _whole(devices / self.gpus))
        return min(limits) if limits else sys.maxsize

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"


def equal_share(cores: float, workers: int) -> float:
    """Cores for each of `workers` trials: whole ones if there are enough, an eighth at least."""
    if cores >= workers:
        return float(cores // workers)
    return max(SMALLEST_SHARE, math.floor(1e4 * cores / workers) / 1e4)


def _whole(quotient: float) -> int:
    return math.floor(quotient + 1e-6)
