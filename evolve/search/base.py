"""The ask/tell seam: what a search algorithm is to the runner.

An algorithm never trains, never reads a clock and never touches a file. What it proposes is a function of the
space, the seed and the ordered history alone; so a restart that replays the ledger stands where the last driver
stood, and no state of it is ever pickled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from evolve.trial import FailureKind, Json, Role, continued

Genome: TypeAlias = tuple[float, ...]
"""One coordinate in [0, 1] for each gene, in the space's order."""


@dataclass(frozen=True)
class Proposal:
    """An individual that the algorithm wants evaluated; the fields are those of `IndividualRecord`.

    The algorithm leaves `inherited_from` alone: whose weights are there to start from is not its to know.

    Attributes:
        role: What it is there for.
        original: The individual whose genes it has, for every role but `SEARCH`.
        seed: Seed of its training; None for that of the search.
        settings: Training settings that differ from those of the search, e.g. `{"epochs": 300}`.
    """

    number: int
    generation: int
    genome: Genome
    params: Mapping[str, Json]
    key: str
    parents: tuple[int, ...] = ()
    operators: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    inherited_from: int | None = None
    role: Role = Role.SEARCH
    original: int | None = None
    seed: int | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)

    @property
    def continues(self) -> int | None:
        """The individual that this one continues; see `evolve.trial.continued`."""
        return continued(self.role, self.original)


@dataclass(frozen=True)
class Outcome:
    """The verdict on a proposal: a fitness, or the kind of failure, or neither where the training is partial.

    Attributes:
        proposal: What was evaluated.
        fitness: Of the whole training.
        failure: Why there is no fitness.
        rungs: Best fitness up to each rung that the training passed; the keys are epochs, or what a rung is
            measured in. It is all that is known of a training that was stopped, or was partial by design.
        objectives: Values of the space's `objectives`, in their order, each the larger the better.
        seconds: What the training took.
    """

    proposal: Proposal
    fitness: float | None
    failure: FailureKind | None = None
    rungs: Mapping[float, float] = field(default_factory=dict)
    objectives: tuple[float, ...] = ()
    seconds: float = 0.0

    @property
    def is_partial(self) -> bool:
        """Whether it was stopped at a rung, or trained cheaply."""
        return self.fitness is None and self.failure is None


class Decision(Enum):
    """Whether a running trial is worth another epoch."""

    CONTINUE = "continue"
    STOP = "stop"


class SearchAlgorithm(Protocol):
    """Proposes individuals and learns from their fitness."""

    def ask(self, n: int) -> list[Proposal]:
        """Up to `n` new individuals (none for `n` < 1); fewer, or none, while the algorithm waits for outcomes."""
        ...

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        """Hear of an epoch of a running individual."""
        ...

    def tell(self, outcome: Outcome) -> None:
        """Learn the verdict on an individual that was asked for."""
        ...

    def possible_parents(self) -> Collection[int]:
        """Numbers of those told so far that may still become parents; no other one of them ever will."""
        ...

    def continuable(self) -> Collection[int]:
        """Numbers of those stopped so far that may still be continued; no other one of them ever will."""
        ...

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Stand where a former driver stood: all it proposed, and the verdicts in the order told."""
        ...
