"""What every dispatcher owes the runner; each test runs over all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from dispatch_helpers import TERMINAL, collect, make_spec, verdict
from evolve.dispatch import Completed, Dispatcher, Failed, InlineDispatcher, Reported, Started, Stopped
from evolve.trial import FailureKind
from workers.objectives import resolve_objective
from workers.ray_cluster import RayCluster
from workers.ray_dispatcher import RayDispatcher

Make = Callable[[str], Dispatcher]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster()
    yield cluster
    cluster.close()


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a dispatcher for an objective, and closes it after the test."""
    made: list[Dispatcher] = []

    def dispatcher(objective: str) -> Dispatcher:
        if request.param == "inline":
            made.append(InlineDispatcher(resolve_objective(objective)))
        else:
            made.append(RayDispatcher(objective, workers=1, cluster=request.getfixturevalue("cluster")))
        return made[-1]

    yield dispatcher
    for one in made:
        one.close()


def test_events_of_a_trial_come_in_order(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(epochs=3))
    started, *reports, completed = collect(dispatcher, ended=1)
    assert isinstance(started, Started)
    assert started.worker
    assert [event.report.epoch for event in reports if isinstance(event, Reported)] == [1, 2, 3]
    assert isinstance(completed, Completed)
    assert completed.result.epochs == 3
    assert completed.result.metrics == {"metrics/mAP50-95(B)": 1.0}
    assert dispatcher.events(0.1) == []


def test_trials_keep_their_own_names_and_values(make: Make) -> None:
    dispatcher = make("synthetic")
    for individual in range(5):
        dispatcher.submit(make_spec(individual, epochs=individual + 1))
    events = collect(dispatcher, ended=5)
    for individual in range(5):
        own = [event for event in events if event.trial_id == f"s-{individual}.1"]
        assert [type(event) for event in own] == [Started, *[Reported] * (individual + 1), Completed]


def test_no_more_trials_run_than_there_are_slots(make: Make) -> None:
    dispatcher = make("synthetic")
    for individual in range(4):
        dispatcher.submit(make_spec(individual))
    running = 0
    for event in collect(dispatcher, ended=4):
        running += isinstance(event, Started)
        running -= isinstance(event, TERMINAL)
        assert 0 <= running <= dispatcher.slots


def test_a_queued_trial_stops_without_starting(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0, epochs=2, delay=0.1))
    dispatcher.submit(make_spec(1))
    dispatcher.stop("s-1.1")
    events = collect(dispatcher, ended=2)
    assert [event for event in events if event.trial_id == "s-1.1"] == [Stopped("s-1.1")]
    assert isinstance(verdict(events, "s-0.1"), Completed)


def test_a_running_trial_stops_between_two_epochs(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0, epochs=1000, delay=0.1))
    collect(dispatcher, reported=2)
    dispatcher.stop("s-0.1")
    dispatcher.stop("s-0.1")
    events = collect(dispatcher, ended=1)
    assert events[-1] == Stopped("s-0.1")
    assert dispatcher.events(0.3) == []
    dispatcher.submit(make_spec(1))
    assert isinstance(verdict(collect(dispatcher, ended=1), "s-1.1"), Completed)


def test_stopping_lets_the_objective_clean_up(make: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trial")
    dispatcher = make("objectives_for_tests:cleans_up")
    dispatcher.submit(make_spec(0, folder))
    collect(dispatcher, reported=1)
    dispatcher.stop("s-0.1")
    collect(dispatcher, ended=1)
    assert (folder / "cleaned").exists()


def test_stopping_what_is_unknown_or_over_does_nothing(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0))
    collect(dispatcher, ended=1)
    dispatcher.stop("s-0.1")
    dispatcher.stop("another-7.1")
    assert dispatcher.events(0.2) == []


@pytest.mark.parametrize(
    ("injected", "kind"),
    [
        ("diverge", FailureKind.DIVERGED),
        ("oom", FailureKind.OUT_OF_MEMORY),
        ("data", FailureKind.DATA),
        ("crash", FailureKind.CODE),
    ],
)
def test_failures_keep_their_kind(make: Make, injected: str, kind: FailureKind) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0, epochs=2, failures={"0": injected}))
    events = collect(dispatcher, ended=1)
    assert [type(event) for event in events] == [Started, Reported, Failed]
    failed = verdict(events, "s-0.1")
    assert isinstance(failed, Failed)
    assert failed.failure.kind is kind
    assert "\n" not in failed.failure.message


def test_a_failed_trial_leaves_the_slot_to_the_next(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0, failures={"0": "crash"}))
    dispatcher.submit(make_spec(1))
    events = collect(dispatcher, ended=2)
    assert isinstance(verdict(events, "s-0.1"), Failed)
    assert isinstance(verdict(events, "s-1.1"), Completed)


def test_an_exception_that_cannot_be_pickled_is_a_failure_of_the_code(make: Make) -> None:
    dispatcher = make("objectives_for_tests:raises_unpicklable")
    dispatcher.submit(make_spec(0))
    failed = verdict(collect(dispatcher, ended=1), "s-0.1")
    assert isinstance(failed, Failed)
    assert failed.failure.kind is FailureKind.CODE
    assert failed.failure.message == "Unpicklable: holds a lock"
    assert "raises_unpicklable" in failed.failure.details


def test_without_slots_what_runs_goes_on_and_what_waits_waits(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0, epochs=4, delay=0.1))
    dispatcher.submit(make_spec(1))
    collect(dispatcher, reported=1)
    dispatcher.resize(0)
    assert dispatcher.slots == 0
    events = collect(dispatcher, ended=1)
    assert isinstance(verdict(events, "s-0.1"), Completed)
    began = time.monotonic()
    assert dispatcher.events(0.5) == []
    assert time.monotonic() - began > 0.4, "nobody may spin while nothing can start"
    dispatcher.resize(1)
    assert dispatcher.slots == 1
    assert isinstance(verdict(collect(dispatcher, ended=1), "s-1.1"), Completed)


def test_more_slots_are_taken_as_far_as_it_can(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.resize(2)
    assert 1 <= dispatcher.slots <= 2
    for individual in range(3):
        dispatcher.submit(make_spec(individual))
    assert len([event for event in collect(dispatcher, ended=3) if isinstance(event, Completed)]) == 3


def test_a_trial_that_waits_for_a_slot_can_be_stopped(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.resize(0)
    dispatcher.submit(make_spec(0))
    dispatcher.stop("s-0.1")
    assert collect(dispatcher, ended=1) == [Stopped("s-0.1")]


def test_closing_twice_is_closing_once(make: Make) -> None:
    dispatcher = make("synthetic")
    dispatcher.submit(make_spec(0, epochs=1000, delay=0.1))
    dispatcher.submit(make_spec(1))
    collect(dispatcher, reported=1)
    dispatcher.close()
    dispatcher.close()
    assert dispatcher.events(0.0) == []
