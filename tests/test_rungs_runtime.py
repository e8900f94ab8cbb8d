"""Trainings that are stopped at rungs and continued: what is written, what is kept, what a killed driver loses."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.continuing import Continuations
from evolve.dispatch import InlineDispatcher
from evolve.ledger import EventKind, IndividualRecord, Ledger, SearchRecord, SearchState
from evolve.overview import default_fitness, default_of, generations
from evolve.search.base import Proposal
from evolve.trial import FailureKind, Role, TrialFailed, TrialSpec, TrialState, TrialStream
from rung_searches import EPOCHS, LEVELS, Checkpointing, Halving, Killed, best_by, drive, rungs_space, value
from search_helpers import create

STOPS: Mapping[int, tuple[float, ...]] = {1: (2,), 3: (6,), 5: (2, 6)}
"""One at each rung, and one that is continued twice; 2, 4, 6 and 7 are the continuations."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def verdicts(ledger: Ledger, search: SearchRecord) -> list[tuple[object, ...]]:
    return [
        (
            each.number,
            each.genome,
            each.role,
            each.original,
            each.state,
            each.fitness,
            dict(each.rungs),
            each.seconds,
        )
        for each in ledger.individuals(search.id)
    ]


def line(individuals: list[IndividualRecord], number: int) -> list[IndividualRecord]:
    """An individual and the continuations of it, one of another."""
    found = [individuals[number]]
    while heirs := [each for each in individuals if each.original == found[-1].number]:
        found += heirs
    return found


def folders(search: SearchRecord) -> set[int]:
    return {int(path.name) for path in Path(search.directory).glob("trials/*")}


