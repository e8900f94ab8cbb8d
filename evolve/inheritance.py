"""Inherited weights: a child starts from those of its fitter parent (`search.inherit_weights`).

Whose weights those are is decided when the child is born, by verdicts that are committed, and is committed with
the child. So each of its attempts, under whichever driver, starts from the same weights and is the same training.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace

from evolve.ledger import Ledger, Transaction
from evolve.search.base import Proposal
from evolve.trial import TrialState


class Inheritance:
    """Decides whose weights the individuals of a search start from, and which must be kept for that.

    Args:
        ledger: Where verdicts and the paths of weights are read.
        search_id: The search.
        enabled: `search.inherit_weights`; without it every individual starts from the weights of the search.
    """

    def __init__(self, ledger: Ledger, search_id: str, *, enabled: bool) -> None:
        self._ledger = ledger
        self._search_id = search_id
        self._enabled = enabled
        self._starts: dict[int, int] = {}  # of those without a verdict
        self._trained_as: dict[int, int] = {}  # those that never trained, as their twin's verdict holds for them
        self._said: set[int | None] = set()

    def endow(self, tx: Transaction, proposal: Proposal) -> Proposal:
        """A newborn with the number of the individual whose weights it starts from.

        That is its fitter parent, of equals the first; where no weights of that one can be found the other parent,
        and where neither left any, none: it starts from the weights of the search, as do those without parents.
        """
        if not (self._enabled and proposal.parents):
            return proposal
        return self.expect(replace(proposal, inherited_from=self._choose(tx, proposal.parents)))

    def expect(self, proposal: Proposal) -> Proposal:
        """Keep what an individual without a verdict starts from; returns it."""
        if proposal.inherited_from is None:
            self._starts.pop(proposal.number, None)
        else:
            self._starts[proposal.number] = proposal.inherited_from
        return proposal

    def restore(self, tx: Transaction, proposal: Proposal) -> Proposal:
        """The individual as its next attempt can start: from others, if the weights chosen at its birth are gone.

        Nothing here removes weights that are still needed, but people do.
        """
        if proposal.inherited_from is None or self.weights(proposal.inherited_from) is not None:
            return proposal
        restored = self.endow(tx, proposal)
        tx.start_from(proposal.number, restored.inherited_from)
        return restored

    def weights(self, number: int) -> str | None:
        """Path of the weights that the training of an individual left, if the file is there."""
        path = self._path(number)
        return path if path is not None and os.path.isfile(path) else None

    def settle(self, number: int, reused_from: int | None = None) -> None:
        """The individual has its verdict, possibly that of an equal one; it will not start again."""
        self._starts.pop(number, None)
        if self._enabled and reused_from is not None:
            self._trained_as[number] = reused_from

    def needed(self, parents: Collection[int]) -> set[int]:
        """Numbers of the individuals whose weights must be kept.

        Args:
            parents: Who may still become a parent.
        """
        if not self._enabled:
            return set()
        return {*self._starts.values(), *(self._trained_as.get(number, number) for number in parents)}

    def _choose(self, tx: Transaction, parents: Sequence[int]) -> int | None:
        records = {each.number: each for each in self._ledger.individuals(self._search_id, numbers=parents)}
        known = [record for number in parents if (record := records[number]).fitness is not None]
        for parent in sorted(known, key=lambda each: -(each.fitness or 0.0)):  # stable: of equals the first
            number = parent.number if parent.reused_from is None else parent.reused_from
            if self.weights(number) is not None:
                return number
            self._complain(tx, number)
        return None

    def _path(self, number: int) -> str | None:
        """Where the last completed attempt says that its weights are."""
        attempts = self._ledger.evaluations(self._search_id, number)
        completed = [each.weights for each in attempts if each.state is TrialState.COMPLETED]
        return completed[-1] if completed else None

    def _complain(self, tx: Transaction, number: int) -> None:
        """Say once whose weights cannot be had; once for all, if trainings leave none at all."""
        path = self._path(number)
        subject = None if path is None else number
        if subject in self._said:
            return
        self._said.add(subject)
        if path is None:
            tx.notice(
                f"search.inherit_weights: individual {number} left no weights; what leaves none hands none down"
            )
        else:
            tx.notice(f"the weights of individual {number} are gone ({path}); its children start from others")
