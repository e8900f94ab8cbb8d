"""Trainings that were stopped and may go on: whose folders are kept for that, and who takes them over.

A continuation goes on from the checkpoint in the folder of its original, which becomes its own by one rename. That
happens when the continuation is committed and before it is submitted. A driver that dies in between leaves the
folder where it is, and the next one renames it. Where no folder can be had, training from scratch is always right.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from evolve.search.base import Outcome, Proposal
from evolve.specs import trial_directory
from evolve.trial import Role


class Continuations:
    """Books who was stopped in the middle of a training, and who is to go on with it.

    Args:
        directory: Folder of the search.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stopped: set[int] = set()
        self._heirs: dict[int, int] = {}  # continuations without a verdict -> whose folder they take over

    def expect(self, proposal: Proposal) -> None:
        """An individual without a verdict will be trained."""
        if proposal.role is Role.CONTINUATION and proposal.original in self._stopped:
            self._heirs[proposal.number] = proposal.original

    def hand_over(self, number: int) -> None:
        """Give an individual the folder of its original, unless it has it already; before each of its attempts."""
        original = self._heirs.get(number)
        if original is None:
            return
        theirs, mine = (trial_directory(self._directory, each) for each in (original, number))
        if not mine.exists():
            with suppress(OSError):  # gone, or not ours to rename
                os.rename(theirs, mine)

    def settle(self, outcome: Outcome) -> None:
        """A verdict is in; what was stopped may be continued, what is partial by design is repeated instead."""
        self._heirs.pop(outcome.proposal.number, None)
        if outcome.is_partial and outcome.proposal.role is not Role.PARTIAL:
            self._stopped.add(outcome.proposal.number)

    def needed(self, continuable: Collection[int]) -> set[int]:
        """Numbers of the individuals whose folders must be kept.

        Args:
            continuable: Who may still be continued.
        """
        return {*self._stopped.intersection(continuable), *self._heirs.values()}
