"""Trainings that take no time: a search is driven epoch by epoch, on as many workers as a test wants."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from evolve.search.base import Decision, Outcome, Proposal, SearchAlgorithm
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Role

Curve = Callable[[Proposal, float], float]
"""Fitness of a proposal after so much of a training, in the units of the rungs."""


@dataclass(frozen=True)
class Report:
    """What a search heard of a training on a rung, and what it said."""

    number: int
    epoch: int
    fitness: float
    decision: Decision


Event: TypeAlias = Proposal | Report | Outcome


@dataclass
class Training:
    """One that is running.

    Attributes:
        done: Epochs so far, those of the individual that it continues included.
        best: Best fitness so far.
        rungs: Those it has passed.
        began: Epochs that it did not train itself.
    """

    proposal: Proposal
    done: int = 0
    best: float = float("-inf")
    rungs: dict[float, float] = field(default_factory=dict)
    began: int = 0


class Trials:
    """Does to a search what the runner does, with trainings that are but numbers.

    Attributes:
        log: All that passed between the search and its trials, in order.
        clock: Simulated seconds.
        epochs: Epochs that were trained, over all.

    Args:
        searched: The space; its rungs and epochs count.
        search: A fresh search of it, or one that was replayed.
        curve: What a training comes to.
        slots: How many run at once.
        pace: Seconds of an epoch.
        failure: What befalls a training in its last epoch.
        chance: Decides who finishes an epoch next; the clock does without.
    """

    def __init__(
        self,
        searched: SearchSpace,
        search: SearchAlgorithm,
        curve: Curve,
        *,
        slots: int = 1,
        pace: Callable[[Proposal], float] = lambda proposal: 1.0,
        failure: Callable[[Proposal], FailureKind | None] = lambda proposal: None,
        objectives: Callable[[Proposal], tuple[float, ...]] = lambda proposal: (),
        chance: random.Random | None = None,
    ) -> None:
        self.search = search
        self._curve, self._slots, self._pace, self._failure = curve, slots, pace, failure
        self._objectives, self._chance = objectives, chance
        self._levels = searched.rung_levels()
        rungs = searched.search.rungs
        self._over = rungs.over if rungs else "epochs"
        self._epochs = int(searched.train["epochs"])  # type: ignore[arg-type]
        self._full = searched.full_training() if self._levels else float(self._epochs)
        self._queue: list[tuple[float, int]] = []
        self._running: dict[int, Training] = {}
        self._left: dict[int, Training] = {}
        self.log: list[Event] = []
        self.clock = 0.0
        self.epochs = 0

    @property
    def proposals(self) -> list[Proposal]:
        return [each for each in self.log if isinstance(each, Proposal)]

    @property
    def outcomes(self) -> list[Outcome]:
        return [each for each in self.log if isinstance(each, Outcome)]

    @property
    def best(self) -> float:
        return max((each.fitness for each in self.outcomes if each.fitness is not None), default=float("-inf"))

    def run(self, individuals: int) -> Trials:
        """Until so many have been proposed and all are judged."""
        while self.step(individuals):
            pass
        return self

    def run_for(self, epochs: int) -> Trials:
        """Until so many epochs were trained."""
        while self.epochs < epochs and self.step(10**9):
            pass
        return self

    def step(self, individuals: int) -> bool:
        """Fill the slots, and let one training have its next epoch; False when nothing runs any more."""
        asked = len(self.proposals)
        for proposal in self.search.ask(min(self._slots - len(self._running), individuals - asked)):
            self._begin(proposal)
        if not self._running:
            return False
        number = self._next()
        training = self._running[number]
        self._train(training)
        return True

    def _begin(self, proposal: Proposal) -> None:
        self.log.append(proposal)
        former = self._left.get(proposal.original) if proposal.original is not None else None
        if proposal.role in (Role.CONTINUATION, Role.PARTIAL) and former is not None:
            done = former.done if self._over == "epochs" else 0
            training = Training(proposal, done, former.best, dict(former.rungs), done)
        else:
            training = Training(proposal)
        self._running[proposal.number] = training
        heapq.heappush(self._queue, (self.clock + self._duration(training), proposal.number))

    def _duration(self, training: Training) -> float:
        return self._pace(training.proposal) * (1.0 if self._over == "epochs" else self._length(training))

    def _length(self, training: Training) -> float:
        """How much of a whole training one has that has less of something than epochs."""
        return float(training.proposal.settings.get(self._over, self._full))  # type: ignore[arg-type]

    def _next(self) -> int:
        if self._chance is not None:
            return self._chance.choice(sorted(self._running))
        self.clock, number = heapq.heappop(self._queue)
        return number

    def _train(self, training: Training) -> None:
        if self._over != "epochs":
            self._train_at_once(training)
            return
        training.done += 1
        self.epochs += 1
        value = self._curve(training.proposal, training.done)
        training.best = max(training.best, value)
        if training.done == self._epochs:
            self._judge(training, value)
        elif training.done in self._levels and self._is_given_up(training):
            self._tell(training, None)
        elif self._chance is None:
            heapq.heappush(self._queue, (self.clock + self._duration(training), training.proposal.number))

    def _is_given_up(self, training: Training) -> bool:
        training.rungs[float(training.done)] = training.best
        number, best = training.proposal.number, training.best
        decision = self.search.report(number, training.done, best)
        self.log.append(Report(number, training.done, best, decision))
        return decision is Decision.STOP

    def _train_at_once(self, training: Training) -> None:
        length = self._length(training)
        training.done = self._epochs
        value = self._curve(training.proposal, length)
        if training.proposal.role is Role.PARTIAL:
            training.rungs[length] = value
            self._tell(training, None)
        else:
            self._judge(training, value)

    def _judge(self, training: Training, value: float) -> None:
        failure = self._failure(training.proposal)
        self._tell(training, None if failure else value, failure)

    def _tell(self, training: Training, fitness: float | None, failure: FailureKind | None = None) -> None:
        proposal = training.proposal
        seconds = (training.done - training.began) * self._duration(training)
        objectives = self._objectives(proposal) if fitness is not None else ()
        outcome = Outcome(proposal, fitness, failure, dict(training.rungs), objectives, seconds)
        del self._running[proposal.number]
        self._left[proposal.number] = training
        self.log.append(outcome)
        self.search.tell(outcome)


def assert_goes_on(search: SearchAlgorithm, log: Sequence[Event], cut: float) -> None:
    """A fresh search that takes over at some point does from there on what the first one did.

    Args:
        search: Fresh.
        log: Of the first one.
        cut: Where, as a share of the log.
    """
    past, future = log[: round(cut * len(log))], log[round(cut * len(log)) :]
    outcomes = [each for each in past if isinstance(each, Outcome)]
    search.replay([each for each in past if isinstance(each, Proposal)], outcomes)
    judged = {each.proposal.number for each in outcomes}
    for each in past:  # a driver lets it hear again of what is in training
        if isinstance(each, Report) and each.number not in judged:
            search.report(each.number, each.epoch, each.fitness)
    for each in future:
        if isinstance(each, Proposal):
            assert search.ask(1) == [each]
        elif isinstance(each, Report):
            assert search.report(each.number, each.epoch, each.fitness) is each.decision
        else:
            search.tell(each)
