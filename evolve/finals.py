"""What is trained when a search is over: the best few and the default, with several seeds each.

A search that has looked at a validation split hundreds of times flatters its best: of many good individuals it
shows the luckiest. Trainings with other seeds, which nobody has chosen, tell skill from luck. What is planned here
is a function of the space and of what the ledger has; so a driver that dies goes on with whatever is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from evolve.ledger.records import IndividualRecord
from evolve.search.base import Proposal
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Json, Role

OPERATOR = "final"
_STREAM = 0xF17A15  # keeps these seeds apart from all others that are drawn from the search's own
_SEEDS = 2**31


@dataclass(frozen=True)
class Configuration:
    """A configuration with what the search has found of it.

    Attributes:
        original: The first individual that has it, of those that were trained whole.
        fitness: Fitness of each of its trainings in the search, by seed.
    """

    original: IndividualRecord
    fitness: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean fitness over its seeds."""
        return fmean(self.fitness.values())


def plan(space: SearchSpace, individuals: Sequence[IndividualRecord]) -> list[Proposal]:
    """The finals that are still to be proposed; none where the space wants none, or only the default has a fitness.

    The first seed comes first, for all of them: whoever is cut short has an answer, if a rough one.

    Args:
        space: Of the search.
        individuals: All of it, by number.
    """
    if space.finals is None or not individuals:
        return []
    best = finalists(space, individuals)
    if not best:
        return []
    settings = final_settings(space)
    trained = {_identity(space, each) for each in individuals if _stands(each)}
    rivals = [individuals[0], *(each.original for each in best)]
    wanted = [
        (rival, seed)
        for seed in final_seeds(space)
        for rival in rivals
        if (rival.key, seed, _effective(space, settings)) not in trained
    ]
    searched = [each for each in individuals if each.role is not Role.FINAL]
    generation = max(each.generation for each in searched) + 1
    first = max(each.number for each in individuals) + 1
    return [
        _proposal(space, rival, number, generation, seed, settings)
        for number, (rival, seed) in enumerate(wanted, first)
    ]


def finalists(space: SearchSpace, individuals: Sequence[IndividualRecord]) -> list[Configuration]:
    """The best configurations of the search beside the default: those that the finals are about."""
    if space.finals is None or not individuals:
        return []
    default = individuals[0].key
    rivals = [each for each in ranking(space, individuals) if each.original.key != default]
    return rivals[: space.finals.top]


def ranking(space: SearchSpace, individuals: Iterable[IndividualRecord]) -> list[Configuration]:
    """All configurations that the search trained whole, by their mean fitness; of equals the first born leads."""
    found: dict[str, Configuration] = {}
    for each in individuals:
        if each.role in (Role.FINAL, Role.PARTIAL) or each.fitness is None:
            continue
        known = found.get(each.key, Configuration(each, {}))
        fitness = {seed_of(space, each): each.fitness, **known.fitness}
        found[each.key] = Configuration(known.original, fitness)
    return sorted(found.values(), key=lambda each: (-each.mean, each.original.number))


def trainings(
    space: SearchSpace, individuals: Iterable[IndividualRecord], settings: Mapping[str, Json]
) -> dict[str, dict[int, IndividualRecord]]:
    """Whole trainings with these settings that nothing was handed down to: by key, then by seed.

    Args:
        space: Of the search.
        individuals: All of it, by number.
        settings: What differs from the settings of the search.
    """
    wanted = _effective(space, settings)
    found: dict[str, dict[int, IndividualRecord]] = {}
    for each in individuals:
        whole = each.fitness is not None and each.role is not Role.PARTIAL and each.inherited_from is None
        if whole and _effective(space, each.settings) == wanted:
            found.setdefault(each.key, {}).setdefault(seed_of(space, each), each)
    return found


def final_settings(space: SearchSpace) -> dict[str, Json]:
    """What the finals train otherwise than the trials did."""
    finals = space.finals
    if finals is None or finals.epochs is None or finals.epochs == space.train.get("epochs"):
        return {}
    return {"epochs": finals.epochs}


def final_seeds(space: SearchSpace) -> list[int]:
    """The seeds of the finals: that of the search, then others. More seeds begin with the same ones."""
    seeds = {space.search.seed: None}
    chance = np.random.default_rng([space.search.seed, _STREAM])
    while space.finals is not None and len(seeds) < space.finals.seeds:
        seeds[int(chance.integers(_SEEDS))] = None
    return list(seeds)


def seed_of(space: SearchSpace, individual: IndividualRecord) -> int:
    """The seed that an individual is trained with."""
    return space.search.seed if individual.seed is None else individual.seed


def _identity(space: SearchSpace, individual: IndividualRecord) -> tuple[str, int, str]:
    return individual.key, seed_of(space, individual), _effective(space, individual.settings)


def _effective(space: SearchSpace, settings: Mapping[str, Json]) -> str:
    """All settings of a training as one text, so that they can be compared."""
    return repr(sorted({**space.train, **settings}.items()))


def _stands(individual: IndividualRecord) -> bool:
    """Whether what is known of this individual, or soon will be, is that of a whole training."""
    if individual.role is Role.FINAL:
        return True
    if individual.role is Role.PARTIAL or individual.inherited_from is not None:
        return False
    failed = individual.failure not in (None, FailureKind.INFRASTRUCTURE)
    return individual.fitness is not None or failed


def _proposal(
    space: SearchSpace,
    rival: IndividualRecord,
    number: int,
    generation: int,
    seed: int,
    settings: Mapping[str, Json],
) -> Proposal:
    return Proposal(
        number=number,
        generation=generation,
        genome=tuple(rival.genome),
        params=rival.params,
        key=rival.key,
        parents=(rival.number,),
        operators=(OPERATOR,),
        origins=dict.fromkeys(rival.params, f"inherited:{rival.number}"),
        role=Role.FINAL,
        original=rival.number,
        seed=None if seed == space.search.seed else seed,
        settings=dict(settings),
    )