def test_what_is_stopped_is_continued_to_its_end(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    objective, algorithm = Checkpointing(), Halving(STOPS)
    ending = drive(ledger, search, algorithm, objective=objective)
    assert ending is not None
    assert ending.state is SearchState.COMPLETED
    individuals = ledger.individuals(search.id)
    assert Counter(each.state for each in individuals) == {TrialState.COMPLETED: 8, TrialState.STOPPED: 4}
    first, *others = line(individuals, 5)
    assert (first.state, first.fitness, dict(first.rungs)) == (TrialState.STOPPED, None, {2: best_by(0.15, 2)})
    middle, last = others
    assert dict(middle.rungs) == {2: best_by(0.15, 2), 6: best_by(0.15, 6)}
    assert (last.fitness, last.rungs, last.role) == (value(0.15, EPOCHS), middle.rungs, Role.CONTINUATION)
    assert [each.seconds for each in (first, middle, last)] == [2, 4, 12]
    assert {tuple(each.rungs) for each in individuals if each.fitness is not None} == {LEVELS}
    assert Counter(objective.trained).most_common(1)[0][1] == 1
    assert len(objective.trained) == 8 * EPOCHS, "an epoch was lost or trained twice"
    by_number = {outcome.proposal.number: outcome for outcome in algorithm.told}
    assert all(by_number[each.number].rungs == each.rungs for each in individuals)
    assert all(by_number[each.number].seconds == each.seconds for each in individuals)


def test_every_rung_is_heard_of_once_with_the_best_so_far(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    algorithm = Halving(STOPS)
    drive(ledger, search, algorithm)
    individuals = ledger.individuals(search.id)
    for number in (0, 1, 3, 5):
        heard = [each for each in algorithm.heard if each[0] in {one.number for one in line(individuals, number)}]
        x = individuals[number].genome[0]
        assert [each[1:] for each in heard] == [(2, best_by(x, 2)), (6, best_by(x, 6))]


@pytest.mark.parametrize("lives", [3, 4, 5, 8])
def test_a_driver_killed_after_any_commit_loses_nothing(ledger: Ledger, tmp_path: Path, lives: int) -> None:
    whole = create(ledger, rungs_space(), tmp_path, "whole")
    drive(ledger, whole, Halving(STOPS))
    broken = create(ledger, rungs_space(), tmp_path, "broken")
    objective = Checkpointing()
    while drive(ledger, broken, Halving(STOPS), objective=objective, lives=lives) is None:
        pass
    assert verdicts(ledger, broken) == verdicts(ledger, whole)
    assert set(Counter(objective.trained).values()) == {1}
    assert ledger.search(broken.id).trained == ledger.search(whole.id).trained == 8
    assert folders(broken) == folders(whole)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stops=st.dictionaries(st.integers(1, 8), st.sampled_from([(2,), (6,), (2, 6)]), max_size=5),
    lives=st.lists(st.integers(1, 40), max_size=6),
)
def test_whatever_happens_nothing_finished_is_trained_again_and_rungs_are_complete(
    tmp_path_factory: pytest.TempPathFactory, stops: dict[int, tuple[float, ...]], lives: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("search")
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        search = create(ledger, rungs_space(), folder)
        objective = Checkpointing()
        for each in lives:
            drive(ledger, search, Halving(stops), objective=objective, lives=each)
        if not ledger.search(search.id).state.is_over:
            drive(ledger, search, Halving(stops), objective=objective)
        assert set(Counter(objective.trained).values()) == {1}
        for each in ledger.individuals(search.id):
            x, passed = each.genome[0], LEVELS if each.fitness is not None else LEVELS[: len(each.rungs)]
            assert dict(each.rungs) == {level: best_by(x, level) for level in passed}
            assert passed


def test_a_driver_killed_between_handing_over_and_submitting(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    objective = Checkpointing()
    hand_over = Continuations.hand_over
    deaths: list[int] = []

    def die(self: Continuations, number: int) -> None:
        before = folders(search)
        hand_over(self, number)
        if folders(search) != before and number not in deaths:
            deaths.append(number)
            raise Killed

    monkeypatch.setattr(Continuations, "hand_over", die)
    while drive(ledger, search, Halving(STOPS), objective=objective) is None:
        pass
    assert len(deaths) == 4
    assert set(Counter(objective.trained).values()) == {1}


def test_a_checkpoint_that_is_gone_costs_time_and_no_rung(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(), tmp_path)

    class Forgetful(Checkpointing):
        def run(self, spec: TrialSpec) -> TrialStream:
            shutil.rmtree(spec.directory, ignore_errors=True)
            return (yield from super().run(spec))

    objective, algorithm = Forgetful(), Halving({2: (6,)})
    drive(ledger, search, algorithm, objective=objective)
    original, heir = line(ledger.individuals(search.id), 2)
    assert [epoch for number, epoch in objective.trained if number == heir.number] == list(range(1, EPOCHS + 1))
    assert heir.rungs == {2: best_by(0.1, 2), 6: best_by(0.1, 6)} == original.rungs
    assert heir.number not in {number for number, _, _ in algorithm.heard}, "a rung was judged twice"


@pytest.mark.parametrize("continues", [False, True])
def test_folders_are_kept_of_those_that_may_be_continued(ledger: Ledger, tmp_path: Path, continues: bool) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    seen: list[set[int]] = []

    class Watching(Halving):
        def ask(self, n: int) -> list[Proposal]:
            if len(self.told) >= 4:  # a folder is there while its individual trains, too
                seen.append(folders(search) & {1, 2})
            return super().ask(n)

    drive(ledger, search, Watching({1: (2,), 2: (6,)}, continues=continues, patience=6))
    assert max(seen, key=len) == ({1, 2} if continues else set())
    assert not folders(search) & {1, 2}, "they are of no use any more"


def test_a_training_that_ends_before_the_stop_reaches_it_is_complete(ledger: Ledger, tmp_path: Path) -> None:
    class Deaf(InlineDispatcher):
        asked = 0

        def stop(self, trial_id: str) -> None:
            self.asked += 1

    search = create(ledger, rungs_space(), tmp_path)
    dispatcher, algorithm = Deaf(Checkpointing()), Halving(STOPS)
    drive(ledger, search, algorithm, dispatcher=dispatcher)
    assert dispatcher.asked == 3
    assert {each.state for each in ledger.individuals(search.id)} == {TrialState.COMPLETED}


def test_equals_do_not_get_the_verdict_of_one_that_was_stopped(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    objective = Checkpointing()
    drive(ledger, search, Halving({1: (2,)}, continues=False, x=lambda number: 0.5), objective=objective)
    individuals = ledger.individuals(search.id)
    assert [each.reused_from for each in individuals] == [None, *[0] * 11]
    again = create(ledger, rungs_space(), tmp_path, "again")
    drive(ledger, again, Halving({0: (2,)}, continues=False, x=lambda number: 0.5), objective=objective)
    assert [each.reused_from for each in ledger.individuals(again.id)] == [None, None, *[1] * 10]


def test_a_lost_machine_is_no_reason_to_train_what_was_given_up(ledger: Ledger, tmp_path: Path) -> None:
    class Lost(InlineDispatcher):
        def stop(self, trial_id: str) -> None:
            pass

    class Crashing(Checkpointing):
        def run(self, spec: TrialSpec) -> TrialStream:
            running = super().run(spec)
            yield next(running)
            yield next(running)
            if spec.individual == 1:
                raise TrialFailed(FailureKind.INFRASTRUCTURE, "the node is gone")
            return (yield from running)

    search = create(ledger, rungs_space(), tmp_path)
    drive(ledger, search, Halving({1: (2,)}, continues=False), dispatcher=Lost(Crashing()))
    lost = ledger.individuals(search.id)[1]
    assert (lost.state, lost.failure, lost.attempts, dict(lost.rungs)) == (
        TrialState.STOPPED,
        None,
        1,
        {2: best_by(0.05, 2)},
    )


def test_seconds_and_rungs_are_those_of_all_attempts(ledger: Ledger, tmp_path: Path) -> None:
    class Flaky(Checkpointing):
        def run(self, spec: TrialSpec) -> TrialStream:
            for report in (running := super().run(spec)):
                yield report
                if spec.individual == 2 and report.epoch == 4 and spec.attempt == 1:
                    raise TrialFailed(FailureKind.INFRASTRUCTURE, "the node is gone")
                if report.epoch == EPOCHS:
                    break
            return (yield from running)

    search = create(ledger, rungs_space(), tmp_path)
    drive(ledger, search, Halving({}), objective=Flaky())
    lost = ledger.individuals(search.id)[2]
    assert (lost.attempts, dict(lost.rungs)) == (2, {2: best_by(0.1, 2), 6: best_by(0.1, 6)})
    assert lost.seconds == EPOCHS


def test_evaluations_are_counted_by_their_share_of_a_whole_training(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(stop={"evaluations": 3}, search={"generations": 100}), tmp_path)
    objective = Checkpointing()
    stops = dict.fromkeys(range(100), (2.0,))
    ending = drive(ledger, search, Halving(stops, continues=False), objective=objective)
    assert ending is not None
    assert ending.state is SearchState.FAILED, "nobody has a fitness"
    assert "3 evaluations are done" in ending.reason
    assert len(objective.trained) == 3 * EPOCHS
    assert ledger.search(search.id).trained == 0
    whole = create(ledger, rungs_space(stop={"evaluations": 3}, search={"generations": 100}), tmp_path, "whole")
    objective = Checkpointing()
    while drive(ledger, whole, Halving(STOPS), objective=objective, lives=7) is None:
        pass
    assert len(objective.trained) == 3 * EPOCHS, "a continuation counts for what it trains itself"


def test_statistics_tell_stopped_from_failed(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    drive(ledger, search, Halving({1: (2,), 2: (6,)}, continues=False))
    finished = [each.data for each in ledger.events(search.id, kinds=[EventKind.GENERATION_FINISHED])]
    assert [(each["evaluated"], each["stopped"], each["failed"]) for each in finished] == [
        (2, 2, 0),
        *[(4, 0, 0)] * 2,
    ]
    for summary in (ledger.generation_summaries(search.id)[0], generations(ledger.individuals(search.id))[0]):
        assert (summary.evaluated, summary.failed, summary.open) == (2, 0, 0)


def test_a_partial_training_has_a_rung_and_no_fitness(ledger: Ledger, tmp_path: Path) -> None:
    rungs = {"over": "imgsz", "levels": 1, "factor": 2}
    search = create(ledger, rungs_space(train={"imgsz": 64}, search={"rungs": rungs}), tmp_path)
    objective, algorithm = Checkpointing(), Halving({}, partial={"imgsz": 32})
    while drive(ledger, search, algorithm, objective=objective, lives=9) is None:
        algorithm = Halving({}, partial={"imgsz": 32})
    individuals = ledger.individuals(search.id)
    cheap, whole = individuals[:2]
    assert (cheap.role, cheap.state, cheap.fitness) == (Role.PARTIAL, TrialState.STOPPED, None)
    assert dict(cheap.rungs) == dict(whole.rungs) == {32: value(0, EPOCHS)}
    assert cheap.metrics == {}
    assert (whole.role, whole.original, whole.fitness) == (Role.CONTINUATION, 0, value(0, EPOCHS))
    assert [epoch for number, epoch in objective.trained if number == whole.number] == list(range(1, EPOCHS + 1))
    record = ledger.search(search.id)
    assert (record.trained, record.best_individual) == (6, max(each.number for each in individuals))
    assert algorithm.heard == []


def test_a_default_that_was_stopped_is_what_continued_it(ledger: Ledger, tmp_path: Path) -> None:
    """Everything is compared with it: totals, reports, the front, the weights that are kept."""
    search = create(ledger, rungs_space(), tmp_path)
    drive(ledger, search, Halving({0: (2, 6)}, patience=6), objective=Checkpointing())
    individuals = ledger.individuals(search.id)
    last = line(individuals, 0)[-1]
    assert last.number > 6
    assert default_of(individuals) == last
    found = ledger.search(search.id)
    assert found.default_fitness == default_fitness(individuals) == last.fitness == value(0.0, EPOCHS)
    scores = sorted((each.fitness for each in individuals if each.fitness is not None), reverse=True)
    assert last.number in folders(search)
    assert last.fitness not in scores[:5]


def test_before_it_is_continued_a_stopped_default_has_no_fitness(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, rungs_space(), tmp_path)
    drive(ledger, search, Halving({0: (2,)}, continues=False), objective=Checkpointing())
    assert ledger.search(search.id).default_fitness is None
    assert default_of(ledger.individuals(search.id)) is None
