"""Who is in training, who waits, and who is known already."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from evolve.search.base import Proposal


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

    An individual whose key was trained before reuses that verdict; one whose twin is in training waits for it.
    """

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        self._again: deque[tuple[Proposal, int]] = deque()
        self._waiting: defaultdict[str, list[Proposal]] = defaultdict(list)
        self._in_training: set[str] = set()
        self._known: dict[str, int] = {}
        self._failures: defaultdict[int, int] = defaultdict(int)

    def known(self, key: str) -> int | None:
        """Number of the individual whose verdict holds for this key, if there is one."""
        return self._known.get(key)

    def wait_for_twin(self, proposal: Proposal) -> bool:
        """Whether an equal individual is in training; then this one waits for its verdict."""
        if proposal.key not in self._in_training:
            return False
        self._waiting[proposal.key].append(proposal)
        return True

    def try_again(self, proposal: Proposal, attempt: int) -> None:
        """Queue another attempt, ahead of everything new."""
        self._in_training.add(proposal.key)
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
        self._in_training.add(proposal.key)
        self.running[trial_id] = Running(proposal, attempt)

    def end(self, trial_id: str) -> Running:
        """The dispatcher has let go of it."""
        return self.running.pop(trial_id)

    def count_failure(self, number: int) -> int:
        """Count a failed attempt of an individual; how many it has now."""
        self._failures[number] += 1
        return self._failures[number]

    def settle(self, proposal: Proposal, *, reusable: bool) -> list[Proposal]:
        """The verdict is in: the twins that waited for it.

        Args:
            proposal: Whose verdict.
            reusable: Whether it holds for equal individuals too; that of a lost machine does not.
        """
        self._in_training.discard(proposal.key)
        self._failures.pop(proposal.number, None)
        if reusable:
            self._known.setdefault(proposal.key, proposal.number)
        return self._waiting.pop(proposal.key, [])
