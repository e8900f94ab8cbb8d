"""Whether short trainings tell anything: what was found at the rungs, against whole trainings.

A rung is right if those that lead there lead in the end. That can be seen only of individuals with a whole
training, and of those that a rung judges these are the ones it let pass: over such a restricted range a rank
correlation comes out lower than it is over all. Nobody is chosen by a rung among the default, the controls, and the
later ones; these are told apart, see `Why`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from evolve.exceptions import SpaceError
from evolve.ledger.records import IndividualRecord
from evolve.space import SearchSpace
from evolve.trial import Json, Role

FEWEST = 4
"""Whole trainings below which no correlation is stated, as it has no interval."""
_NORMAL_95 = 1.959964


class Why(StrEnum):
    """Why an individual was trained to its end."""

    PASSED = "let pass"  # or continued later
    DEFAULT = "default"
    CONTROL = "control"  # one of twenty-four, to see whether the rungs are right
    LATER = "later one"  # the rungs are for the first individuals only


@dataclass(frozen=True)
class Pair:
    """An individual at a rung and in the end.

    Attributes:
        number: Under which it first entered.
        value: Best fitness up to the rung.
        fitness: Of the whole training.
        why: Why it has one.
    """

    number: int
    value: float
    fitness: float
    why: Why


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """What became of the individuals at a rung; each counts once, however many trainings it took.

    Attributes:
        level: Epochs, pixels or share of the pictures.
        reached: How many reached it.
        stopped: How many ended there at first, by being stopped or as their training was that short by design.
        continued: How many of these went on later.
        pairs: Those with a whole training.
        waiting: Numbers and values of those that have none, or none yet.
        trusted: Whether the search lets it stop anybody.
    """

    level: float
    reached: int
    stopped: int
    continued: int
    pairs: tuple[Pair, ...]
    waiting: tuple[tuple[int, float], ...]
    trusted: bool

    @property
    def went_on(self) -> int:
        """How many went past it at once."""
        return self.reached - self.stopped

    @property
    def regardless(self) -> int:
        """How many have a whole training that no rung had a say in."""
        return sum(pair.why is not Why.PASSED for pair in self.pairs)

    @cached_property
    def correlation(self) -> Correlation | None:
        """Between the ranks there and in the end; None where nothing can be said."""
        return correlation([(pair.value, pair.fitness) for pair in self.pairs])


@dataclass(frozen=True)
class Agreement:
    """What a search knows of its rungs.

    Attributes:
        over: What a rung has less of: `epochs`, `imgsz` or `fraction`.
        full: How much of it a whole training has.
        rungs: The rungs, the lowest first.
        individuals: How many were trained to their end or stand stopped; failures are none of them.
        spent: What their trainings cost, in whole ones.
    """

    over: str
    full: float
    rungs: tuple[Rung, ...]
    individuals: int
    spent: float

    @property
    def saved(self) -> float:
        """Whole trainings less than if all of them had been trained to their end; cheap ones can cost more."""
        return self.individuals - self.spent

    def document(self) -> dict[str, Any]:
        """All of it but the single individuals, as JSON values."""
        rungs = [
            {
                "level": each.level,
                "reached": each.reached,
                "stopped": each.stopped,
                "continued": each.continued,
                "went_on": each.went_on,
                "whole_trainings": len(each.pairs),
                "regardless": each.regardless,
                "correlation": None if each.correlation is None else vars(each.correlation),
                "trusted": each.trusted,
            }
            for each in self.rungs
        ]
        total = {"individuals": self.individuals, "spent": self.spent, "saved": self.saved}
        return {"over": self.over, "full": self.full, "rungs": rungs, **total}


def agreement_in(document: Mapping[str, Json], individuals: Sequence[IndividualRecord]) -> Agreement | None:
    """The same of a search's document; None also for one that cannot be read any more."""
    if not any(each.rungs for each in individuals):
        return None  # reading a document takes longer than this look
    try:
        space = SearchSpace.from_document(document, "search")
    except SpaceError:
        return None
    return agreement(space, individuals)


def agreement(space: SearchSpace, individuals: Iterable[IndividualRecord]) -> Agreement | None:
    """What became of individuals at the rungs; None where there are none, or nobody has reached one yet.

    Args:
        space: Of the search.
        individuals: All of it, by number.
    """
    levels = space.rung_levels()
    lines = _lines(individuals)
    if space.search.rungs is None or not any(line.values.keys() & set(levels) for line in lines):
        return None
    costs = [cost for line in lines if (cost := line.cost(space)) is not None]
    rungs = tuple(_rung(level, lines) for level in levels)
    return Agreement(space.search.rungs.over, space.full_training(), rungs, len(costs), math.fsum(costs))


