"""Lets the search algorithm hear of epochs, and learns from it whose training is not worth another one."""

from __future__ import annotations

from collections.abc import Sequence

from evolve.fitness import Fitness
from evolve.roster import Running
from evolve.rung_values import RungBook
from evolve.search.base import Decision, SearchAlgorithm
from evolve.trial import EpochReport, Role, TrialFailed

_NEVER_STOPPED = (Role.PARTIAL, Role.FINAL)
"""Trained as far as they are meant to be; their epochs say nothing of the rungs."""


class Judge:
    """Passes on every rung of a training once, when it is passed, with the best fitness up to there.

    So an attempt that trains epochs again, or a report that was lost with its driver, changes no decision. Where
    the space has no rungs every epoch is passed on, as an algorithm may know what to do with it.

    Args:
        algorithm: Decides.
        rungs: Knows who has passed which.
        fitness: Of an epoch.
    """

    def __init__(self, algorithm: SearchAlgorithm, rungs: RungBook, fitness: Fitness) -> None:
        self._algorithm = algorithm
        self._rungs = rungs
        self._fitness = fitness

    def gives_up(self, running: Running, report: EpochReport) -> bool:
        """Whether a training is to be stopped after this epoch; only once, as a stop takes its time."""
        proposal = running.proposal
        if running.given_up or proposal.role in _NEVER_STOPPED:
            return False
        news = self._rungs.unheard(proposal.number) if self._rungs.exist else self._epoch(report)
        running.given_up = self._decides(proposal.number, news)
        return running.given_up

    def gave_up(self, number: int, role: Role) -> bool:
        """Whether a training of a former driver, whose epochs are in the books, was to be stopped at a rung.

        Args:
            number: The individual.
            role: What it is there for.
        """
        return role not in _NEVER_STOPPED and self._decides(number, self._rungs.unheard(number))

    def _decides(self, number: int, news: Sequence[tuple[int, float]]) -> bool:
        return any(self._algorithm.report(number, epoch, fitness) is Decision.STOP for epoch, fitness in news)

    def _epoch(self, report: EpochReport) -> list[tuple[int, float]]:
        try:
            return [(report.epoch, self._fitness.of(report.metrics))]
        except TrialFailed:
            return []  # an epoch without the metric says nothing yet; the result must have it
