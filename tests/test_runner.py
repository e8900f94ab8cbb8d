"""The loop: what it does when all goes well, and on each fault."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolve.dispatch import Completed, Failed, Started, Stopped, TrialEvent
from evolve.exceptions import LeaseHeld, LeaseLost, LedgerError
from evolve.keeper import LeaseKeeper
from evolve.ledger import EventKind, Ledger, Request, SearchRecord, SearchState
from evolve.runner import Ending, Runner
from evolve.search.base import Decision
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace
from evolve.trial import (
    EpochReport,
    Failure,
    FailureKind,
    TrialFailed,
    TrialResult,
    TrialSpec,
    TrialState,
    TrialStream,
)
from search_helpers import create, fingerprint, make_runner, run
from spaces import METRIC, space
from workers.synthetic import SyntheticObjective


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def searched(ledger: Ledger, folder: Path, *, epochs: int = 1, **sections: Any) -> SearchRecord:
    train = {"epochs": epochs, **sections.pop("train", {})}
    return create(ledger, space(train=train, **sections), folder)


def kinds(ledger: Ledger, search: SearchRecord) -> Counter[EventKind]:
    return Counter(event.kind for event in ledger.events(search.id, limit=100_000))


def test_a_search_runs_through_its_generations(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, epochs=3)
    ending = run(ledger, search)
    record = ledger.search(search.id)
    assert ending == Ending(SearchState.COMPLETED, "5 generations are complete")
    assert (record.state, record.evaluated, record.trained) == (SearchState.COMPLETED, 40, 40)
    assert record.best_fitness == max(each.fitness or 0 for each in ledger.individuals(search.id))
    assert record.default_fitness == ledger.individuals(search.id)[0].fitness
    counted = kinds(ledger, search)
    assert counted[EventKind.GENERATION_FINISHED] == 5
    assert counted[EventKind.EPOCH_REPORTED] == 120
    assert counted[EventKind.TRIAL_COMPLETED] == 40


def test_failures_are_typed_and_the_search_goes_on(ledger: Ledger, tmp_path: Path) -> None:
    failures = {"1": "diverge", "2": "oom", "3": "crash"}
    search = searched(ledger, tmp_path, train={"failures": failures})
    assert run(ledger, search).state is SearchState.COMPLETED
    individuals = ledger.individuals(search.id)
    assert [each.failure for each in individuals[1:4]] == [
        FailureKind.DIVERGED,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.CODE,
    ]
    assert all(each.fitness is None and each.attempts == 1 for each in individuals[1:4])
    crash = ledger.evaluations(search.id, 3)[0]
    assert crash.failure_message == "RuntimeError: injected crash"
    assert "Traceback" in crash.failure_details


def test_data_that_cannot_be_trained_on_ends_the_search(ledger: Ledger, tmp_path: Path) -> None:
    ending = run(ledger, searched(ledger, tmp_path, train={"failures": {"2": "data"}}))
    assert ending == Ending(SearchState.FAILED, "the data cannot be trained on: an image cannot be read")


def test_the_same_error_again_and_again_ends_the_search(ledger: Ledger, tmp_path: Path) -> None:
    failures = {str(number): "crash" for number in range(3, 40)}
    search = searched(ledger, tmp_path, train={"failures": failures}, search={"same_error_limit": 4})
    ending = run(ledger, search)
    assert ending.state is SearchState.FAILED
    assert ending.reason == "the same error 4 times in a row (code): RuntimeError: injected crash"
    assert ledger.search(search.id).evaluated == 7


def test_a_failed_search_can_be_resumed_once_the_cause_is_gone(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, train={"failures": {"2": "data"}})
    run(ledger, search)

    class Mended(SyntheticObjective):
        def run(self, spec: TrialSpec) -> TrialStream:
            return super().run(TrialSpec(**{**vars(spec), "settings": {"epochs": 1}}))

    assert run(ledger, ledger.search(search.id), Mended()).state is SearchState.COMPLETED


class Flaky:
    """Loses the machine of individual 2 a few times."""

    def __init__(self, losses: int) -> None:
        self.losses = losses

    def run(self, spec: TrialSpec) -> TrialStream:
        yield EpochReport(1, 1, {METRIC: 0.5}, 0.01)
        if spec.individual == 2 and spec.attempt <= self.losses:
            raise TrialFailed(FailureKind.INFRASTRUCTURE, "the node is gone")
        return TrialResult({METRIC: 0.5 + spec.individual / 1000}, epochs=1)


def test_a_lost_machine_costs_an_attempt_and_not_the_individual(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    run(ledger, search, Flaky(losses=2))
    lost = ledger.individuals(search.id)[2]
    assert (lost.attempts, lost.state, lost.fitness) == (3, TrialState.COMPLETED, 0.502)
    states = [each.state for each in ledger.evaluations(search.id, 2)]
    assert states == [TrialState.FAILED, TrialState.FAILED, TrialState.COMPLETED]


def test_a_machine_that_is_lost_too_often_is_given_up(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, search={"retries": 2})
    assert run(ledger, search, Flaky(losses=9)).state is SearchState.COMPLETED
    lost = ledger.individuals(search.id)[2]
    assert (lost.attempts, lost.state, lost.failure) == (3, TrialState.FAILED, FailureKind.INFRASTRUCTURE)


def test_equal_individuals_are_trained_once(ledger: Ledger, tmp_path: Path) -> None:
    genes = {"kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"}}
    search = searched(ledger, tmp_path, genes=genes)
    run(ledger, search)
    individuals = ledger.individuals(search.id)
    record = ledger.search(search.id)
    assert (record.trained, record.evaluated) == (3, 40)
    assert len(ledger.evaluations(search.id)) == 3
    for each in individuals:
        if each.reused_from is not None:
            assert individuals[each.reused_from].key == each.key
            assert individuals[each.reused_from].fitness == each.fitness


def test_individuals_that_are_all_known_do_not_hide_the_stopping_rules(ledger: Ledger, tmp_path: Path) -> None:
    genes = {"kind": {"type": "categorical", "choices": ["a", "b"], "default": "a"}}
    search = searched(ledger, tmp_path, genes=genes, stop={"plateau": 2}, search={"generations": 100})
    ending = run(ledger, search)
    assert ending.reason == "no improvement for 2 generations (stop.plateau)"
    assert ledger.search(search.id).evaluated < 3 * 8


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ({"evaluations": 11}, "11 evaluations are done (stop.evaluations)"),
        ({"target": 0.1}, "reached the target 0.1 (stop.target)"),
        ({"hours": 1e-9}, "hours are over (stop.hours)"),
        ({"plateau": 1}, "no improvement for a generation (stop.plateau)"),
    ],
)
@pytest.mark.parametrize("generational", [False, True])
def test_stopping_rules(
    ledger: Ledger, tmp_path: Path, stop: dict[str, Any], reason: str, generational: bool
) -> None:
    search = searched(
        ledger, tmp_path, stop=stop, search={"generations": 100, "generational": generational, "seed": 5}
    )
    ending = run(ledger, search)
    assert ending.state is SearchState.COMPLETED
    assert reason in ending.reason
    record = ledger.search(search.id)
    if "evaluations" in stop:
        assert record.trained == 11
    elif generational:
        assert record.evaluated % 8 == 0


def test_gpu_hours_stop_a_search(ledger: Ledger, tmp_path: Path) -> None:
    class Costly:
        def run(self, spec: TrialSpec) -> TrialStream:
            yield EpochReport(1, 1, {METRIC: 0.5}, 60.0)
            return TrialResult({METRIC: 0.5}, epochs=1, seconds=60.0)

    search = searched(ledger, tmp_path, stop={"gpu_hours": 0.1})
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        ending = make_runner(ledger, search, keeper, objective=Costly(), gpus_per_trial=0.5).run()
    assert "0.1 GPU-hours are spent" in ending.reason
    assert ledger.search(search.id).gpu_seconds == 360  # 12 trainings of 60 s on half a GPU


def test_gpu_time_between_the_last_report_and_a_failure_counts(ledger: Ledger, tmp_path: Path) -> None:
    class Silent:
        def run(self, spec: TrialSpec) -> TrialStream:
            yield EpochReport(1, 2, {METRIC: 0.5}, 0.0)
            time.sleep(0.2)
            raise TrialFailed(FailureKind.DIVERGED, "nan")

    search = searched(ledger, tmp_path, stop={"gpu_hours": 0.5 / 3600})
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        ending = make_runner(ledger, search, keeper, objective=Silent(), gpus_per_trial=1.0).run()
    assert "GPU-hours are spent" in ending.reason
    assert ledger.search(search.id).evaluated == 3


def test_cancelling_stops_within_a_moment(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, epochs=1000, train={"delay": 0.01})
    threading.Timer(0.4, ledger.ask_driver, (search.id, Request.CANCEL)).start()
    started = time.monotonic()
    assert run(ledger, search).state is SearchState.CANCELLED
    assert time.monotonic() - started < 5
    assert ledger.search(search.id).request is None
    assert ledger.evaluations(search.id)[0].state is TrialState.STOPPED


def test_a_pause_lets_running_trials_finish_and_starts_no_more(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, train={"delay": 0.01})
    ledger.ask_driver(search.id, Request.PAUSE)
    seen: list[SearchState] = []

    def lift() -> None:
        seen.append(ledger.search(search.id).state)
        ledger.ask_driver(search.id, None)

    threading.Timer(1.0, lift).start()
    assert run(ledger, search).state is SearchState.COMPLETED
    assert seen == [SearchState.PAUSED]
    assert kinds(ledger, search)[EventKind.SEARCH_UNPAUSED] == 1


def test_a_full_disk_pauses_the_search_until_there_is_room(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    answers = iter([None, None, "disk nearly full", "disk nearly full", None])
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        runner = make_runner(ledger, search, keeper, shortage=lambda: next(answers, None))
        assert runner.run().state is SearchState.COMPLETED
    reasons = [
        event.data["reason"]
        for event in ledger.events(search.id)
        if event.kind in (EventKind.SEARCH_PAUSED, EventKind.SEARCH_UNPAUSED)
    ]
    assert reasons == ["disk nearly full", "no longer: disk nearly full"]


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(ledger_url: str, tmp_path: Path) -> None:
    with Ledger(ledger_url) as ledger:
        whole = create(ledger, space(search={"generational": True}), tmp_path, "whole")
        run(ledger, whole)
        broken = create(ledger, space(search={"generational": True}), tmp_path, "broken")
        for after in (3, 9, 14):
            with LeaseKeeper(ledger.acquire(broken.id)) as keeper:
                objective = Interrupting(after)
                objective.runner = make_runner(ledger, broken, keeper, objective=objective)
                assert objective.runner.run().state is SearchState.INTERRUPTED
        assert run(ledger, broken).state is SearchState.COMPLETED
        assert fingerprint(ledger, broken.id) == fingerprint(ledger, whole.id)
        completed = Counter(
            each.individual for each in ledger.evaluations(broken.id) if each.state is TrialState.COMPLETED
        )
        assert set(completed.values()) == {1}


class Interrupting(SyntheticObjective):
    """Sends the runner a signal in the middle of a trial."""

    runner: Runner

    def __init__(self, after: int) -> None:
        self._left = after

    def run(self, spec: TrialSpec) -> TrialStream:
        self._left -= 1
        if self._left == 0:
            self.runner.interrupt()
        return (yield from super().run(spec))


def test_two_drivers_on_one_search_are_one_too_many(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    with LeaseKeeper(ledger.acquire(search.id)) as keeper, pytest.raises(LeaseHeld, match="drives it since"):
        ledger.acquire(search.id)
    del keeper


def test_a_driver_that_lost_its_lease_writes_nothing_more(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)

    class Usurped(SyntheticObjective):
        def run(self, spec: TrialSpec) -> TrialStream:
            if spec.individual == 5:
                time.sleep(0.3)
                self.heir = ledger.acquire(search.id)
            return (yield from super().run(spec))

    lease = ledger.acquire(search.id, ttl=0.2)
    objective = Usurped()
    keeper = LeaseKeeper(lease, interval=60)
    with pytest.raises(LeaseLost), keeper:
        make_runner(ledger, search, keeper, objective=objective).run()
    assert ledger.search(search.id).evaluated == 5
    objective.heir.release(SearchState.INTERRUPTED)
    assert run(ledger, ledger.search(search.id)).state is SearchState.COMPLETED


def test_a_driver_that_loses_its_lease_while_it_leaves_frees_its_workers(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, stop={"target": 0.4})
    dispatcher = Scripted()
    lease = ledger.acquire(search.id, ttl=0.2)

    def usurp(trial_id: str) -> None:
        if not dispatcher.stopped:
            time.sleep(0.3)
            ledger.acquire(search.id)
        dispatcher.stopped.append(trial_id)

    dispatcher.stop = usurp  # type: ignore[method-assign]
    keeper = LeaseKeeper(lease, interval=60)
    with pytest.raises(LeaseLost), keeper:
        make_runner(ledger, search, keeper, dispatcher=dispatcher).run()
    assert dispatcher.closed


def test_a_database_that_is_away_for_a_while_loses_no_result(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db?timeout=0.1") as ledger:
        search = searched(ledger, tmp_path, search={"generations": 1})
        occupant = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)

        class Locking(SyntheticObjective):
            def run(self, spec: TrialSpec) -> TrialStream:
                result = yield from super().run(spec)
                if spec.individual == 3:
                    occupant.execute("BEGIN IMMEDIATE")
                    threading.Timer(1.5, occupant.execute, ("ROLLBACK",)).start()
                return result

        assert run(ledger, search, Locking()).state is SearchState.COMPLETED
        assert len(ledger.evaluations(search.id, 3)) == 1
        occupant.close()


def test_a_signal_is_heeded_although_the_database_is_away(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db?timeout=0.1") as ledger:
        search = searched(ledger, tmp_path)
        occupant = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        keeper = LeaseKeeper(ledger.acquire(search.id, ttl=0.5), interval=60)
        runners: list[Runner] = []

        class Locking(SyntheticObjective):
            def run(self, spec: TrialSpec) -> TrialStream:
                occupant.execute("BEGIN IMMEDIATE")
                threading.Timer(0.5, runners[0].interrupt).start()
                return (yield from super().run(spec))

        started = time.monotonic()
        runners.append(make_runner(ledger, search, keeper, objective=Locking()))
        with pytest.raises(LedgerError), keeper:
            runners[0].run()
        assert time.monotonic() - started < 10
        occupant.close()
        time.sleep(0.6)  # the lease that could not be released runs out
        assert run(ledger, search).state is SearchState.COMPLETED


def test_what_took_effect_other_than_asked_is_said_once(ledger: Ledger, tmp_path: Path) -> None:
    class Stubborn:
        def run(self, spec: TrialSpec) -> TrialStream:
            yield EpochReport(1, 1, {METRIC: 0.5}, 0.1)
            return TrialResult({METRIC: 0.5}, {"batch": 8}, {"batch": [64, 8]}, epochs=1)

    search = searched(ledger, tmp_path)
    run(ledger, search, Stubborn())
    notices = [event.data["message"] for event in ledger.events(search.id) if event.kind is EventKind.NOTICE]
    assert notices == ["individual 0 asked for batch=64, but batch=8 took effect"]
    assert ledger.evaluations(search.id, 5)[0].differences == {"batch": [64, 8]}


class Scripted:
    """A dispatcher with three slots whose trials end when the test says so."""

    slots = 3

    def __init__(self) -> None:
        self.specs: list[TrialSpec] = []
        self.stopped: list[str] = []
        self.news: list[TrialEvent] = []
        self.closed = False

    def submit(self, spec: TrialSpec) -> None:
        self.specs.append(spec)
        self.news.append(Started(spec.trial_id, "scripted"))

    def events(self, timeout: float) -> list[TrialEvent]:
        if not self.news:
            spec = self.specs[len(self.specs) - 1]
            self.news.append(Completed(spec.trial_id, TrialResult({METRIC: 0.5}, epochs=1)))
        news, self.news = self.news, []
        return news

    def stop(self, trial_id: str) -> None:
        self.stopped.append(trial_id)
        self.news.append(Stopped(trial_id))

    def close(self) -> None:
        self.closed = True


def one_kind() -> SearchSpace:
    genes = {"kind": {"type": "categorical", "choices": ["a", "b"], "default": "a"}}
    return space(genes=genes, search={"population": 4, "generations": 1})


def test_a_twin_waits_for_the_one_in_training(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, one_kind(), tmp_path)
    dispatcher = Scripted()
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        runner: Runner = make_runner(ledger, search, keeper, dispatcher=dispatcher)
        dispatcher.events = lambda timeout: finish_all(dispatcher)  # type: ignore[method-assign]
        runner.run()
    assert [spec.individual for spec in dispatcher.specs] == [0, 1]
    individuals = ledger.individuals(search.id)
    assert [each.reused_from for each in individuals] == [
        None,
        None,
        *(0 if e.key == individuals[0].key else 1 for e in individuals[2:]),
    ]


def finish_all(dispatcher: Scripted) -> list[TrialEvent]:
    news, dispatcher.news = dispatcher.news, []
    started = [event.trial_id for event in news if isinstance(event, Started)]
    return [*news, *(Completed(trial_id, TrialResult({METRIC: 0.5}, epochs=1)) for trial_id in started)]


def test_the_twin_of_a_lost_trial_is_trained_itself(ledger: Ledger, tmp_path: Path) -> None:
    search = create(ledger, one_kind(), tmp_path)
    dispatcher = Scripted()
    failure = Failure(FailureKind.INFRASTRUCTURE, "the node is gone")

    def lose_the_first(timeout: float) -> list[TrialEvent]:
        events = finish_all(dispatcher)
        lost = {spec.trial_id for spec in dispatcher.specs if spec.individual == 0}
        return [
            Failed(event.trial_id, failure) if isinstance(event, Completed) and event.trial_id in lost else event
            for event in events
        ]

    dispatcher.events = lose_the_first  # type: ignore[method-assign]
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        make_runner(ledger, search, keeper, dispatcher=dispatcher).run()
    twins = [each for each in ledger.individuals(search.id) if each.params["kind"] == "a"]
    assert twins[0].failure is FailureKind.INFRASTRUCTURE
    assert twins[1].fitness == 0.5
    assert twins[1].reused_from is None


def test_a_trial_that_the_algorithm_gives_up_is_stopped(ledger: Ledger, tmp_path: Path) -> None:
    class Impatient(GeneticSearch):
        def report(self, number: int, epoch: int, fitness: float) -> Decision:
            return Decision.STOP if number == 3 and epoch == 2 else Decision.CONTINUE

    search = searched(ledger, tmp_path, epochs=5)
    searched_space = SearchSpace.from_document(search.document, "test")
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        runner = make_runner(ledger, search, keeper, algorithm=Impatient(searched_space))
        assert runner.run().state is SearchState.COMPLETED
    stopped = ledger.individuals(search.id)[3]
    assert (stopped.state, stopped.fitness) == (TrialState.STOPPED, None)
    assert len(ledger.epochs(search.id, 3)) == 2


def test_a_result_without_the_metric_says_which_there_are(ledger: Ledger, tmp_path: Path) -> None:
    class Other:
        def run(self, spec: TrialSpec) -> TrialStream:
            yield EpochReport(1, 1, {"loss": 1.0}, 0.1)
            return TrialResult({"loss": 1.0}, epochs=1)

    search = searched(ledger, tmp_path)
    ending = run(ledger, search, Other())
    assert ending.state is SearchState.FAILED
    assert METRIC in ending.reason
    assert "loss" in ending.reason


def test_weights_are_kept_for_the_best_and_the_default_only(ledger: Ledger, tmp_path: Path) -> None:
    class Saving(SyntheticObjective):
        def run(self, spec: TrialSpec) -> TrialStream:
            Path(spec.directory).mkdir(parents=True, exist_ok=True)
            (Path(spec.directory) / "best.pt").write_bytes(b"weights")
            return (yield from super().run(spec))

    search = searched(ledger, tmp_path, train={"failures": {"4": "diverge"}})
    run(ledger, search, Saving())
    kept = {int(path.parent.name) for path in Path(search.directory).glob("trials/*/best.pt")}
    bred = [each for each in ledger.individuals(search.id) if each.fitness is not None and each.number > 0]
    best = sorted(bred, key=lambda each: (-(each.fitness or 0), each.number))[:5]
    assert kept == {0, *(each.number for each in best)}


def test_every_epoch_is_stored(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, epochs=4)
    run(ledger, search)
    curve = ledger.epochs(search.id, 0)
    assert [each.epoch for each in curve] == [1, 2, 3, 4]
    assert curve[-1].metrics[METRIC] == pytest.approx(ledger.individuals(search.id)[0].fitness)