def firsts(individuals: Iterable[IndividualRecord]) -> dict[int, int]:
    """Number of each individual of the search proper to that under which it first entered, if it continues one.

    Repeats and finals are trainings of their own, and so are left out.
    """
    found: dict[int, int] = {}
    for each in individuals:
        if each.continues is not None:
            found[each.number] = found.get(each.continues, each.continues)
        elif each.role not in (Role.REPEAT, Role.FINAL):
            found[each.number] = each.number
    return found


def correlation(pairs: Sequence[tuple[float, float]]) -> Correlation | None:
    """Spearman's rank correlation with its 95 % interval; None for too few, or where either side is all equal.

    The interval is Fisher's, with the variance that Bonett and Wright (2000) found for ranks. A perfect agreement
    is taken for half a step less than one, as an interval would have no width otherwise.
    """
    amount = len(pairs)
    if amount < FEWEST or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr  # takes a second to import

    found = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    most = 1 - 6 / (amount * (amount**2 - 1))
    middle = math.atanh(max(-most, min(found, most)))
    margin = _NORMAL_95 * math.sqrt((1 + found**2 / 2) / (amount - 3))
    return Correlation(found, min(found, math.tanh(middle - margin)), max(found, math.tanh(middle + margin)))


@dataclass(frozen=True)
class _Line:
    """An individual with those that continue it, one after another.

    Attributes:
        members: Its records, by number.
        place: How many newborns entered before it.
    """

    members: Sequence[IndividualRecord]
    place: int

    @property
    def number(self) -> int:
        return self.members[0].number

    @cached_property
    def values(self) -> Mapping[float, float]:
        """The best up to each rung it has passed."""
        found: dict[float, float] = {}
        for each in self.members:
            found |= each.rungs
        return found

    @property
    def fitness(self) -> float | None:
        return self.members[-1].fitness

    def ends(self) -> list[tuple[float, bool]]:
        """The rungs at which a training of it ended, and whether another one followed."""
        last = self.members[-1]
        return [(max(each.rungs), each is not last) for each in self.members if _is_partial(each) and each.rungs]

    @cached_property
    def why(self) -> Why:
        from evolve.search.rungs import PROBATION, is_exempt

        if self.number == 0:
            return Why.DEFAULT
        if self.ends():
            return Why.PASSED
        if is_exempt(self.number):
            return Why.CONTROL
        return Why.LATER if self.place >= PROBATION else Why.PASSED

    def cost(self, space: SearchSpace) -> float | None:
        """In whole trainings; None while it is open, for failures, and where another's verdict was reused."""
        last = self.members[-1]
        settled = last.fitness is not None or _is_partial(last)
        if not settled or any(each.reused_from is not None for each in self.members):
            return None
        rungs = space.search.rungs
        if rungs is not None and rungs.over == "epochs":  # a continuation goes on where it was stopped
            return 1.0 if last.fitness is not None else space.training_share(max(last.rungs, default=0.0))
        short = sum(space.training_share(level) for level, _ in self.ends())
        return short + (last.fitness is not None)


def _lines(individuals: Iterable[IndividualRecord]) -> list[_Line]:
    known = list(individuals)
    first_of = firsts(known)
    members: defaultdict[int, list[IndividualRecord]] = defaultdict(list)
    for each in known:
        if each.number in first_of:
            members[first_of[each.number]].append(each)
    return [_Line(line, place) for place, (_, line) in enumerate(sorted(members.items()))]


def _is_partial(individual: IndividualRecord) -> bool:
    """Whether there is a verdict, but neither a fitness nor a failure."""
    return individual.told is not None and individual.fitness is None and individual.failure is None


def _rung(level: float, lines: Sequence[_Line]) -> Rung:
    from evolve.search.rungs import misleads

    there = [line for line in lines if level in line.values]
    pairs = [
        Pair(line.number, line.values[level], line.fitness, line.why) for line in there if line.fitness is not None
    ]
    ends = [end for line in there for end in line.ends() if end[0] == level]
    return Rung(
        level=level,
        reached=len(there),
        stopped=len(ends),
        continued=sum(followed for _, followed in ends),
        pairs=tuple(pairs),
        waiting=tuple((line.number, line.values[level]) for line in there if line.fitness is None),
        trusted=not misleads([(pair.value, pair.fitness) for pair in pairs]),
    )
