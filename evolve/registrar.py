"""Turns what trials report into verdicts, and writes them down.

Everything here happens inside a transaction that the runner opened. The outcomes that come back are for the
algorithm, once that transaction is committed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from evolve.dispatch import Completed, Failed, Reported, Started, Stopped, TrialEvent
from evolve.inheritance import Inheritance
from evolve.ledger import IndividualRecord, Ledger, SearchRecord, Transaction
from evolve.policy import FailurePolicy
from evolve.retention import WeightShelf
from evolve.roster import Roster
from evolve.search.base import Outcome, Proposal
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate, outcome_of, proposal_of, record_of
from evolve.statistics import GenerationBook, Member
from evolve.stopping import Totals
from evolve.trial import Failure, FailureKind, TrialFailed, TrialResult, TrialSpec, TrialState


class Registrar:
    """Keeps the books of one search: who is in training, what was spent, which verdicts hold.

    Attributes:
        roster: Who is in training, who waits, who is known.
        totals: What has been spent and reached.
        fatal: Why the search cannot go on, once a failure said so.
    """

    def __init__(self, space: SearchSpace, template: SpecTemplate, ledger: Ledger, gpus_per_trial: float) -> None:
        self.roster = Roster()
        self.totals = Totals()
        self.fatal: str | None = None
        self._fitness = space.fitness
        self._search_id = template.search_id
        self._template = template
        self._ledger = ledger
        self._gpus_per_trial = gpus_per_trial
        self._policy = FailurePolicy(space.search)
        self._shelf = WeightShelf(template.directory)
        self._inheritance = Inheritance(ledger, template.search_id, enabled=space.search.inherit_weights)
        self._generations = GenerationBook(space.search.population)
        self._flagged: set[str] = set()

    # what a former driver left

    def remember_totals(self, search: SearchRecord) -> None:
        """Take over what was spent."""
        self.totals.trained = search.trained
        self.totals.gpu_seconds = search.gpu_seconds
        self.totals.wall_seconds = self._ledger.active_seconds(search.id)

    def remember(self, record: IndividualRecord) -> None:
        """Take over a verdict; to be called in the order told."""
        proposal = proposal_of(record)
        reused = record.reused_from is not None
        self.totals.count(record.fitness)
        self.roster.settle(proposal, reusable=_is_reusable(record.failure))
        self._generations.enter(record.generation, Member(record.number, proposal.genome, record.fitness, reused))
        self._inheritance.settle(record.number, record.reused_from)
        if not reused:
            self._shelf.offer(record.number, record.fitness)

    def requeue(self, tx: Transaction, record: IndividualRecord) -> None:
        """Queue an individual without a verdict for its next attempt; to be called in birth order."""
        proposal = self._inheritance.expect(proposal_of(record))
        if record.attempts and not record.state.is_finished:
            tx.interrupted(record.number, record.attempts, gpus=self._gpus_per_trial)
            self.totals.gpu_seconds = tx.gpu_seconds
        if not self.roster.wait_for_twin(proposal, record.attempts + 1):
            self.roster.try_again(proposal, record.attempts + 1)

    # new individuals

    def place(self, tx: Transaction, proposal: Proposal) -> list[Outcome]:
        """Write a new individual down; queue it, or reuse the verdict of its equal."""
        proposal = self._inheritance.endow(tx, proposal)
        tx.propose(record_of(self._search_id, proposal))
        known = self.roster.known(proposal)
        if known is not None:
            equal = self._ledger.individuals(self._search_id, numbers=[known])[0]
            return [self._reuse(tx, proposal, outcome_of(equal))]
        if not self.roster.wait_for_twin(proposal, 1):
            self.roster.try_again(proposal, 1)
        return []

    def enlist(self, tx: Transaction, proposal: Proposal, attempt: int) -> TrialSpec:
        """Write down an attempt that is to be submitted once this is committed."""
        restored = self._inheritance.restore(tx, proposal)
        if restored is not proposal:
            for twin, its_attempt in self.roster.withdraw(proposal):
                self.roster.try_again(twin, its_attempt)
        start = restored.inherited_from
        spec = self._template.spec(restored, attempt, None if start is None else self._inheritance.weights(start))
        tx.submit(spec)
        self.roster.begin(spec.trial_id, restored, attempt)
        return spec

    # news of trials

    def tidy(self, parents: Collection[int]) -> None:
        """Make room on the disk; to be called when what was written is committed.

        Args:
            parents: Who may still become a parent.
        """
        self._shelf.clear(self._inheritance.needed(parents))

    def tidy_for_good(self) -> None:
        """Make room on the disk where nothing will be trained any more."""
        self._shelf.clear()

    def write(self, tx: Transaction, event: TrialEvent) -> list[Outcome]:
        """Write an event of a running trial down; the verdicts that follow from it."""
        running = self.roster.running[event.trial_id]
        number, attempt = running.proposal.number, running.attempt
        outcomes: list[Outcome] = []
        match event:
            case Started(worker=worker):
                tx.started(number, attempt, worker)
            case Reported(report=report):
                running.seconds = report.seconds
                tx.reported(number, attempt, report)
            case Completed(result=result):
                outcomes = self._complete(tx, event.trial_id, result)
            case Failed(failure=failure):
                outcomes = self._fail(tx, event.trial_id, failure)
            case Stopped():
                outcomes = self._stop(tx, event.trial_id)
        self.totals.gpu_seconds = tx.gpu_seconds
        return outcomes

    def abandon(self, tx: Transaction, trial_id: str, *, resumable: bool) -> None:
        """Write down that a trial ends because its search does."""
        running = self.roster.end(trial_id)
        if resumable:
            tx.interrupted(running.proposal.number, running.attempt, gpus=self._gpus_per_trial)
        else:
            tx.stopped(running.proposal.number, running.attempt, gpus=self._gpus_per_trial)

    def _complete(self, tx: Transaction, trial_id: str, result: TrialResult) -> list[Outcome]:
        try:
            fitness = self._fitness.of(result.metrics)
        except TrialFailed as error:
            return self._fail(tx, trial_id, error.failure)
        running = self.roster.end(trial_id)
        number = running.proposal.number
        # a worker does not know which share of a GPU it holds
        result = replace(result, gpu_seconds=result.seconds * self._gpus_per_trial)
        tx.completed(number, running.attempt, result)
        self._flag_differences(tx, number, result)
        tx.evaluated(number, state=TrialState.COMPLETED, fitness=fitness, metrics=result.metrics)
        self._policy.succeeded()
        self.totals.trained += 1
        return self._settle(tx, running.proposal, fitness, None)

    def _flag_differences(self, tx: Transaction, number: int, result: TrialResult) -> None:
        """Say once for each argument that something else took effect than was asked for."""
        for name in result.differences.keys() - self._flagged:
            self._flagged.add(name)
            requested, effective = result.differences[name]
            tx.notice(f"individual {number} asked for {name}={requested}, but {name}={effective} took effect")

    def _fail(self, tx: Transaction, trial_id: str, failure: Failure) -> list[Outcome]:
        running = self.roster.end(trial_id)
        number = running.proposal.number
        retry = self._policy.retries(failure.kind, self.roster.count_failure(number))
        tx.failed(number, running.attempt, failure, retry=retry, gpus=self._gpus_per_trial)
        self.fatal = self.fatal or self._policy.fatal(failure)
        if retry:
            self.roster.try_again(running.proposal, running.attempt + 1)
            return []
        tx.evaluated(number, state=TrialState.FAILED, fitness=None, failure=failure.kind)
        return self._settle(tx, running.proposal, None, failure.kind)

    def _stop(self, tx: Transaction, trial_id: str) -> list[Outcome]:
        running = self.roster.end(trial_id)
        tx.stopped(running.proposal.number, running.attempt, gpus=self._gpus_per_trial)
        tx.evaluated(running.proposal.number, state=TrialState.STOPPED, fitness=None)
        return self._settle(tx, running.proposal, None, None)

    # verdicts

    def _settle(
        self, tx: Transaction, proposal: Proposal, fitness: float | None, failure: FailureKind | None
    ) -> list[Outcome]:
        """Book a verdict that was just written, and pass it on to the twins that waited for it."""
        self._shelf.offer(proposal.number, fitness)
        verdict = self._book(tx, Outcome(proposal, fitness, failure))
        reusable = _is_reusable(failure)
        outcomes = [verdict]
        for twin, attempt in self.roster.settle(proposal, reusable=reusable):
            if reusable:
                outcomes.append(self._reuse(tx, twin, verdict))
            elif not self.roster.wait_for_twin(twin, attempt):
                self.roster.try_again(twin, attempt)
        return outcomes

    def _reuse(self, tx: Transaction, proposal: Proposal, verdict: Outcome) -> Outcome:
        """Give an individual the verdict of its equal, which was trained before."""
        state = TrialState.FAILED if verdict.fitness is None else TrialState.COMPLETED
        number = verdict.proposal.number
        tx.evaluated(
            proposal.number, state=state, fitness=verdict.fitness, failure=verdict.failure, reused_from=number
        )
        return self._book(tx, Outcome(proposal, verdict.fitness, verdict.failure), number)

    def _book(self, tx: Transaction, outcome: Outcome, reused_from: int | None = None) -> Outcome:
        proposal = outcome.proposal
        self._inheritance.settle(proposal.number, reused_from)
        self.totals.count(outcome.fitness)
        member = Member(proposal.number, proposal.genome, outcome.fitness, reused_from is not None)
        complete = self._generations.enter(proposal.generation, member)
        if complete is not None:
            tx.generation_finished(proposal.generation, complete)
        return outcome


def _is_reusable(failure: FailureKind | None) -> bool:
    """Whether a verdict holds for equal individuals too; that of a lost machine does not."""
    return failure is not FailureKind.INFRASTRUCTURE
