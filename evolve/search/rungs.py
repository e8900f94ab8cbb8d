"""Rungs: trials that promise little are stopped early, and go on later if they turn out to promise more.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020): of those
that have reached a rung, one of `factor` goes on. Nobody waits for others to arrive: who is not among the best so
far is stopped, and continued from its checkpoint when it is. In a generational search a trial is measured against
the generations before its own, so that it does not matter which trial arrives first.

Short trainings may tell nothing of long ones, or the opposite. So the ranks on a rung are compared with those of
whole trainings, and a rung that does not agree with them stops nobody any more.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Sequence

from scipy.stats import spearmanr

from evolve.search.base import Decision, Outcome, Proposal
from evolve.space import SearchSpace
from evolve.trial import Json, Role

ENOUGH = 6
"""Individuals on a rung and with a whole training, before the two are compared."""
AGREEMENT = 0.4
"""Rank correlation that a rung must be likely to have."""
PROBATION = 15
"""Individuals that must pass the rungs.

The later ones are the choice of a model that knows much by then: all are good, and a short training can hardly tell
them apart. Then the default, too, is trained to its end at the latest, as everything is compared with it."""
CONTROL = 24
"""One of so many individuals is trained to its end whatever the rungs say."""
_CERTAIN = 0.999


class Rungs:
    """What is known on each rung; may be asked from several threads.

    Individuals are known here by the number under which they first entered: a continuation is the same one.

    Args:
        space: Its `search.rungs` says where rungs are.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.levels = space.rung_levels()
        self._by_epochs = space.search.rungs is not None and space.search.rungs.over == "epochs"
        self._over = space.search.rungs.over if space.search.rungs else ""
        self._factor = space.search.rungs.factor if space.search.rungs else 1.0
        self._at_once = not space.search.generational
        self._values: list[dict[int, float]] = [{} for _ in self.levels]
        self._both: list[dict[int, tuple[float, float]]] = [{} for _ in self.levels]  # on the rung, and whole
        self._trusted = [True] * len(self.levels)
        self._stopped: dict[int, tuple[int, int]] = {}  # first number -> last number, highest rung
        self._default_passes = _may_end_soon(space)
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}  # first number -> last number; a replay enters all before it learns
        self._entered: dict[int, int] = {}  # newborns -> how many came before
        self._repeats: set[int] = set()  # trained to their end, as their seed may be unlucky
        self._best: defaultdict[int, float] = defaultdict(lambda: -math.inf)
        self._lock = threading.Lock()

    def first(self, number: int) -> int:
        """The number under which an individual first entered."""
        return self._first.get(number, number)

    def enter(self, proposal: Proposal) -> None:
        """It is going to be trained."""
        if proposal.role is Role.REPEAT:
            self._repeats.add(proposal.number)
        elif proposal.original is None:
            self._entered[proposal.number] = len(self._entered)
        if proposal.continues is not None:
            with self._lock:
                first = self.first(proposal.continues)
                self._first[proposal.number] = first
                self._last[first] = proposal.number
                self._stopped.pop(first, None)
                self._default_passes |= first == 0 and len(self._entered) >= PROBATION

    def beginning(self, number: int) -> tuple[Role, dict[str, Json]]:
        """As what a newborn begins, and with which settings: a cheap training first, if not stopped by epochs."""
        if self._by_epochs or not self.levels or self.passes(number):
            return Role.SEARCH, {}
        return Role.PARTIAL, self._settings(0)

    def _settings(self, rung: int) -> dict[str, Json]:
        """What a training has less of on a rung; nothing beyond the last one."""
        if self._by_epochs or rung >= len(self.levels):
            return {}
        level = self.levels[rung]
        return {self._over: int(level) if self._over == "imgsz" else level}

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        """Whether a trial is worth another epoch."""
        if not (self.levels and self._by_epochs) or number in self._repeats:
            return Decision.CONTINUE
        with self._lock:
            self._best[number] = best = max(self._best[number], fitness)
            if epoch not in self.levels:
                return Decision.CONTINUE
            rung, first = self.levels.index(epoch), self.first(number)
            better = sum(value > best for other, value in self._values[rung].items() if other != first)
            reached = len(self._values[rung].keys() | {first})
            if self._at_once:
                self._values[rung].setdefault(first, best)
            if self.passes(first) or better < reached // self._factor or not self._trusted[rung]:
                return Decision.CONTINUE
            return Decision.STOP

    def passes(self, first: int) -> bool:
        """Whether an individual is trained to its end whatever the rungs say."""
        if first == 0:
            return self._default_passes
        return is_exempt(first) or self._entered.get(first, len(self._entered)) >= PROBATION

    def learn(self, outcome: Outcome) -> None:
        """Take in a verdict; a repeat says nothing that its original has not said."""
        number = outcome.proposal.number
        if outcome.proposal.role is Role.REPEAT:
            return
        with self._lock:
            self._best.pop(number, None)
            first = self.first(number)
            passed = [rung for rung, level in enumerate(self.levels) if level in outcome.rungs]
            for rung in passed:
                self._values[rung][first] = outcome.rungs[self.levels[rung]]
            if outcome.fitness is not None:
                self._compare(first, outcome.fitness)
            elif outcome.is_partial and passed and self._last.get(first, number) == number:
                self._stopped[first] = (number, passed[-1])

    def due(self) -> tuple[int, Role, dict[str, Json]] | None:
        """A stopped individual that should go on, by its last number, as what, and with which settings."""
        with self._lock:
            if 0 in self._stopped and len(self._entered) >= PROBATION:
                return self._next(*self._stopped[0])
            for rung in range(len(self.levels) - 1, -1, -1):
                values = self._values[rung]
                if not self._trusted[rung]:
                    continue
                best = sorted(values, key=lambda first: (-values[first], first))
                for first in best[: int(len(values) // self._factor)]:
                    number, stands = self._stopped.get(first, (-1, -1))
                    if stands == rung:
                        return self._next(number, rung)
        return None

    def _next(self, number: int, rung: int) -> tuple[int, Role, dict[str, Json]]:
        settings = self._settings(rung + 1)
        return number, Role.PARTIAL if settings else Role.CONTINUATION, settings

    def continuable(self) -> set[int]:
        """Last numbers of the stopped ones that may still be continued: those within reach of the best."""
        with self._lock:
            kept = set()
            for first, (number, rung) in self._stopped.items():
                better = sum(value > self._values[rung][first] for value in self._values[rung].values())
                if better <= 2 * len(self._values[rung]) / self._factor or first == 0:
                    kept.add(number)
            return kept

    def _compare(self, first: int, fitness: float) -> None:
        """Take in the fitness of a whole training, and see whether the rungs agree with such."""
        for rung, values in enumerate(self._values):
            if first in values:
                self._both[rung][first] = values[first], fitness
                self._trusted[rung] = not misleads(list(self._both[rung].values()))


def _may_end_soon(space: SearchSpace) -> bool:
    """Whether a search could be over before the default is trained to its end, if that had to pass the rungs."""
    population, stop = space.search.population, space.stop
    individuals = population * space.search.generations
    if stop.plateau is not None:
        individuals = min(individuals, population * (stop.plateau + 1))
    any_time = any(limit is not None for limit in (stop.hours, stop.gpu_hours, stop.target))
    return any_time or min(individuals, stop.evaluations or individuals) <= 2 * PROBATION


def is_exempt(number: int) -> bool:
    """Whether an individual is trained to its end whatever the rungs say, which shows whether they are right.

    One of every `CONTROL` is.
    """
    return number % CONTROL == CONTROL - 1


def misleads(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether a rung can hardly agree with whole trainings: Fisher's upper bound, at one deviation.

    Args:
        pairs: Fitness on the rung and of the whole training.
    """
    if len(pairs) < ENOUGH:
        return False
    if any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):  # all equal: nothing can be told
        return True
    found = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    bound = math.atanh(max(-_CERTAIN, min(found, _CERTAIN))) + 1 / math.sqrt(len(pairs) - 3)
    return math.tanh(bound) < AGREEMENT
