"""The usual alternatives to a genetic algorithm, behind the same ask/tell: `tpe`, `gp`, `cmaes` and `random`.

Individual 0 is the default configuration, and the next few are what is known to be worth a trial, as in the genetic
algorithm. Every other one is drafted by a sampler that has learnt from all verdicts so far: drafts that are
infeasible or known already are drawn again, then repaired, and in the end a fresh sample takes their place.
Failures teach a sampler nothing, but a batch that ran out of memory is not tried again.

The n-th individual is drafted from a seed made of (seed, n), by a sampler that is a function of the individuals
begun and concluded. So a replay of the recorded history continues exactly as the first run would have. With
`generational: true` verdicts are learnt in birth order when their generation is complete; then the trajectory
depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from evolve.codec import Codec
from evolve.search.base import Decision, Genome, Outcome, Proposal
from evolve.search.breeding import Birth, repaired, unbred
from evolve.search.known import known_points
from evolve.search.memory import MemoryLimit
from evolve.search.samplers import Kind, make_sampler
from evolve.search.start import Beginning
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Role

DRAFTS = {"tpe": 16, "gp": 2, "cmaes": 100, "random": 100}
"""Drafts of a kind before one is repaired; a Gaussian process takes long, and would draft much the same again."""
ATTEMPTS = 100
"""Fresh samples before a configuration is trained a second time."""
RESOLUTION = 500
"""A Gaussian process that is sure of itself would stay where it is; within a cell of this grid is known already."""


class OptunaSearch:
    """Optuna's samplers, and CMA-ES, as a search algorithm.

    Args:
        space: What to search. Of its `search:` section `seed`, `population` and `generational` count. Of `known`,
            those that nobody has trained yet and the best few others are trained first; a fitness from elsewhere
            would teach a sampler wrong, as it cannot be told where that is from.
        kind: Of the sampler; None for that which the space names.

    Raises:
        ValueError: if neither names a sampler.
    """

    def __init__(self, space: SearchSpace, kind: Kind | None = None) -> None:
        chosen = kind or space.search.algorithm
        if chosen == "genetic":
            raise ValueError("search.algorithm must be tpe, gp, cmaes or random here, but got 'genetic'")
        self._kind: Kind = chosen
        self._settings = space.search
        self._codec = Codec(space)
        self._beginning = Beginning(space, self._codec, known_points(space, self._codec))
        self._memory = MemoryLimit(space, self._codec)
        self._sampler = make_sampler(self._kind, space, self._codec)
        self._asked = 0
        self._told = 0
        self._known_keys: set[str] = set()
        self._known_cells: set[tuple[int, ...]] = set()
        self._waiting: list[Outcome] = []  # verdicts of a generation that is not complete

    def ask(self, n: int) -> list[Proposal]:
        """Up to `n` proposals; none beyond the current generation while a generational search awaits it."""
        if self._settings.generational:
            complete = self._told // self._settings.population
            n = min(n, self._settings.population * (complete + 1) - self._asked)
        return [self._propose() for _ in range(n)]

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        """Every trial is trained to its end."""
        return Decision.CONTINUE

    def tell(self, outcome: Outcome) -> None:
        """Take in a verdict; a generational search thinks about it when its generation is complete."""
        if outcome.proposal.role is not Role.SEARCH:
            return
        self._told += 1
        self._waiting.append(outcome)
        if self._settings.generational and self._told % self._settings.population:
            return
        # birth order, not the order of arrival, which depends on how the trials interleaved
        for each in sorted(self._waiting, key=lambda each: each.proposal.number):
            self._sampler.conclude(each.proposal.number, each.fitness)
            if each.failure is FailureKind.OUT_OF_MEMORY:
                self._memory.learn(each.proposal.params)
        self._waiting = []

    def possible_parents(self) -> set[int]:
        """Nobody: a sampler draws from all that is known, and passes on no genes."""
        return set()

    def continuable(self) -> set[int]:
        """Nobody: every trial is trained to its end."""
        return set()

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Take over a former driver's proposals and verdicts; see `SearchAlgorithm.replay`."""
        for proposal in sorted(proposals, key=lambda each: each.number):
            self._begin(proposal)
        for outcome in outcomes:
            self.tell(outcome)

    # proposals

    def _propose(self) -> Proposal:
        number = self._asked
        born = self._bear(number)
        birth = repaired(born, self._memory.repair(born.genome), "memory_repair")
        params = self._codec.decode(birth.genome)
        origins = zip(self._codec.names, birth.origins, strict=True)
        proposal = Proposal(
            number=number,
            generation=number // self._settings.population,
            genome=birth.genome,
            params=params,
            key=self._codec.key(params),
            operators=birth.operators,
            origins={name: origin for name, origin in origins if name in params},
        )
        self._begin(proposal)
        return proposal

    def _begin(self, proposal: Proposal) -> None:
        self._asked = max(self._asked, proposal.number + 1)
        self._known_keys.add(proposal.key)
        self._known_cells.add(_cell(proposal.genome))
        if proposal.role is Role.SEARCH:
            drafted = proposal.operators == (self._kind,)
            self._sampler.begin(proposal.number, tuple(proposal.genome), drafted=drafted)

    def _bear(self, number: int) -> Birth:
        if (first := self._beginning.given(number)) is not None:
            return first
        rng = np.random.default_rng([self._settings.seed, number])
        spoilt: Genome | None = None
        for genome in islice(self._sampler.drafts(int(rng.integers(2**31))), DRAFTS[self._kind]):
            if not self._codec.feasible(genome):
                spoilt = spoilt or genome
            elif self._is_new(genome) and not (self._kind == "gp" and _cell(genome) in self._known_cells):
                return unbred(genome, self._kind)
        if spoilt is not None:
            genome = self._codec.repair(spoilt)
            if self._is_new(genome):
                return repaired(unbred(spoilt, self._kind), genome, "repair")
        return self._sample(rng)

    def _sample(self, rng: np.random.Generator) -> Birth:
        """A fresh point of the space, new if one can be found."""
        genome: Genome = ()
        for _ in range(ATTEMPTS):
            genome = self._codec.sample(rng)
            if self._is_new(genome):
                break
        return unbred(genome, "sample")

    def _is_new(self, genome: Genome) -> bool:
        return self._codec.key(self._codec.decode(genome)) not in self._known_keys


def _cell(genome: Genome) -> tuple[int, ...]:
    return tuple(round(coordinate * RESOLUTION) for coordinate in genome)
