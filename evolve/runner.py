"""The loop: ask, submit, listen, write down, tell.

Whatever happens is in the ledger before anyone acts on it; the algorithm hears of a verdict only when it is
committed. So the driver may die at any line of this module, and a new one that replays the ledger goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evolve.dispatch import Dispatcher, InlineDispatcher, Reported, Stopped, TrialEvent
from evolve.finale import Finale
from evolve.judging import Judge
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger, Request, SearchState
from evolve.registrar import Registrar
from evolve.search.base import Outcome, SearchAlgorithm
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate
from evolve.stopping import StopRules, Totals
from evolve.takeover import take_over
from evolve.trial import Role

POLL_SECONDS = 0.5
GRACE_SECONDS = 6.0
"""How long running trials may take to stop when the driver leaves."""
IDLE_SECONDS = 600.0
"""How long a driver waits for workers before it makes room for others."""


class Interrupted(BaseException):
    """Raised into a training that runs in the driver's own thread, to get out of it at once."""


@dataclass(frozen=True)
class Ending:
    """How a search ends: the state that it is left in, and why, in words for a person."""

    state: SearchState
    reason: str


INTERRUPTION = Ending(SearchState.INTERRUPTED, "by a signal")


class Runner:
    """Drives one search to its end, or to the next interruption.

    Args:
        space: What is searched.
        algorithm: Proposes and learns; fresh, the runner replays the ledger into it.
        dispatcher: Trains; the runner closes it.
        ledger: For reading what there is already.
        keeper: The lease of this search, entered, so that it stays alive.
        template: Common part of all specs.
        gpus_per_trial: For the GPU-hours of trials that are still running.
        shortage: Says what the machine lacks just now (disk space), or None.
        allotted: Whether a supervisor decides how many trials run at once; see `LeaseKeeper.allotment`.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        algorithm: SearchAlgorithm,
        dispatcher: Dispatcher,
        ledger: Ledger,
        keeper: LeaseKeeper,
        template: SpecTemplate,
        gpus_per_trial: float = 0.0,
        shortage: Callable[[], str | None] = lambda: None,
        allotted: bool = False,
    ) -> None:
        self._algorithm = algorithm
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._keeper = keeper
        self._search_id = template.search_id
        self._gpus_per_trial = gpus_per_trial
        self._shortage = shortage
        self._allotted = allotted
        self._workers: int | None = None
        self._idle_since: float | None = None
        self._rules = StopRules(space.search, space.stop)
        self._registrar = Registrar(space, template, ledger, gpus_per_trial)
        self._roster = self._registrar.roster
        self._judge = Judge(algorithm, self._registrar.rungs, space.fitness)
        self._finale = Finale(space, ledger, template.search_id)
        self._closing = False  # nothing new is proposed
        self._asked = 0
        self._clock = time.monotonic()
        self._paused = ""
        self._interrupted = False
        self._training_here = False

    def run(self) -> Ending:
        """Work until the search is over, cancelled, failed or interrupted.

        Raises:
            LeaseLost: another driver has taken the search over.
        """
        try:
            try:
                self._begin()
                ending = self._work()
            except Interrupted:
                ending = INTERRUPTION
            self._leave(ending)
        finally:
            self._dispatcher.close()
        return ending

    def interrupt(self) -> None:
        """Ask for an orderly end; safe to call from a signal handler."""
        self._interrupted = True
        self._keeper.hurry()
        if self._training_here:
            raise Interrupted

    def _begin(self) -> None:
        """Stand where the last driver stood."""
        self._finale.recall()
        self._asked, outcomes = take_over(
            self._search_id, self._ledger, self._keeper, self._algorithm, self._registrar, self._judge
        )
        self._tell(outcomes)

    # the loop

    def _work(self) -> Ending:
        while (ending := self._ending()) is None:
            self._heed_allotment()
            self._heed_pause()
            if not self._paused and self._fill():
                continue
            if self._roster.running or self._paused or not self._dispatcher.slots:
                self._absorb(self._listen())
        return ending

    def _ending(self) -> Ending | None:
        if self._interrupted:
            return INTERRUPTION
        if self._keeper.request is Request.CANCEL:
            return Ending(SearchState.CANCELLED, "cancelled on request")
        if self._registrar.fatal is not None:
            return Ending(SearchState.FAILED, self._registrar.fatal)
        reason = self._finale.reason or self._rules.reason(self._spent())
        self._closing = reason is not None
        if reason is None:
            return self._idleness()
        if self._registrar.totals.told and self._registrar.totals.best is None:
            return Ending(SearchState.FAILED, f"{reason}, and no individual has a fitness")
        return self._finish(reason)

    def _finish(self, reason: str) -> Ending | None:
        """Before the search is over, what runs is trained to its end, and the finals, if any are wanted."""
        if self._finale.is_due and not self._is_busy:
            self._tell(self._finale.begin(self._keeper, self._registrar, reason))
        if self._is_busy and self._finale.is_wanted:
            return self._idleness()
        return Ending(SearchState.COMPLETED, reason)

    @property
    def _is_busy(self) -> bool:
        return bool(self._roster.running or self._roster.queued)

    def _idleness(self) -> Ending | None:
        """Leave, for a while, a search that is long without workers: its supervisor starts it again by itself."""
        if not self._allotted or self._roster.running or self._dispatcher.slots:
            self._idle_since = None
            return None
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since < IDLE_SECONDS:
            return None
        return Ending(SearchState.INTERRUPTED, self._paused or "waits for workers")

    def _spent(self) -> Totals:
        """The totals, with the trials that are still running."""
        totals, now = self._registrar.totals, time.monotonic()
        totals.wall_seconds += now - self._clock
        self._clock = now
        running = sum(each.seconds for each in self._roster.running.values())
        return replace(totals, gpu_seconds=totals.gpu_seconds + running * self._gpus_per_trial)

    def _heed_allotment(self) -> None:
        """Run as many trials at once as the supervisor grants."""
        workers = self._keeper.allotment if self._allotted else None
        if workers is not None and workers != self._workers:
            self._workers = workers
            self._dispatcher.resize(workers)

    def _heed_pause(self) -> None:
        """Pause on request, or while the machine is short of something; running trials go on."""
        reason = "paused on request" if self._keeper.request is Request.PAUSE else self._shortage() or ""
        if bool(reason) == bool(self._paused):
            return
        with self._keeper.transaction() as tx:
            if reason:
                tx.pause(reason)
            else:
                tx.unpause(f"no longer: {self._paused}")
        self._paused = reason

    def _fill(self) -> bool:
        """Give every free slot an individual: those to be tried again first, then new ones.

        Returns:
            Whether a slot may still be free because an individual needed none: its verdict was known already.
            The rules are looked at before the next is asked for, as whole generations may be known.
        """
        free = self._dispatcher.slots - len(self._roster.running)
        proposals = self._algorithm.ask(min(free - self._roster.queued, self._may_ask()))
        if free <= 0 or not (proposals or self._roster.queued):
            return False
        self._asked += len(proposals)
        outcomes: list[Outcome] = []
        with self._keeper.transaction() as tx:
            for proposal in proposals:
                outcomes += self._registrar.place(tx, proposal)
            specs = [self._registrar.enlist(tx, *attempt) for attempt in self._roster.next_attempts(free)]
        self._registrar.prepare(specs)
        self._tell(outcomes)
        for spec in specs:
            self._dispatcher.submit(spec)
        return len(specs) < free

    def _may_ask(self) -> int:
        if self._closing:
            return 0
        left = self._rules.evaluations_left(self._registrar.totals, len(self._roster.running))
        return min(left, self._rules.individuals - self._asked)

    # news

    def _listen(self) -> list[TrialEvent]:
        if not self._roster.running:
            time.sleep(POLL_SECONDS)
            return []
        self._training_here = isinstance(self._dispatcher, InlineDispatcher)
        try:
            # a signal that came before the flag was set is seen by the loop, one that comes later raises
            return [] if self._interrupted else self._dispatcher.events(POLL_SECONDS)
        finally:
            self._training_here = False

    def _absorb(self, events: Sequence[TrialEvent]) -> None:
        """Commit the news, then let the algorithm learn of it."""
        if not events:
            return
        outcomes: list[Outcome] = []
        with self._keeper.transaction() as tx:
            for event in events:
                if event.trial_id in self._roster.running:
                    outcomes += self._registrar.write(tx, event)
        self._tell(outcomes)
        for event in events:
            if isinstance(event, Reported):
                self._heed(event)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        """Act on verdicts that are committed."""
        for outcome in outcomes:
            if outcome.proposal.role is not Role.FINAL:
                self._algorithm.tell(outcome)
        self._registrar.tidy(self._algorithm)

    def _heed(self, event: Reported) -> None:
        """Stop a trial that the algorithm gives up."""
        running = self._roster.running.get(event.trial_id)
        if running is not None and self._judge.gives_up(running, event.report):
            self._dispatcher.stop(event.trial_id)

    # leaving

    def _leave(self, ending: Ending) -> None:
        """Stop what runs, keep what finishes meanwhile, and let go of the search."""
        self._interrupted = False  # the events of this last round are wanted
        for trial_id in list(self._roster.running):
            self._dispatcher.stop(trial_id)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._roster.running and time.monotonic() < deadline:
            events = self._listen()
            self._absorb([event for event in events if not isinstance(event, Stopped)])
            self._abandon([event.trial_id for event in events if isinstance(event, Stopped)], ending)
        self._abandon(list(self._roster.running), ending)
        answer = self._finale.answer() if ending.state is SearchState.COMPLETED else None
        if ending.state.is_over:
            self._registrar.tidy_for_good(answer)
        self._dispatcher.close()
        self._keeper.release(ending.state, ending.reason, self._finale.writes(answer))

    def _abandon(self, trial_ids: Sequence[str], ending: Ending) -> None:
        with self._keeper.transaction() as tx:
            for trial_id in trial_ids:
                self._registrar.abandon(tx, trial_id, resumable=not ending.state.is_over)
