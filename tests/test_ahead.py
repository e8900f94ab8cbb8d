"""Proposing ahead: what is ready when somebody asks, and that nothing is proposed twice or forgotten."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evolve.dispatch import InlineDispatcher, Reported, Started, TrialEvent
from evolve.ledger import Ledger, SearchState
from evolve.search.ahead import PATIENCE_SECONDS, Ahead
from evolve.search.base import Outcome, Proposal
from evolve.search.genetic import GeneticSearch
from evolve.search.making import make_search, thinking_ahead
from evolve.space import SearchSpace
from evolve.trial import EpochReport, Role, TrialResult, TrialSpec, TrialState
from rung_searches import Checkpointing, Killed, Mortal
from search_helpers import create, make_runner
from simulated_trials import Trials
from spaces import METRIC, space

GENES = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.2}, "y": {"type": "boolean", "default": False}}
QUICK = {"screening": 20, "population": 4}


def searched(**more: Any) -> SearchSpace:
    return space(genes=GENES, search={**QUICK, **more.pop("search", {})}, **more)


class Slow(GeneticSearch):
    """Takes its time over a draft; counts them."""

    seconds = 0.15
    drafts = 0

    def draft(self) -> Proposal:
        self.drafts += 1
        time.sleep(self.seconds)
        return super().draft()


def worth(proposal: Proposal) -> Outcome:
    return Outcome(proposal, 1 - abs(float(proposal.params["x"]) - 0.7))  # type: ignore[arg-type]


def soon(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def is_idle(ahead: Ahead) -> bool:
    with ahead._changed:
        return ahead._draft is not None and not ahead._stale


def asked(ahead: Ahead, n: int) -> list[Proposal]:
    """So many proposals, however long they take."""
    proposals: list[Proposal] = []
    soon(lambda: len(proposals) == n or proposals.extend(ahead.ask(n - len(proposals))) or len(proposals) == n)
    return proposals


def test_a_proposal_is_there_at_once_when_there_was_time_to_think() -> None:
    with Ahead(Slow(searched())) as ahead:
        asked(ahead, 1)
        soon(lambda: is_idle(ahead))
        before = time.monotonic()
        assert len(ahead.ask(1)) == 1
        assert time.monotonic() - before < Slow.seconds / 2


def test_who_asks_for_too_much_gets_what_there_is() -> None:
    search = Slow(searched())
    search.seconds = 0.5
    with Ahead(search) as ahead:
        before = time.monotonic()
        assert ahead.ask(3) == []
        assert PATIENCE_SECONDS <= time.monotonic() - before < PATIENCE_SECONDS + 0.2
        assert ahead.ask(0) == []
        assert ahead.ask(-1) == []


def test_numbers_have_no_gaps_and_come_once() -> None:
    with Ahead(GeneticSearch(searched())) as ahead:
        run = Trials(searched(), ahead, lambda each, level: float(each.params["x"]), slots=5)  # type: ignore[arg-type]
        soon(lambda: not run.step(50) and len(run.proposals) == 50)
    assert [each.number for each in run.proposals] == list(range(50))
    assert len({each.key for each in run.proposals}) == 50
    assert any("screened" in each.operators for each in run.proposals)


def test_a_verdict_renews_the_draft() -> None:
    search = Slow(searched())
    with Ahead(search) as ahead:
        first = asked(ahead, 1)[0]
        soon(lambda: is_idle(ahead))
        drafts = search.drafts
        ahead.tell(worth(first))
        assert ahead.ask(1)[0].number == 1, "the stale draft is there until a better one is"
        soon(lambda: is_idle(ahead) and search.drafts > drafts)
        assert search._told == 1


def test_a_draft_of_a_number_that_is_taken_is_dropped() -> None:
    search = Slow(searched())
    with Ahead(search) as ahead:
        numbers = [each.number for each in asked(ahead, 6)]
        for number in range(6):
            ahead.tell(worth(search._proposals[number]))
            numbers += [each.number for each in ahead.ask(1)]
        numbers += [each.number for each in asked(ahead, 3)]
    assert numbers == list(range(len(numbers)))


def test_telling_takes_no_time_and_those_not_heard_of_yet_are_kept() -> None:
    search = Slow(searched())
    search.seconds = 0.4
    with Ahead(search) as ahead:
        first, second = asked(ahead, 2)
        soon(lambda: is_idle(ahead))
        ahead.tell(worth(first))  # it thinks anew
        soon(lambda: search._told == 1)
        before = time.monotonic()
        ahead.tell(worth(second))
        assert {0, 1} <= set(ahead.possible_parents())
        assert 1 in ahead.continuable()
        assert time.monotonic() - before < 0.2
        assert search._told == 1
        soon(lambda: search._told == 2 and is_idle(ahead))
        assert ahead.possible_parents() == {0, 1}
        assert ahead.continuable() == set()


def test_a_report_is_answered_while_it_thinks() -> None:
    rungs = {"over": "epochs", "levels": 1, "factor": 3}
    search = Slow(searched(train={"epochs": 9}, search={"rungs": rungs}))
    search.seconds = 0.5
    with Ahead(search) as ahead:
        asked(ahead, 2)
        before = time.monotonic()
        ahead.report(1, 3, 0.5)
        assert time.monotonic() - before < 0.2


def test_an_error_reaches_who_asks() -> None:
    class Broken(GeneticSearch):
        def draft(self) -> Proposal:
            if self._asked:
                raise ArithmeticError("no such child")
            return super().draft()

    with Ahead(Broken(searched())) as ahead:
        assert len(ahead.ask(1)) == 1
        with pytest.raises(ArithmeticError, match="no such child"):
            asked(ahead, 1)
        with pytest.raises(ArithmeticError):
            ahead.ask(1)


def test_closing_ends_the_thread() -> None:
    ahead = Ahead(GeneticSearch(searched()))
    ahead.close()
    assert ahead.ask(1) == []
    with Ahead(Slow(searched())) as ahead:
        asked(ahead, 1)
        assert ahead._thread.is_alive()
    assert not ahead._thread.is_alive()
    ahead.close()
    assert "search" not in {thread.name for thread in threading.enumerate()}


def test_it_stands_where_a_former_one_stood() -> None:
    with Ahead(GeneticSearch(searched())) as ahead:
        proposals = asked(ahead, 9)
        outcomes = [worth(each) for each in proposals[:6]]
        for outcome in outcomes:
            ahead.tell(outcome)
    with Ahead(GeneticSearch(searched())) as revived:
        revived.replay(proposals, outcomes)
        assert [each.number for each in asked(revived, 2)] == [9, 10]
        assert revived.possible_parents() == {
            outcome.proposal.number for outcome in sorted(outcomes, key=lambda each: -(each.fitness or 0))[:4]
        }


@pytest.mark.parametrize(
    ("search", "beside", "ahead"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"generational": True}, True, False),
        ({"screening": 1}, True, False),
        ({"algorithm": "random"}, True, False),
    ],
)
def test_only_where_it_changes_nothing_that_is_promised(search: dict[str, Any], beside: bool, ahead: bool) -> None:
    with thinking_ahead(make_search(searched(search=search)), beside=beside) as algorithm:
        assert isinstance(algorithm, Ahead) is ahead


# with the runner


class Beside:
    """A dispatcher of several slots whose trials advance by an epoch each time that events are asked for."""

    def __init__(self, objective: Checkpointing, slots: int) -> None:
        self.slots = slots
        self._queue: deque[TrialSpec] = deque()
        self._running: dict[str, InlineDispatcher] = {}
        self._objective = objective

    def resize(self, slots: int) -> None:
        self.slots = slots

    def submit(self, spec: TrialSpec) -> None:
        self._running[spec.trial_id] = InlineDispatcher(self._objective)
        self._running[spec.trial_id].submit(spec)

    def events(self, timeout: float) -> list[TrialEvent]:
        time.sleep(0.002)
        events = [event for each in list(self._running.values()) for event in each.events(timeout)]
        for event in events:
            if not isinstance(event, Started | Reported):
                del self._running[event.trial_id]
        return events

    def stop(self, trial_id: str) -> None:
        if trial_id in self._running:
            self._running[trial_id].stop(trial_id)

    def close(self) -> None:
        for each in self._running.values():
            each.close()
        self._running.clear()


class Learning(Checkpointing):
    """A training whose rungs keep the order of what it comes to."""

    def run(self, spec: TrialSpec) -> Any:
        folder = Path(spec.directory)
        folder.mkdir(parents=True, exist_ok=True)
        last = folder / "last"
        begun = int(last.read_text()) if last.exists() else 0
        for epoch in range(begun + 1, 10):
            self.trained.append((spec.individual, epoch))
            last.write_text(str(epoch))
            yield EpochReport(epoch, 9, {METRIC: spec.params["x"] * epoch / 9}, float(epoch - begun))  # type: ignore[operator]
        last.unlink()
        return TrialResult({METRIC: spec.params["x"]}, epochs=9, seconds=float(9 - begun))  # type: ignore[dict-item]


def lived(ledger: Ledger, search: Any, objective: Learning, lives: int) -> SearchState | None:
    """Drive it, thinking ahead, until it ends or has made so many commits and is killed (None)."""
    document = SearchSpace.from_document(search.document, "test")
    try:
        with Mortal(ledger.acquire(search.id), lives) as keeper, Ahead(GeneticSearch(document)) as ahead:
            dispatcher = Beside(objective, 3)
            return make_runner(ledger, search, keeper, dispatcher=dispatcher, algorithm=ahead).run().state
    except Killed:
        return None


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        yield ledger


@pytest.mark.parametrize("lives", [0, 23])
def test_a_search_that_thinks_ahead_loses_nothing(tmp_path: Path, lives: int) -> None:
    rungs = {"over": "epochs", "levels": 1, "factor": 3}
    settings = {"rungs": rungs, "generations": 8, "repeats": {"default": 1, "elites": 1}}
    with opened(tmp_path) as ledger:
        search = create(ledger, searched(train={"epochs": 9}, search=settings), tmp_path)
        objective = Learning()
        while (state := lived(ledger, search, objective, lives)) is None:
            pass
        assert state is SearchState.COMPLETED
        individuals = ledger.individuals(search.id)
        assert [each.number for each in individuals] == list(range(32))
        assert {each.state for each in individuals} == {TrialState.COMPLETED, TrialState.STOPPED}
        assert len(objective.trained) == len(set(objective.trained)), "an epoch was trained twice"
        continued = [each.original for each in individuals if each.role is Role.CONTINUATION]
        assert len(continued) == len(set(continued))
        whole = [each for each in individuals if each.fitness is not None]
        assert len(ledger.evaluations(search.id)) >= len(individuals)
        assert len({(each.key, each.seed) for each in whole}) == len(whole)
