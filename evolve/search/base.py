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

from evolve.trial import FailureKind, Json

Genome: TypeAlias = tuple[float, ...]
"""One coordinate in [0, 1] for each gene, in the space's order."""


@dataclass(frozen=True)
class Proposal:
    """An individual that the algorithm wants evaluated; the fields are those of `IndividualRecord`.

    The algorithm leaves `inherited_from` alone: whose weights are there to start from is not its to know.
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


@dataclass(frozen=True)
class Outcome:
    """The verdict on a proposal: a fitness, or the kind of failure."""

    proposal: Proposal
    fitness: float | None
    failure: FailureKind | None = None


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

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Stand where a former driver stood: all it proposed, and the verdicts in the order told."""
        ...
