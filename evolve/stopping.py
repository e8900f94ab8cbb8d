"""When a search has done enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evolve.space import SearchSettings, StopSettings


@dataclass
class Totals:
    """What has been spent and reached so far.

    Attributes:
        told: Individuals with a verdict.
        trained: Whole trainings that the evaluations amount to; one that was stopped, or is partial, counts by its
            share of a whole one. Reused results cost nothing and are not counted.
        gpu_seconds: GPU time of all attempts.
        wall_seconds: Time with a driver at work, pauses between a crash and its resume left out.
        best: Best fitness, or None.
        improved_at: Value of `told` at the last improvement.
    """

    told: int = 0
    trained: float = 0.0
    gpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    best: float | None = None
    improved_at: int = 0

    def count(self, fitness: float | None) -> None:
        """Take in one verdict."""
        self.told += 1
        if fitness is not None and (self.best is None or fitness > self.best):
            self.best, self.improved_at = fitness, self.told


class StopRules:
    """The rules of a space's `stop:` section, and the number of generations.

    Rules about money are looked at all the time. Rules about results are, in a generational search, looked at
    when a generation is complete, so that they cannot depend on which trial of it came home first.
    """

    def __init__(self, search: SearchSettings, stop: StopSettings) -> None:
        self._search = search
        self._stop = stop
        self.individuals = search.population * search.generations

    def reason(self, totals: Totals) -> str | None:
        """Why to stop now, in words for a person; None to go on."""
        return self._spent(totals) or self._reached(totals)

    def evaluations_left(self, totals: Totals, running: int = 0) -> int:
        """How many trainings may still be begun, each counted as a whole one until it is stopped.

        Args:
            totals: What was done.
            running: Trainings that have begun.
        """
        if self._stop.evaluations is None:
            return self.individuals
        # shares of trainings that were continued to their end may miss 1 by a rounding error
        return math.ceil(round(self._stop.evaluations - totals.trained, 6)) - running

    def _spent(self, totals: Totals) -> str | None:
        stop = self._stop
        if totals.told >= self.individuals:
            return f"{_amount(self._search.generations, 'generation')} complete"
        if stop.evaluations is not None and self.evaluations_left(totals) <= 0:
            return f"{_amount(round(totals.trained), 'evaluation')} done (stop.evaluations)"
        if stop.hours is not None and totals.wall_seconds >= stop.hours * 3600:
            return f"{stop.hours:g} hours are over (stop.hours)"
        if stop.gpu_hours is not None and totals.gpu_seconds >= stop.gpu_hours * 3600:
            return f"{stop.gpu_hours:g} GPU-hours are spent (stop.gpu_hours)"
        return None

    def _reached(self, totals: Totals) -> str | None:
        stop, population = self._stop, self._search.population
        if self._search.generational and totals.told % population:
            return None
        if stop.target is not None and totals.best is not None and totals.best >= stop.target:
            return f"fitness {totals.best:.4f} reached the target {stop.target:g} (stop.target)"
        if stop.plateau is not None and totals.told - totals.improved_at >= stop.plateau * population:
            span = "a generation" if stop.plateau == 1 else f"{stop.plateau} generations"
            return f"no improvement for {span} (stop.plateau)"
        return None


def _amount(count: int, noun: str) -> str:
    return f"1 {noun} is" if count == 1 else f"{count} {noun}s are"
