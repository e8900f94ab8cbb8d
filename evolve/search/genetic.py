"""The genetic algorithm: selection, crossover, mutation, generation after generation.

Individual 0 is the default configuration, and the first few fill the space evenly. After that every individual is
bred: hundreds of children of the fittest are imagined, a model that has learnt from all trainings so far picks the
most promising (`screening`), and it is repaired where it is known not to fit the memory. Now and then a child is
trained that no model has judged, as a model can be wrong. By default breeding is steady-state: a verdict counts as
soon as it is in, so a free GPU never waits for the slowest of a generation. With `generational: true` a generation
is bred only when the one before it is known; then the trajectory depends on the seed alone, however the trials
interleave.

The n-th individual draws from a generator seeded with (seed, n). So nothing of the random state needs to be
kept, and a replay of the recorded history continues exactly as the first run would have.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evolve.codec import Codec
from evolve.search.base import Decision, Genome, Outcome, Proposal
from evolve.search.breeding import Birth, Breeder, repaired, screened_birth, unbred
from evolve.search.known import known_points
from evolve.search.memory import MemoryLimit
from evolve.search.operators import Individual, inherited
from evolve.search.pareto import draw_weights
from evolve.search.population import Population
from evolve.search.repeats import Repeats
from evolve.search.rungs import Rungs, is_exempt
from evolve.search.start import Beginning
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Role

if TYPE_CHECKING:
    from evolve.search.screening import Screening

ATTEMPTS = 24
"""Children bred before a fresh sample takes the place of one that is always infeasible or known already."""
PAIR = 2


class GeneticSearch:
    """DEAP's genetic operators behind ask/tell.

    Args:
        space: What to search; its `search:` section holds every setting of the algorithm.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._settings = space.search
        self._objectives = len(space.objectives)
        self._codec = Codec(space)
        self._breeder = Breeder(space, self._codec)
        self._memory = MemoryLimit(space, self._codec)
        self._population = Population(space.search)
        self._rungs = Rungs(space)
        self._repeats = Repeats(space.search)
        points = known_points(space, self._codec)
        self._beginning = Beginning(space, self._codec, points)
        self._screening = _screening(space, self._codec, points)
        self._asked = 0
        self._proposals: dict[int, Proposal] = {}
        self._pending: dict[int, Proposal] = {}
        self._known_keys: set[str] = set()
        self._nursery: list[Outcome] = []  # verdicts not yet thought about
        self._told = 0
        self._immigration: set[int] = set()  # generations that begin with fresh samples

    @property
    def may_think_ahead(self) -> bool:
        """Whether proposals may depend on when they are asked for, and take long enough for that to matter."""
        return self._screening is not None and not self._settings.generational

    def ask(self, n: int) -> list[Proposal]:
        """Up to `n` proposals; none beyond the current generation while a generational search awaits it."""
        if self._settings.generational:
            n = min(n, self._settings.population * (self._complete_generations() + 1) - self._asked)
        proposals = []
        for _ in range(n):
            proposals.append(self.draft())
            self.enter(proposals[-1])
        return proposals

    def draft(self) -> Proposal:
        """What would be proposed next; nothing is proposed before `enter`."""
        return self._again(self._asked) or self._newborn(self._asked)

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        """Whether a trial may go on after an epoch; see `Rungs`."""
        return self._rungs.report(number, epoch, fitness)

    def is_judged(self, number: int) -> bool:
        """Whether a trial has rungs to pass."""
        return not self._rungs.passes(self._rungs.first(number))

    def tell(self, outcome: Outcome) -> None:
        """Take in a verdict; a generational search thinks about it when its generation is complete."""
        if outcome.proposal.role is Role.FINAL:
            return  # the search is over by then
        self._told += 1
        self._nursery.append(outcome)
        turn = self._told % self._settings.population == 0
        if turn or not self._settings.generational:
            # birth order, not the order of arrival, which depends on how the trials interleaved
            self._learn(sorted(self._nursery, key=lambda each: each.proposal.number))
            self._nursery = []
        if turn and self._population.needs_immigrants(self._told):
            # in a steady state the next generation is partly born already
            generation = self._complete_generations()
            self._immigration.add(generation if self._settings.generational else generation + 1)

    def possible_parents(self) -> set[int]:
        """The members of the population, and those who may join it when their generation is complete."""
        waiting = (outcome.proposal.number for outcome in self._nursery if outcome.fitness is not None)
        return {*waiting, *(each.number for each in self._population.members)}

    def continuable(self) -> set[int]:
        """Those that were stopped at a rung and are not far from the best there, or not thought about yet."""
        waiting = (outcome.proposal.number for outcome in self._nursery if outcome.is_partial)
        return {*waiting, *self._rungs.continuable()}

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Take over a former driver's proposals and verdicts; see `SearchAlgorithm.replay`."""
        for proposal in proposals:
            self.enter(proposal)
        for outcome in outcomes:
            self.tell(outcome)

    # verdicts

    def _complete_generations(self) -> int:
        return self._told // self._settings.population

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        """A fitness joins the population, running out of memory sets a limit, other failures teach nothing."""
        for outcome in outcomes:
            self._pending.pop(outcome.proposal.number, None)
            if outcome.failure is FailureKind.OUT_OF_MEMORY:
                self._memory.learn(outcome.proposal.params)
            self._rungs.learn(outcome)
            first = self._individual(outcome.proposal)
            if self._screening is not None:
                self._screening.learn(outcome, first)
            corrected = self._repeats.learn(outcome, first)
            if corrected is not None:
                self._population.correct(*corrected)
        born = [
            Individual(each.proposal.genome, each.proposal.number, *(each.objectives or (each.fitness,)))
            for each in outcomes
            if each.fitness is not None and each.proposal.role is not Role.REPEAT
        ]
        self._population.renew(born, self._told)

    def _individual(self, proposal: Proposal) -> int:
        """The number under which an individual first entered, of whichever training of it."""
        repeated = proposal.original if proposal.role is Role.REPEAT else None
        return self._rungs.first(proposal.number if repeated is None else repeated)

    # proposals

    def enter(self, proposal: Proposal) -> None:
        """It is going to be trained."""
        if proposal.role is Role.FINAL:
            return
        number = proposal.number
        self._asked = max(self._asked, number + 1)
        self._proposals[number] = self._pending[number] = proposal
        self._known_keys.add(proposal.key)
        self._rungs.enter(proposal)
        self._repeats.enter(proposal)
        if self._screening is not None:
            self._screening.know(proposal.genome)

    def _again(self, number: int) -> Proposal | None:
        """One more training of a known individual: a stopped one goes on, or another seed tells luck from skill."""
        due = self._rungs.due()
        if due is not None:
            original, role, settings = due
            return self._copy(number, original, role, "continuation", settings=settings)
        repeat = self._repeats.due()
        if repeat is not None:
            return self._copy(number, repeat.original, Role.REPEAT, "repeat", seed=repeat.seed)
        return None

    def _copy(self, number: int, original: int, role: Role, operator: str, **changes: Any) -> Proposal:
        former = self._proposals[original]
        return replace(
            former,
            number=number,
            generation=number // self._settings.population,
            parents=(original,),
            operators=(operator,),
            origins=dict.fromkeys(former.params, inherited(original)),
            inherited_from=None,
            role=role,
            original=original,
            **changes,
        )

    def _newborn(self, number: int) -> Proposal:
        born = self._bear(number)
        birth = repaired(born, self._memory.repair(born.genome), "memory_repair")
        params = self._codec.decode(birth.genome)
        origins = zip(self._codec.names, birth.origins, strict=True)
        role, settings = self._rungs.beginning(number)
        return Proposal(
            number=number,
            generation=number // self._settings.population,
            genome=birth.genome,
            params=params,
            key=self._codec.key(params),
            parents=birth.parents,
            operators=birth.operators,
            origins={name: origin for name, origin in origins if name in params},
            role=role,
            settings=settings,
        )

    def _bear(self, number: int) -> Birth:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, number])
        generation, place = divmod(number, settings.population)
        if (first := self._beginning.given(number)) is not None:
            return first
        if self._screening is not None and self._screening.is_ready(number):
            return self._screened(number, rng)
        if generation == 0:
            design = self._beginning.design(number)
            return design if self._is_new(design.genome) else self._sample(rng, "sample")
        if generation in self._immigration and place < settings.immigrants * settings.population:
            return self._sample(rng, "immigrant")
        return self._breed(rng)

    def _screened(self, number: int, rng: np.random.Generator) -> Birth:
        """The child that promises most; now and then one that no model has judged, as a model can be wrong."""
        from evolve.search.screening import Question

        if self._screening is not None and not is_exempt(number):
            inheriting = self._settings.inherit_weights
            question = Question(
                pending=[each.genome for each in self._pending.values() if each.role is not Role.REPEAT],
                parents=self.possible_parents() if inheriting else None,
                weights=draw_weights(rng, self._objectives) if self._objectives else None,
                daring=number % 2 == 1,
                generator=random.Random(int(rng.integers(2**63))),  # noqa: S311  # chance, not secrecy
            )
            brood = self._screening.best(question)
            for place, genome in enumerate(map(self._codec.canonical, brood.genomes.tolist())):
                if self._is_new(genome):
                    return screened_birth(brood, place, genome)
        return self._breed(rng)

    def _sample(self, rng: np.random.Generator, operator: str) -> Birth:
        """A fresh point of the space, new if one can be found."""
        genome: Genome = ()
        for _ in range(ATTEMPTS):
            genome = self._codec.sample(rng)
            if self._is_new(genome):
                break
        return unbred(genome, operator)

    def _breed(self, rng: np.random.Generator) -> Birth:
        """A feasible child that nobody has trained yet; a fresh sample where the parents have none left."""
        generator = random.Random(int(rng.integers(2**63)))  # noqa: S311  # chance, not secrecy
        for _ in range(ATTEMPTS if len(self._population.members) >= PAIR else 0):
            birth = self._breeder.breed(self._population.members, generator)
            if self._is_new(birth.genome):
                return birth
        return self._sample(rng, "sample")

    def _is_new(self, genome: Genome) -> bool:
        if not self._codec.feasible(genome):
            return False
        return self._codec.key(self._codec.decode(genome)) not in self._known_keys


def _screening(space: SearchSpace, codec: Codec, points: Sequence[tuple[Genome, float | None]]) -> Screening | None:
    """The model and what goes with it, which takes a second to import; None where every child is trained."""
    if space.search.screening == 1:
        return None
    from evolve.search.screening import Screening

    return Screening(space, codec, [(genome, score) for genome, score in points if score is not None])
