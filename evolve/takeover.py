"""What a former driver left: replayed into the search algorithm, and queued where it has no verdict."""

from __future__ import annotations

from evolve.judging import Judge
from evolve.keeper import LeaseKeeper
from evolve.ledger import IndividualRecord, Ledger
from evolve.registrar import Registrar
from evolve.search.base import Outcome, SearchAlgorithm
from evolve.specs import outcome_of, proposal_of
from evolve.trial import Role


def take_over(
    search_id: str,
    ledger: Ledger,
    keeper: LeaseKeeper,
    algorithm: SearchAlgorithm,
    registrar: Registrar,
    judge: Judge,
) -> tuple[int, list[Outcome]]:
    """Stand where a former driver stood, or at the beginning. The algorithm never hears of finals.

    Args:
        search_id: The search.
        ledger: Has all of it.
        keeper: Its lease.
        algorithm: Fresh.
        registrar: Fresh.
        judge: Of that algorithm.

    Returns:
        How many individuals the algorithm has proposed, and verdicts that it has to be told yet.
    """
    search = ledger.search(search_id)
    records, judged = ledger.individuals(search_id), ledger.history(search_id)
    proposed = [proposal_of(each) for each in records if each.role is not Role.FINAL]
    algorithm.replay(proposed, [outcome_of(each) for each in judged if each.role is not Role.FINAL])
    registrar.remember_totals(search)
    for record in judged:
        registrar.remember(record)
    open_ones = [record for record in records if record.told is None]
    given_up = {each.number for each in open_ones if _gave_up(each, registrar, judge)}
    outcomes: list[Outcome] = []
    with keeper.transaction() as tx:
        tx.start(resumed=search.started_at is not None)
        for record in open_ones:
            if record.number in given_up:
                outcomes += registrar.give_up(tx, record)
            else:
                registrar.requeue(tx, record)
    return len(proposed), outcomes


def _gave_up(record: IndividualRecord, registrar: Registrar, judge: Judge) -> bool:
    """Let the algorithm hear again which rungs a training without a verdict has passed."""
    registrar.take_up(record)
    return judge.gave_up(record.number, record.role)
