"""Who is in training, who waits, and who is known already."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TypeAlias

from evolve.search.base import Outcome, Proposal
from evolve.trial import FailureKind, Role, TrialState

Training: TypeAlias = tuple[str, int | None, int | None, str]
"""What makes two individuals the same training: genes, whose weights they start from, seed, and settings."""


@dataclass
class Running:
    """An attempt that the dispatcher has.

    Attributes:
        proposal: The individual.
        attempt: Counted from 1.
        seconds: Wall-clock seconds at its last report.
        given_up: Whether the search itself asked for its stop, because it is not worth more epochs.
    """

    proposal: Proposal
    attempt: int
    seconds: float = 0.0
    given_up: bool = False


class Roster:
    """The runner's memory of individuals; everything in it can be rebuilt from the ledger.

    An individual that is the same training as an earlier one reuses its verdict; one whose twin is in training
    waits for it. Equal genes that start from different weights are different trainings.
    """

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        self._again: deque[tuple[Proposal, int]] = deque()
        self._waiting: defaultdict[Training, list[tuple[Proposal, int]]] = defaultdict(list)
        self._in_training: set[Training] = set()
        self._known: dict[Training, int] = {}
        self._failures: defaultdict[int, int] = defaultdict(int)

    def known(self, proposal: Proposal) -> int | None:
        """Number of the individual whose verdict holds for this one too, if there is one."""
        return self._known.get(_training(proposal))

    def wait_for_twin(self, proposal: Proposal, attempt: int) -> bool:
        """Whether an equal individual is in training; then this one, and its next attempt, wait for its verdict."""
        if _training(proposal) not in self._in_training:
            return False
        self._waiting[_training(proposal)].append((proposal, attempt))
        return True

    def try_again(self, proposal: Proposal, attempt: int) -> None:
        """Queue another attempt, ahead of everything new."""
        self._in_training.add(_training(proposal))
        self._again.append((proposal, attempt))

    @property
    def queued(self) -> int:
        """How many attempts wait to be submitted."""
        return len(self._again)

    def next_attempts(self, most: int) -> list[tuple[Proposal, int]]:
        """Attempts to submit now, at most so many."""
        return [self._again.popleft() for _ in range(min(most, len(self._again)))]

    def begin(self, trial_id: str, proposal: Proposal, attempt: int) -> None:
        """The dispatcher has it now."""
        self._in_training.add(_training(proposal))
        self.running[trial_id] = Running(proposal, attempt)

    def end(self, trial_id: str) -> Running:
        """The dispatcher has let go of it."""
        return self.running.pop(trial_id)

    def count_failure(self, number: int) -> int:
        """Count a failed attempt of an individual; how many it has now."""
        self._failures[number] += 1
        return self._failures[number]

    def settle(self, proposal: Proposal, *, reusable: bool) -> list[tuple[Proposal, int]]:
        """The verdict is in: the twins that waited for it, with their next attempts.

        Args:
            proposal: Whose verdict.
            reusable: Whether it holds for equal individuals too; that of a lost machine, or of a training that was
                stopped, does not.
        """
        self._failures.pop(proposal.number, None)
        if reusable:
            self._known.setdefault(_training(proposal), proposal.number)
        return self.withdraw(proposal)

    def withdraw(self, proposal: Proposal) -> list[tuple[Proposal, int]]:
        """This training does not go on: the twins that waited for it, with their next attempts."""
        self._in_training.discard(_training(proposal))
        return self._waiting.pop(_training(proposal), [])


def state_of(outcome: Outcome) -> TrialState:
    """How a training with this verdict ended."""
    if outcome.failure is not None:
        return TrialState.FAILED
    return TrialState.STOPPED if outcome.is_partial else TrialState.COMPLETED


def is_reusable(verdict: Outcome) -> bool:
    """Whether a verdict holds for equal individuals too; that of a lost machine does not, nor one half-way."""
    if verdict.is_partial:
        return verdict.proposal.role is Role.PARTIAL  # trained as far as it was meant to be
    return verdict.failure is not FailureKind.INFRASTRUCTURE


def _training(proposal: Proposal) -> Training:
    settings = json.dumps(dict(proposal.settings), sort_keys=True)
    return proposal.key, proposal.inherited_from, proposal.seed, settings
