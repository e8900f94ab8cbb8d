"""What a generation amounts to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from evolve.search.base import Genome
from evolve.trial import Json


@dataclass(frozen=True)
class Member:
    """An individual with its verdict, as far as statistics care."""

    number: int
    genome: Genome
    fitness: float | None
    reused: bool = False
    stopped: bool = False


class GenerationBook:
    """Collects verdicts until a generation is complete; holds incomplete generations only.

    Args:
        population: Individuals in a generation.
    """

    def __init__(self, population: int) -> None:
        self._population = population
        self._open: defaultdict[int, list[Member]] = defaultdict(list)

    def enter(self, generation: int, member: Member) -> dict[str, Json] | None:
        """Take in a verdict; the statistics of the generation if it was the last one missing."""
        members = self._open[generation]
        members.append(member)
        if len(members) < self._population:
            return None
        del self._open[generation]
        return statistics(members)


def statistics(members: list[Member]) -> dict[str, Json]:
    """Population statistics.

    Returns:
        `evaluated`, `failed`, `stopped`, `reused` (counts); `best`, `mean`, `median`, `worst`, `std` (fitness, None
        if there is none); `best_individual` (a number, or None); `diversity` (mean over the genes of the standard
        deviation of their coordinates: 0 for a population of twins, about 0.29 for one spread evenly).
    """
    members = sorted(members, key=lambda member: member.number)
    scored = [(member.fitness, member.number) for member in members if member.fitness is not None]
    fitness = np.array([value for value, _ in scored])
    best = max(scored, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    stopped = sum(member.stopped for member in members)
    genomes = np.array([member.genome for member in members])
    return {
        "evaluated": len(scored),
        "failed": len(members) - len(scored) - stopped,
        "stopped": stopped,
        "reused": sum(member.reused for member in members),
        "best": best[0],
        "best_individual": best[1],
        "mean": float(fitness.mean()) if scored else None,
        "median": float(np.median(fitness)) if scored else None,
        "worst": float(fitness.min()) if scored else None,
        "std": float(fitness.std()) if scored else None,
        "diversity": float(genomes.std(axis=0).mean()),
    }
