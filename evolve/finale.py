"""The end of a search: its finals, and the answer that it leaves in the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable

from evolve.answer import answer_of
from evolve.best import deciding_evaluation
from evolve.finals import plan
from evolve.keeper import LeaseKeeper
from evolve.ledger import EventKind, IndividualRecord, Ledger, Transaction
from evolve.registrar import Registrar
from evolve.search.base import Outcome
from evolve.space import SearchSpace
from evolve.verdict import SINGLE, Answer


class Finale:
    """Knows whether the finals have begun, and what came of them; all of it from the ledger.

    Args:
        space: Of the search.
        ledger: Where it is recorded.
        search_id: The search.

    Attributes:
        reason: Why the search proper ended, once that is settled: its end then has the same reason.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger, search_id: str) -> None:
        self._space = space
        self._ledger = ledger
        self._search_id = search_id
        self.reason: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the search ends with finals."""
        return self._space.finals is not None

    @property
    def is_due(self) -> bool:
        """Whether finals are wanted and have not begun yet."""
        return self.is_wanted and self.reason is None

    def recall(self) -> None:
        """Stand where a former driver stood."""
        for event in self._ledger.events(self._search_id, kinds=[EventKind.FINALS_STARTED]):
            self.reason = str(event.data["reason"])

    def begin(self, keeper: LeaseKeeper, registrar: Registrar, reason: str) -> list[Outcome]:
        """The search proper is over; queue the finals, all at once, so that a later driver finds them queued.

        Returns:
            Verdicts that were known already.
        """
        planned = plan(self._space, self._ledger.individuals(self._search_id))
        outcomes: list[Outcome] = []
        if planned:
            with keeper.transaction() as tx:
                tx.begin_finals(reason, len(planned))
                for proposal in planned:
                    outcomes += registrar.place(tx, proposal)
        self.reason = reason
        return outcomes

    def answer(self) -> Answer | None:
        """The answer from all that is in the ledger now."""
        individuals = self._ledger.individuals(self._search_id)
        known = {each.number: each for each in individuals}
        return answer_of(self._space, individuals, lambda number: self._has_weights(known[number]))

    def writes(self, answer: Answer | None) -> Callable[[Transaction], None] | None:
        """Writes an answer down, in the transaction that ends the search."""
        return None if answer is None else lambda tx: _conclude(tx, answer)

    def _has_weights(self, individual: IndividualRecord) -> bool:
        evaluation = deciding_evaluation(
            individual, self._ledger.evaluations(self._search_id, individual.reused_from or individual.number)
        )
        return evaluation is not None and evaluation.weights is not None and os.path.isfile(evaluation.weights)


def _conclude(tx: Transaction, answer: Answer) -> None:
    """Where an answer rests on more than the search had, its winner is the best from now on."""
    tx.answer(answer.document())
    if answer.source != SINGLE and answer.fresh:
        default = answer.default
        tx.crown(answer.best.individual, answer.best.mean, None if default is None else default.mean)
