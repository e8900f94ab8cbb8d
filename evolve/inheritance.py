"""Inherited weights: a child starts from those of its fitter parent (`search.inherit_weights`).

Whose weights those are is decided when the child is born, by verdicts that are committed, and is committed with
the child. So each of its attempts, under whichever driver, starts from the same weights and is the same training.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace

from evolve.ledger import Ledger, Transaction
from evolve.models import MODEL
from evolve.search.base import Proposal
from evolve.trial import Role, TrialState


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
        self._stopped: dict[int, int] = {}  # starts of those that may be continued
        self._trained_as: dict[int, int] = {}  # those that never trained, as their twin's verdict holds for them
        self._said: set[int | None] = set()

    def endow(self, tx: Transaction, proposal: Proposal) -> Proposal:
        """A newborn with the number of the individual whose weights it starts from.

        That is its fitter parent, of equals the first; where no weights of that one can be found the other parent,
        and where neither left any, none: it starts from the weights of the search, as do those without parents.
        One with an original starts as that did. A parent of another model has no weights that would fit. Finals
        start from the weights of the search: what a configuration is worth alone is what they are to tell.
        """
        if not self._enabled or proposal.role is Role.FINAL:
            return proposal
        if proposal.original is not None:
            return self.expect(replace(proposal, inherited_from=self._start_of(proposal.original)))
        if not proposal.parents:
            return proposal
        return self.expect(replace(proposal, inherited_from=self._choose(tx, proposal)))

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
        start = self._choose(tx, proposal) if proposal.parents else None
        restored = self.expect(replace(proposal, inherited_from=start))
        tx.start_from(proposal.number, restored.inherited_from)
        return restored

    def weights(self, number: int) -> str | None:
        """Path of the weights that the training of an individual left, if the file is there."""
        path = self._path(number)
        return path if path is not None and os.path.isfile(path) else None

    def settle(self, proposal: Proposal, reused_from: int | None = None, *, stopped: bool = False) -> None:
        """An individual has its verdict, possibly that of an equal one; it will not start again.

        Args:
            proposal: The individual.
            reused_from: Whose verdict it is.
            stopped: Whether another one may continue its training, from the same start.
        """
        self._starts.pop(proposal.number, None)
        if stopped and proposal.inherited_from is not None:
            self._stopped[proposal.number] = proposal.inherited_from
        if self._enabled and reused_from is not None:
            self._trained_as[proposal.number] = reused_from

    def needed(self, parents: Collection[int], continuable: Collection[int] = ()) -> set[int]:
        """Numbers of the individuals whose weights must be kept.

        Args:
            parents: Who may still become a parent.
            continuable: Who may still be continued.
        """
        if not self._enabled:
            return set()
        begun = (self._stopped[number] for number in continuable if number in self._stopped)
        return {*self._starts.values(), *begun, *(self._trained_as.get(number, number) for number in parents)}

    def _start_of(self, number: int) -> int | None:
        """Whose weights an individual started from; of one born just now that is not in the ledger yet."""
        if number in self._starts:
            return self._starts[number]
        records = self._ledger.individuals(self._search_id, numbers=[number])
        return records[0].inherited_from if records else None

    def _choose(self, tx: Transaction, child: Proposal) -> int | None:
        found = self._ledger.individuals(self._search_id, numbers=child.parents)
        records = {each.number: each for each in found}
        fit = [record for number in child.parents if (record := records[number]).fitness is not None]
        known = [record for record in fit if record.params.get(MODEL) == child.params.get(MODEL)]
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
