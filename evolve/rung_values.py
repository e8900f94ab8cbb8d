"""What trainings reached at their rungs, and what share of a whole training each of them was.

A rung's value is the best fitness that a training, with those that it continues, had reached by then. Where rungs
are measured in epochs it comes from the reports, else from the result of a training that is partial by design.
"""

from __future__ import annotations

from collections.abc import Mapping

from evolve.ledger import Ledger
from evolve.search.base import Outcome, Proposal
from evolve.space import SearchSpace
from evolve.specs import proposal_of
from evolve.trial import EpochReport, Json, Role, TrialFailed

_EPOCHS = "epochs"


class RungBook:
    """The values at the rungs, of those in training and of those that may be continued.

    All of it can be rebuilt from the ledger, which is read for individuals that were in training under a former
    driver and for those that continue others, and never where the space has no rungs.

    Args:
        space: Whose rungs.
        ledger: Where reports are read.
        search_id: The search.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger, search_id: str) -> None:
        self._levels = space.rung_levels()
        rungs = space.search.rungs
        self._over = rungs.over if rungs is not None and self._levels else ""
        self._share = space.training_share
        self._fitness = space.fitness
        self._ledger = ledger
        self._search_id = search_id
        self._curves: dict[int, dict[int, float]] = {}  # of those in training: epoch -> fitness
        self._heard: dict[int, float] = {}  # of those in training: the last rung that the search has heard of
        self._partial: dict[int, Mapping[float, float]] = {}  # rungs of those that were stopped, or are partial
        self._done: dict[int, float] = {}  # share of a whole training that was done before it was stopped

    # reports

    @property
    def exist(self) -> bool:
        """Whether the space has rungs, of whichever kind."""
        return bool(self._over)

    def begin(self, proposal: Proposal) -> None:
        """An attempt will be made at a training."""
        number = proposal.number
        if self._over != _EPOCHS or _EPOCHS in proposal.settings or number in self._curves:
            return
        self._curves[number] = curve = self._of_originals(proposal)
        self._heard[number] = max(curve, default=0)

    def restore(self, proposal: Proposal) -> None:
        """Take up a training that has reported under a former driver."""
        self.begin(proposal)
        if proposal.number in self._curves:
            for epoch, fitness in self._reported(proposal.number):
                _enter(self._curves[proposal.number], epoch, fitness)

    def unheard(self, number: int) -> list[tuple[int, float]]:
        """Rungs, in epochs, that a training has passed since this was last asked, with the values there.

        Those that the training it continues has passed are not among them: they have been judged.
        """
        passed = _passed(self._curves.get(number, {}), self._levels)
        heard = self._heard.get(number, 0)
        self._heard[number] = max(heard, *passed) if passed else heard
        return [(round(level), value) for level, value in passed.items() if level > heard]

    def add(self, number: int, report: EpochReport) -> None:
        """Take in an epoch."""
        curve = self._curves.get(number)
        if curve is not None and (fitness := self._value(report.metrics)) is not None:
            _enter(curve, report.epoch, fitness)

    def _of_originals(self, proposal: Proposal) -> dict[int, float]:
        """The epochs that a training continues, of one original after another."""
        curve: dict[int, float] = {}
        while proposal.role is Role.CONTINUATION and proposal.original is not None:
            record = self._ledger.individuals(self._search_id, numbers=[proposal.original])[0]
            if record.role is Role.PARTIAL:
                break
            for epoch, fitness in self._reported(record.number):
                _enter(curve, epoch, fitness)
            proposal = proposal_of(record)
        return curve

    def _reported(self, number: int) -> list[tuple[int, float]]:
        reports = self._ledger.epochs(self._search_id, number)
        values = [(each.epoch, self._value(each.metrics)) for each in reports]
        return [(epoch, fitness) for epoch, fitness in values if fitness is not None]

    def _value(self, metrics: Mapping[str, float]) -> float | None:
        try:
            return self._fitness.of(metrics)
        except TrialFailed:
            return None  # an epoch without the metric says nothing; the result must have it

    # verdicts

    def values(self, proposal: Proposal, fitness: float | None = None) -> dict[float, float]:
        """The rungs that a training has passed, those of the training it continues included.

        Args:
            proposal: What was trained.
            fitness: Of its result, if it has one.
        """
        if not self._over:
            return {}
        if proposal.number in self._curves:
            return _passed(self._curves[proposal.number], self._levels)
        passed = {} if proposal.original is None else dict(self._partial.get(proposal.original, {}))
        if proposal.role is Role.PARTIAL and fitness is not None and self._over in proposal.settings:
            passed[_number(proposal.settings[self._over])] = fitness
        return passed

    def settle(self, outcome: Outcome) -> float:
        """A verdict on a training is in; the share of a whole one that was done for it.

        That of a training that was stopped ends at its last rung; what a continuation went on from is not counted
        again, and a training that failed counts as none.
        """
        proposal = outcome.proposal
        self._curves.pop(proposal.number, None)
        self._heard.pop(proposal.number, None)
        if outcome.failure is not None:
            return 0.0
        goes_on = proposal.role is Role.CONTINUATION and proposal.original is not None
        before = self._done.get(proposal.original or 0, 0.0) if goes_on else 0.0
        if not outcome.is_partial:
            return 1.0 - before
        self._partial[proposal.number] = outcome.rungs
        done = self._share(max(outcome.rungs, default=0.0))
        if proposal.role is not Role.PARTIAL:  # a partial training is not gone on with, but repeated in full
            self._done[proposal.number] = done
        return max(0.0, done - before)


def _passed(curve: Mapping[int, float], levels: tuple[float, ...]) -> dict[float, float]:
    """The best up to each level that the curve has reached."""
    passed: dict[float, float] = {}
    for level in levels:
        before = [fitness for epoch, fitness in curve.items() if epoch <= level]
        if before and max(curve) >= level:
            passed[level] = max(before)
    return passed


def _enter(curve: dict[int, float], epoch: int, fitness: float) -> None:
    """Of an epoch that was trained more than once, the best counts."""
    curve[epoch] = max(fitness, curve.get(epoch, fitness))


def _number(value: Json) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a rung is a number, but got {value!r}")  # the space was checked
    return float(value)
