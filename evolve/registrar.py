"""Turns what trials report into verdicts, and writes them down.

Everything here happens inside a transaction that the runner opened. The outcomes that come back are for the
algorithm, once that transaction is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evolve.continuing import Continuations
from evolve.dispatch import Completed, Failed, Reported, Started, Stopped, TrialEvent
from evolve.inheritance import Inheritance
from evolve.ledger import IndividualRecord, Ledger, SearchRecord, Transaction
from evolve.objectives import Objectives
from evolve.policy import FailurePolicy
from evolve.retention import WeightShelf
from evolve.roster import Roster, Running, is_reusable, state_of
from evolve.rung_values import RungBook
from evolve.search.base import Outcome, Proposal, SearchAlgorithm
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate, outcome_of, proposal_of, record_of
from evolve.statistics import GenerationBook, Member
from evolve.stopping import Totals
from evolve.trial import Failure, FailureKind, Json, Role, TrialFailed, TrialResult, TrialSpec
from evolve.verdict import Answer

_NOTHING: Mapping[str, float] = {}


class Registrar:
    """Keeps the books of one search: who is in training, what was spent, which verdicts hold.

    Attributes:
        roster: Who is in training, who waits, who is known.
        totals: What has been spent and reached.
        rungs: Who has passed which rung.
        fatal: Why the search cannot go on, once a failure said so.
    """

    def __init__(self, space: SearchSpace, template: SpecTemplate, ledger: Ledger, gpus_per_trial: float) -> None:
        self.roster = Roster()
        self.totals = Totals()
        self.rungs = RungBook(space, ledger, template.search_id)
        self.fatal: str | None = None
        self._fitness = space.fitness
        self._objectives = Objectives(space.objectives)
        self._search_id = template.search_id
        self._template = template
        self._ledger = ledger
        self._gpus_per_trial = gpus_per_trial
        self._policy = FailurePolicy(space.search)
        self._shelf = WeightShelf(template.directory)
        self._inheritance = Inheritance(ledger, template.search_id, enabled=space.search.inherit_weights)
        self._continuations = Continuations(template.directory)
        self._generations = GenerationBook(space.search.population)
        self._flagged: set[str] = set()

    # what a former driver left

    def remember_totals(self, search: SearchRecord) -> None:
        """Take over what was spent."""
        self.totals.gpu_seconds = search.gpu_seconds
        self.totals.wall_seconds = self._ledger.active_seconds(search.id)

    def remember(self, record: IndividualRecord) -> None:
        """Take over a verdict; to be called in the order told."""
        outcome = outcome_of(record)
        self.roster.settle(outcome.proposal, reusable=is_reusable(outcome))
        self._enter(outcome, record.reused_from)
        if record.reused_from is None:
            self._shelf.offer(record, record.fitness)

    def take_up(self, record: IndividualRecord) -> None:
        """Take over what an individual without a verdict has reported; before it is queued again or given up."""
        if record.attempts:
            self.rungs.restore(proposal_of(record))

    def requeue(self, tx: Transaction, record: IndividualRecord) -> None:
        """Queue an individual without a verdict for its next attempt; to be called in birth order."""
        proposal = self._expect(proposal_of(record))
        self._interrupt(tx, record)
        if not self.roster.wait_for_twin(proposal, record.attempts + 1):
            self.roster.try_again(proposal, record.attempts + 1)

    def give_up(self, tx: Transaction, record: IndividualRecord) -> list[Outcome]:
        """Stop for good what a former driver was told to stop, or would have been; nothing is trained for it."""
        self._interrupt(tx, record)
        proposal = proposal_of(record)
        last = max(each.seconds for each in self._ledger.epochs(self._search_id, record.number))
        seconds = self._seconds(record.number, record.attempts, last)
        return self._settle(tx, Outcome(proposal, None, rungs=self.rungs.values(proposal), seconds=seconds))

    def _interrupt(self, tx: Transaction, record: IndividualRecord) -> None:
        """End the attempt that a former driver has left."""
        if record.attempts and not record.state.is_finished:
            tx.interrupted(record.number, record.attempts, gpus=self._gpus_per_trial)
            self.totals.gpu_seconds = tx.gpu_seconds

    # new individuals

    def place(self, tx: Transaction, proposal: Proposal) -> list[Outcome]:
        """Write a new individual down; queue it, or reuse the verdict of its equal."""
        proposal = self._expect(self._inheritance.endow(tx, proposal))
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
        self.rungs.begin(restored)
        return spec

    def prepare(self, specs: Sequence[TrialSpec]) -> None:
        """Make folders ready for attempts that are to be submitted; to be called when these are committed."""
        for spec in specs:
            self._continuations.hand_over(spec.individual)

    def _expect(self, proposal: Proposal) -> Proposal:
        """Keep on the disk what an individual without a verdict starts from; returns it."""
        self._continuations.expect(proposal)
        return self._inheritance.expect(proposal)

    # news of trials

    def tidy(self, algorithm: SearchAlgorithm) -> None:
        """Make room on the disk; to be called when what was written is committed.

        Args:
            algorithm: Knows who may still become a parent, and who may be continued.
        """
        continuable = algorithm.continuable()
        needed = self._inheritance.needed(algorithm.possible_parents(), continuable)
        self._shelf.clear(needed | self._continuations.needed(continuable))

    def tidy_for_good(self, answer: Answer | None) -> None:
        """Make room on the disk where nothing will be trained any more; what the answer names is kept."""
        if answer is not None:
            self._shelf.choose({each.individual for each in answer.contenders})
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
                self.rungs.add(number, report)
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
        end = tx.interrupted if resumable else tx.stopped
        end(running.proposal.number, running.attempt, gpus=self._gpus_per_trial)

    def _complete(self, tx: Transaction, trial_id: str, result: TrialResult) -> list[Outcome]:
        try:
            fitness, objectives = self._fitness.of(result.metrics), self._objectives.of(result.metrics)
        except TrialFailed as error:
            return self._fail(tx, trial_id, error.failure)
        running = self.roster.end(trial_id)
        proposal = running.proposal
        is_whole = proposal.role is not Role.PARTIAL
        # a worker does not know which share of a GPU it holds
        result = replace(result, gpu_seconds=result.seconds * self._gpus_per_trial)
        tx.completed(proposal.number, running.attempt, result, whole=is_whole)
        self._flag_differences(tx, proposal.number, result)
        self._policy.succeeded()
        outcome = Outcome(
            proposal,
            fitness if is_whole else None,
            rungs=self.rungs.values(proposal, fitness),
            objectives=objectives,
            seconds=self._seconds(proposal.number, running.attempt, result.seconds),
        )
        return self._settle(tx, outcome, result.metrics if is_whole else {})

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
        again = retry and not running.given_up
        tx.failed(number, running.attempt, failure, retry=again, gpus=self._gpus_per_trial)
        self.fatal = self.fatal or self._policy.fatal(failure)
        if again:
            self.roster.try_again(running.proposal, running.attempt + 1)
            return []
        # what needs another attempt only to be stopped is stopped already
        return self._settle(tx, self._unfinished(running, None if retry else failure.kind))

    def _stop(self, tx: Transaction, trial_id: str) -> list[Outcome]:
        running = self.roster.end(trial_id)
        tx.stopped(running.proposal.number, running.attempt, gpus=self._gpus_per_trial)
        self._policy.succeeded()
        return self._settle(tx, self._unfinished(running))

    # verdicts

    def _unfinished(self, running: Running, failure: FailureKind | None = None) -> Outcome:
        """The verdict on a training without a result."""
        proposal = running.proposal
        seconds = self._seconds(proposal.number, running.attempt, running.seconds)
        return Outcome(proposal, None, failure, rungs=self.rungs.values(proposal), seconds=seconds)

    def _seconds(self, number: int, attempt: int, seconds: float) -> float:
        """What all attempts at a training took, of which this was the last."""
        if attempt > 1:
            earlier = self._ledger.evaluations(self._search_id, number)
            seconds += sum(each.seconds for each in earlier if each.attempt < attempt)
        return seconds

    def _settle(self, tx: Transaction, outcome: Outcome, metrics: Mapping[str, float] = _NOTHING) -> list[Outcome]:
        """Write a verdict down, and pass it on to the twins that waited for it."""
        self._record(tx, outcome, metrics)
        self._shelf.offer(outcome.proposal, outcome.fitness)
        reusable = is_reusable(outcome)
        outcomes = [outcome]
        for twin, attempt in self.roster.settle(outcome.proposal, reusable=reusable):
            if reusable:
                outcomes.append(self._reuse(tx, twin, outcome))
            elif not self.roster.wait_for_twin(twin, attempt):
                self.roster.try_again(twin, attempt)
        return outcomes

    def _reuse(self, tx: Transaction, proposal: Proposal, verdict: Outcome) -> Outcome:
        """Give an individual the verdict of its equal, which was trained before."""
        outcome = replace(verdict, proposal=proposal)
        self._record(tx, outcome, reused_from=verdict.proposal.number)
        return outcome

    def _record(
        self,
        tx: Transaction,
        outcome: Outcome,
        metrics: Mapping[str, float] = _NOTHING,
        reused_from: int | None = None,
    ) -> None:
        tx.evaluated(
            outcome.proposal.number,
            state=state_of(outcome),
            fitness=outcome.fitness,
            metrics=metrics,
            failure=outcome.failure,
            reused_from=reused_from,
            rungs=outcome.rungs,
            objectives=outcome.objectives,
            seconds=outcome.seconds,
            role=outcome.proposal.role,
            original=outcome.proposal.original,
        )
        complete = self._enter(outcome, reused_from)
        if complete is not None:
            tx.generation_finished(outcome.proposal.generation, complete)

    def _enter(self, outcome: Outcome, reused_from: int | None) -> dict[str, Json] | None:
        """Enter a verdict into the books; the statistics of its generation, if it was the last one missing."""
        proposal, reused = outcome.proposal, reused_from is not None
        self._inheritance.settle(proposal, reused_from, stopped=outcome.is_partial)
        self._continuations.settle(outcome)
        share = self.rungs.settle(outcome)
        if proposal.role is Role.FINAL:  # the rules of the search and its generations were done before
            return None
        self.totals.trained += 0.0 if reused else share
        self.totals.count(None if proposal.role is Role.REPEAT else outcome.fitness)  # luck reaches no target
        member = Member(proposal.number, proposal.genome, outcome.fitness, reused, outcome.is_partial)
        return self._generations.enter(proposal.generation, member)
