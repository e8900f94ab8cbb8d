"""MLflow: one search, its generations and its individuals, each a run, whatever is delivered how often."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from evolve import observers
from evolve.exceptions import EvolveError, InputError, NotFound
from evolve.ledger import IndividualRecord, Lease, Ledger, SearchRecord, SearchState
from evolve.observers import Follower
from evolve.tracking import MlflowObserver, links, prepare_store, ui_command
from evolve.tracking.links import comparison
from evolve.tracking.names import safe_name
from evolve.trial import EpochReport, Failure, FailureKind, Role, TrialResult, TrialSpec, TrialState

# MLflow's SQL store uses a loader strategy that SQLAlchemy 2.1 will drop.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

METRIC = "metrics/mAP50-95(B)"


class Driver:
    """Writes a search into a ledger as the runner would: populations of three, two epochs each."""

    def __init__(self, ledger: Ledger, folder: Path, name: str = "beans") -> None:
        self.ledger = ledger
        self.folder = folder
        self.id = ledger.create_search(
            name=name,
            document={"model": "yolo12n", "genes": {"lr0": {"low": 1e-5, "high": 0.1, "scale": "log"}}},
            objective="yolo12",
            options={"workers": 2},
            environment={"python": "3.11"},
            directory=str(folder),
            data_hash="abc",
        ).id
        self.lease: Lease = ledger.acquire(self.id)
        with self.lease.transaction() as transaction:
            transaction.start(resumed=False)

    @property
    def search(self) -> SearchRecord:
        return self.ledger.search(self.id)

    def begin(self, number: int, attempt: int = 1, epochs: int = 2, **differences: Any) -> None:
        with self.lease.transaction() as transaction:
            if attempt == 1:
                transaction.propose(
                    IndividualRecord(
                        self.id,
                        number,
                        generation=number // 3,
                        genome=(number / 10,),
                        params={"lr0": number / 1000},
                        key=str(number),
                        parents=(0, 1) if number > 2 else (),
                        operators=("tournament", "uniform_crossover"),
                        origins={"lr0": "inherited:0" if number > 2 else "sampled"},
                        **differences,
                    )
                )
            transaction.submit(
                TrialSpec(self.id, number, attempt, {"lr0": number / 1000}, {"epochs": 2}, 0, str(self.folder))
            )
            transaction.started(number, attempt, "worker-1")
        for epoch in range(1, epochs + 1):
            with self.lease.transaction() as transaction:
                report = EpochReport(epoch, 2, {METRIC: number / 100 + epoch / 1000}, float(epoch))
                transaction.reported(number, attempt, report)

    def complete(self, number: int, attempt: int = 1) -> None:
        weights = self.folder / f"best{number}.pt"
        weights.write_bytes(b"weights")
        metrics = {METRIC: number / 100}
        result = TrialResult(metrics, {"lr0": 0.5}, {"batch": [16, 8]}, str(weights), 2, 2.0)
        with self.lease.transaction() as transaction:
            transaction.completed(number, attempt, result)
            transaction.evaluated(number, state=TrialState.COMPLETED, fitness=number / 100, metrics=metrics)

    def fail(self, number: int) -> None:
        failure = Failure(FailureKind.OUT_OF_MEMORY, "batch 64 does not fit")
        with self.lease.transaction() as transaction:
            transaction.failed(number, 1, failure, retry=False)
            transaction.evaluated(number, state=TrialState.FAILED, fitness=None, failure=failure.kind)

    def generation(self, number: int, best: int) -> None:
        with self.lease.transaction() as transaction:
            statistics = {"best": best / 100, "best_individual": best, "mean": 0.01, "diversity": 0.2}
            transaction.generation_finished(number, {**statistics, "median": None, "failed": number})

    def run(self, numbers: range = range(6), failing: int = 4) -> None:
        for number in numbers:
            self.begin(number)
            if number == failing:
                self.fail(number)
            else:
                self.complete(number)
            if number % 3 == 2:
                self.generation(number // 3, best=number)

    def finish(self, state: SearchState = SearchState.COMPLETED) -> None:
        self.lease.release(state, "done")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables; making them takes seconds, so tests start from a copy."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    prepare_store(f"sqlite:///{path}")
    return path


def new_store(template: Path, folder: Path) -> str:
    folder.mkdir()
    shutil.copy(template, folder)
    return f"sqlite:///{folder / template.name}"


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    return new_store(empty_store, tmp_path / "home")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'evolve.db'}") as ledger:
        yield ledger


@pytest.fixture
def driver(ledger: Ledger, tmp_path: Path) -> Driver:
    return Driver(ledger, tmp_path)


def deliver(ledger: Ledger, uri: str, search_id: str, *, after: int = 0, batch: int = 1000) -> MlflowObserver:
    """Hand all events after a cursor to a new observer, as a new process would."""
    observer = MlflowObserver(uri, ledger)
    while events := ledger.events(search_id, after=after, limit=batch):
        observer.handle(ledger.search(search_id), events)
        after = events[-1].sequence
    return observer


def runs_of(uri: str, search_id: str, view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    """The runs of a search by name; fails if two have the same."""
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = list(client.search_runs(experiments, f"tags.evolve.search = '{search_id}'", view))
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found)
    return runs


def fingerprint(uri: str, search_id: str) -> dict[str, object]:
    """Everything that MLflow stores of a search, metric histories included."""
    client = MlflowClient(uri)
    return {
        name: (
            run.info.run_id,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            sorted(run.data.params.items()),
            sorted(run.data.tags.items()),
            {
                metric: [
                    (one.step, one.timestamp, one.value)
                    for one in client.get_metric_history(run.info.run_id, metric)
                ]
                for metric in run.data.metrics
            },
            sorted(artifact.path for artifact in client.list_artifacts(run.info.run_id)),
        )
        for name, run in runs_of(uri, search_id).items()
    }


def test_a_search_is_a_tree_of_runs(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run()
    driver.finish()
    deliver(ledger, uri, driver.id)
    runs = runs_of(uri, driver.id)
    assert Counter(run.data.tags["evolve.kind"] for run in runs.values()) == {
        "search": 1,
        "generation": 2,
        "individual": 6,
    }
    names = {run.info.run_id: name for name, run in runs.items()}
    parents = {name: names.get(run.data.tags.get("mlflow.parentRunId", "")) for name, run in runs.items()}
    assert parents == {
        f"search {driver.id}": None,
        "generation 0": f"search {driver.id}",
        "generation 1": f"search {driver.id}",
        **{f"individual {number}": f"generation {number // 3}" for number in range(6)},
    }
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses.pop("individual 4") == "FAILED"
    assert set(statuses.values()) == {"FINISHED"}
    assert {run.info.experiment_id for run in runs.values()} == {
        MlflowClient(uri).get_experiment_by_name("beans").experiment_id  # type: ignore[union-attr]
    }


def test_an_individual_shows_genes_epochs_lineage_and_outcome(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run()
    driver.finish()
    deliver(ledger, uri, driver.id)
    run = runs_of(uri, driver.id)["individual 5"]
    assert run.data.params == {"lr0": "0.005"}
    assert run.data.metrics["fitness"] == 0.05
    assert run.data.metrics["result/mAP50-95B"] == 0.05
    assert run.data.tags["evolve.parents"] == "0, 1"
    assert run.data.tags["evolve.operators"] == "tournament, uniform_crossover"
    assert run.data.tags["evolve.origin.lr0"] == "inherited:0"
    assert run.data.tags["evolve.difference.batch"] == "[16, 8]"
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "metrics/mAP50-95B")
    assert [(point.step, point.value) for point in history] == [
        (1, pytest.approx(0.051)),
        (2, pytest.approx(0.052)),
    ]
    evaluation = ledger.evaluations(driver.id, 5)[0]
    assert run.info.start_time == round(1000 * evaluation.started_at)  # type: ignore[operator]
    assert run.info.end_time == round(1000 * evaluation.finished_at)  # type: ignore[operator]


def test_finals_are_no_generation(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run(failing=-1)
    for number, rival in ((6, 0), (7, 5)):
        driver.begin(number, role=Role.FINAL, original=rival, seed=1)
    driver.complete(6)
    deliver(ledger, uri, driver.id)
    runs = runs_of(uri, driver.id)
    assert "generation 2" not in runs
    assert runs["finals"].info.status == "RUNNING"
    assert runs["finals"].data.tags["mlflow.parentRunId"] == runs[f"search {driver.id}"].info.run_id
    for number in (6, 7):
        tags = runs[f"individual {number}"].data.tags
        assert tags["mlflow.parentRunId"] == runs["finals"].info.run_id
        assert (tags["evolve.role"], tags["evolve.seed"]) == ("final", "1")
    driver.complete(7)
    driver.finish()
    deliver(ledger, uri, driver.id)
    run = runs_of(uri, driver.id)["finals"]
    assert run.info.status == "FINISHED"
    table = Path(MlflowClient(uri).download_artifacts(run.info.run_id, "individuals.csv")).read_text()
    assert [line.split(",")[:4] for line in table.splitlines()[1:]] == [
        ["6", "2", "final", "1"],
        ["7", "2", "final", "1"],
    ]


def test_finals_that_go_on_are_open_again(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run()
    driver.begin(6, role=Role.FINAL, original=0, seed=1)
    driver.complete(6)
    driver.finish(SearchState.INTERRUPTED)
    deliver(ledger, uri, driver.id)
    assert runs_of(uri, driver.id)["finals"].info.status == "KILLED"
    driver.lease = ledger.acquire(driver.id)
    with driver.lease.transaction() as transaction:
        transaction.start(resumed=True)
    driver.begin(7, role=Role.FINAL, original=5, seed=1)
    deliver(ledger, uri, driver.id)
    assert runs_of(uri, driver.id)["finals"].info.status == "RUNNING"


def test_a_failure_is_told_with_its_kind_and_text(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run()
    deliver(ledger, uri, driver.id)
    run = runs_of(uri, driver.id)["individual 4"]
    assert run.data.tags["evolve.failure"] == "out_of_memory"
    assert run.data.tags["evolve.failure_message"] == "batch 64 does not fit"
    assert "fitness" not in run.data.metrics


def test_a_generation_shows_its_population(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run()
    deliver(ledger, uri, driver.id)
    run = runs_of(uri, driver.id)["generation 1"]
    assert run.data.metrics == {
        "population/best": 0.05,
        "population/mean": 0.01,
        "population/diversity": 0.2,
        "population/failed": 1.0,
    }
    assert run.data.params == {"best/lr0": "0.005"}
    table = Path(MlflowClient(uri).download_artifacts(run.info.run_id, "individuals.csv")).read_text()
    lines = table.splitlines()
    fixed = "individual,generation,role,seed,state,fitness,failure,parents,inherited_from,operators"
    assert lines[0] == f"{fixed},lr0,{METRIC}"
    assert lines[2] == "4,1,search,,failed,,out_of_memory,0 1,,tournament uniform_crossover,0.004,"
    assert len(lines) == 4


def test_the_search_run_shows_space_progress_and_answer(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run(failing=1)
    driver.finish()
    deliver(ledger, uri, driver.id)
    client = MlflowClient(uri)
    run = runs_of(uri, driver.id)[f"search {driver.id}"]
    assert run.data.params["space/model"] == "yolo12n"
    assert run.data.params["options/workers"] == "2"
    assert run.data.params["best/lr0"] == "0.005"
    assert run.data.tags["evolve.best_individual"] == "5"
    assert run.data.tags["evolve.data_hash"] == "abc"
    history = client.get_metric_history(run.info.run_id, "best_fitness")
    assert [(point.step, point.value) for point in history] == [
        (0, 0.0),
        (1, 0.0),
        (2, 0.02),
        (3, 0.03),
        (4, 0.04),
        (5, 0.05),
    ]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "population/best")] == [0, 1]
    assert run.data.metrics["total/evaluated"] == 6
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"space.yaml", "individuals.csv", "weights"}
    assert (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / driver.id).is_dir()


@pytest.mark.parametrize("batch", [1, 7])
def test_delivering_all_again_changes_nothing(driver: Driver, ledger: Ledger, uri: str, batch: int) -> None:
    driver.run()
    driver.finish()
    observer = deliver(ledger, uri, driver.id, batch=batch)
    before = fingerprint(uri, driver.id)
    observer.handle(driver.search, ledger.events(driver.id))  # by the same process
    deliver(ledger, uri, driver.id, batch=batch)  # by the next one
    assert fingerprint(uri, driver.id) == before


def test_what_follows_live_and_what_comes_late_looks_the_same(
    driver: Driver, ledger: Ledger, uri: str, empty_store: Path, tmp_path: Path
) -> None:
    live = MlflowObserver(uri, ledger)
    after = 0
    for number in range(6):
        driver.begin(number)
        for _ in range(2):
            events = ledger.events(driver.id, after=after)
            if events:
                live.handle(driver.search, events)
                after = events[-1].sequence
        driver.complete(number)
    driver.finish()
    live.handle(driver.search, ledger.events(driver.id, after=after))

    def shape(of: str) -> dict[str, object]:
        return {name: run[1:5] + run[6:] for name, run in fingerprint(of, driver.id).items()}  # type: ignore[index]

    late = new_store(empty_store, tmp_path / "late")
    deliver(ledger, late, driver.id)
    assert shape(late) == shape(uri)


def test_after_a_crash_and_a_resume_nothing_is_left_running(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run(range(4))
    driver.begin(4, epochs=1)
    deliver(ledger, uri, driver.id)
    cursor = ledger.events(driver.id)[-1].sequence
    assert runs_of(uri, driver.id)["individual 4"].info.status == "RUNNING"

    # The next driver takes over, without any word from the first.
    driver.lease.release(SearchState.INTERRUPTED)
    driver.lease = ledger.acquire(driver.id)
    with driver.lease.transaction() as transaction:
        transaction.start(resumed=True)
        transaction.interrupted(4, 1)
    deliver(ledger, uri, driver.id, after=cursor)
    assert runs_of(uri, driver.id)["individual 4"].info.status == "KILLED"
    assert runs_of(uri, driver.id)[f"search {driver.id}"].info.status == "RUNNING"

    driver.begin(4, attempt=2)
    driver.complete(4, attempt=2)
    driver.begin(5)
    driver.finish(SearchState.CANCELLED)
    deliver(ledger, uri, driver.id, after=cursor)
    statuses = {name: run.info.status for name, run in runs_of(uri, driver.id).items()}
    assert len(statuses) == 9
    assert statuses["individual 4"] == "FINISHED"
    assert statuses["individual 5"] == "KILLED"
    assert statuses[f"search {driver.id}"] == "KILLED"
    assert "RUNNING" not in statuses.values()


def test_reconcile_ends_what_a_dead_driver_left(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run(range(4))
    driver.begin(4, epochs=1)
    observer = deliver(ledger, uri, driver.id)
    observer.reconcile(driver.search)
    statuses = {name: run.info.status for name, run in runs_of(uri, driver.id).items()}
    assert {name for name, status in statuses.items() if status == "KILLED"} == {
        f"search {driver.id}",
        "generation 1",
        "individual 4",
    }
    assert "RUNNING" not in statuses.values()
    driver.complete(4)
    driver.begin(5)
    deliver(ledger, uri, driver.id, after=ledger.events(driver.id)[-2].sequence)
    running = {name for name, run in runs_of(uri, driver.id).items() if run.info.status == "RUNNING"}
    assert running == {f"search {driver.id}", "generation 1", "individual 5"}


def die_at_call(fatal: int, patch: pytest.MonkeyPatch) -> None:
    """Make the `fatal`th write to MLflow raise what no handler catches."""
    calls = itertools.count(1)

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            if next(calls) == fatal:
                raise KeyboardInterrupt
            return original(*args, **options)

        return call

    for name in ("create_run", "log_batch", "set_terminated"):
        patch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))


def test_an_observer_killed_anywhere_leaves_no_doubles(
    driver: Driver, ledger: Ledger, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.run()
    driver.finish()
    for fatal in (30, 13, 8, 5, 3, 2):
        with monkeypatch.context() as patch:
            die_at_call(fatal, patch)
            with pytest.raises(KeyboardInterrupt):
                deliver(ledger, uri, driver.id)
    deliver(ledger, uri, driver.id)
    killed = fingerprint(uri, driver.id)
    assert len(killed) == 9
    assert {run[1] for run in killed.values()} == {"FINISHED", "FAILED"}  # type: ignore[index]


def test_a_reused_verdict_and_an_early_stop(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.begin(0)
    driver.complete(0)
    driver.begin(1, epochs=1)
    with driver.lease.transaction() as transaction:
        transaction.stopped(1, 1)
        transaction.evaluated(1, state=TrialState.STOPPED, fitness=0.9)
        twin = IndividualRecord(driver.id, 2, 0, (0.0,), {"lr0": 0.0}, "0")
        transaction.propose(twin)
        transaction.evaluated(2, state=TrialState.COMPLETED, fitness=0.0, reused_from=0)
    deliver(ledger, uri, driver.id)
    runs = runs_of(uri, driver.id)
    assert runs["individual 1"].info.status == "KILLED"
    assert runs["individual 1"].data.metrics["fitness"] == 0.9
    assert runs["individual 2"].info.status == "FINISHED"
    assert runs["individual 2"].data.tags["evolve.reused_from"] == "0"
    assert runs["individual 2"].info.end_time == runs["individual 0"].info.end_time
    assert runs[f"search {driver.id}"].data.metrics["best_fitness"] == 0.0  # only a completed one can be the best


def test_a_run_that_somebody_deleted_stays_deleted(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run(range(3))
    driver.begin(3, epochs=1)
    observer = deliver(ledger, uri, driver.id)
    cursor = ledger.events(driver.id)[-1].sequence
    client = MlflowClient(uri)
    for name in ("individual 3", "generation 0"):
        client.delete_run(runs_of(uri, driver.id)[name].info.run_id)
    driver.complete(3)
    observer.handle(driver.search, ledger.events(driver.id, after=cursor))
    deliver(ledger, uri, driver.id)
    runs = runs_of(uri, driver.id)
    assert "individual 3" not in runs
    assert "generation 0" not in runs
    assert "individual 2" in runs


def test_a_deleted_experiment_gets_a_successor_with_everything(driver: Driver, ledger: Ledger, uri: str) -> None:
    driver.run(range(3))
    observer = deliver(ledger, uri, driver.id)
    cursor = ledger.events(driver.id)[-1].sequence
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name("beans").experiment_id)  # type: ignore[union-attr]
    driver.run(range(3, 6))
    driver.finish()
    follower = Follower(ledger, driver.id, observer, durable=False)
    follower._position = cursor
    follower.start()
    assert follower.drain(60)
    follower.close()
    runs = runs_of(uri, driver.id)
    assert len(runs) == 9
    assert client.get_experiment(runs[f"search {driver.id}"].info.experiment_id).name == "beans (2)"
    assert compared(uri, driver.search)[0] == runs["individual 0"].info.run_id


def compared(uri: str, *searches: SearchRecord) -> list[str]:
    """The runs that MLflow's page is asked to compare."""
    path, _, query = comparison(uri, *searches).partition("?")
    assert path == "#/compare-runs"
    asked = parse_qs(query)
    assert len(json.loads(asked["experiments"][0])) == 1
    runs: list[str] = json.loads(asked["runs"][0])
    return runs


def test_the_best_of_searches_are_selected_for_comparison(
    ledger: Ledger, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Driver(ledger, tmp_path), Driver(ledger, tmp_path)
    with pytest.raises(NotFound, match="MLflow must have runs of it"):
        comparison(uri, one.search)
    one.run()
    other.run(range(3))
    for driver in (one, other):
        deliver(ledger, uri, driver.id)
    runs = runs_of(uri, one.id)
    wanted = [runs[f"individual {number}"].info.run_id for number in (0, 5, 3, 2, 1)]  # 4 failed
    assert compared(uri, one.search) == wanted
    shared = [runs_of(uri, other.id)[f"individual {number}"].info.run_id for number in (0, 2, 1)]
    monkeypatch.setattr(links, "COMPARED", 6)
    assert compared(uri, one.search, other.search) == [*wanted[:3], *shared]
    monkeypatch.setattr(links, "COMPARED", 1)
    assert compared(uri, one.search, other.search) == [*wanted[:2], *shared[:2]]
    with pytest.raises(EvolveError, match="MLflow: it must answer"):
        comparison("nonsense://there", one.search)


def test_two_searches_of_one_name_share_the_experiment(ledger: Ledger, uri: str, tmp_path: Path) -> None:
    searches = [Driver(ledger, tmp_path), Driver(ledger, tmp_path)]
    for driver in searches:
        driver.run(range(3))
        deliver(ledger, uri, driver.id)
    experiments = {runs_of(uri, driver.id)[f"search {driver.id}"].info.experiment_id for driver in searches}
    assert len(experiments) == 1


def test_a_store_elsewhere_gets_the_whole_search(driver: Driver, ledger: Ledger, uri: str, tmp_path: Path) -> None:
    driver.run()
    driver.finish()
    cursor = ledger.events(driver.id)[-3].sequence
    deliver(ledger, uri, driver.id, after=cursor)
    assert len(runs_of(uri, driver.id)) == 9


def test_one_batch_may_exceed_what_a_call_can_carry(driver: Driver, ledger: Ledger, uri: str) -> None:
    params = {f"gene{number}": number for number in range(250)}
    with driver.lease.transaction() as transaction:
        transaction.propose(
            IndividualRecord(driver.id, 0, 0, (), params, "k", origins=dict.fromkeys(params, "sampled"))
        )
        transaction.submit(TrialSpec(driver.id, 0, 1, params, {"epochs": 90}, 0, ""))
        transaction.started(0, 1, "w")
        for epoch in range(1, 91):
            metrics = {f"metric{number}": float(epoch) for number in range(20)}
            transaction.reported(0, 1, EpochReport(epoch, 90, metrics, float(epoch)))
        failure = Failure(FailureKind.CODE, "x" * 20_000)
        transaction.failed(0, 1, failure, retry=False)
        transaction.evaluated(0, state=TrialState.FAILED, fitness=None, failure=failure.kind)
    deliver(ledger, uri, driver.id)
    run = runs_of(uri, driver.id)["individual 0"]
    assert len(run.data.params) == 250
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "metric19")
    assert [point.step for point in history] == list(range(1, 91))
    assert run.data.tags["evolve.failure_message"].startswith("xxx")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (METRIC, "metrics/mAP50-95B"),
        ("train/box_loss", "train/box_loss"),
        ("päivä 100%", "päivä 100_"),
        ("../up", "_/up"),
        ("/a//b/", "a/b"),
        ("", "_"),
        ("x" * 400, "x" * 250),
    ],
)
def test_names_are_made_acceptable(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_the_interface_opens_the_store_on_loopback_only(tmp_path: Path) -> None:
    command = ui_command(f"sqlite:///{tmp_path}/mlflow.db", port=5055)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    assert command[command.index("--default-artifact-root") + 1] == f"{tmp_path}/mlartifacts"
    with pytest.raises(InputError, match="open http://there:5000 in a browser"):
        ui_command("http://there:5000")


def test_nothing_of_mlflow_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys; from evolve.tracking import MlflowObserver; MlflowObserver('sqlite:///x', None); "
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.slow
def test_a_server_that_comes_late_gets_everything(
    driver: Driver, ledger: Ledger, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "BACKOFF_SECONDS", (0.2, 1.0))
    port = free_port()
    follower = Follower(ledger, driver.id, MlflowObserver(f"http://127.0.0.1:{port}", ledger)).start()
    began = time.monotonic()
    driver.run()
    driver.finish()
    assert time.monotonic() - began < 10  # a search never waits for MLflow
    assert not follower.drain(2)
    assert ledger.cursor("mlflow", driver.id) == 0
    server = subprocess.Popen(
        ui_command(uri, port),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=tmp_path,
    )
    try:
        assert follower.drain(120)
    finally:
        follower.close()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    runs = runs_of(uri, driver.id)
    assert len(runs) == 9
    assert {run.info.status for run in runs.values()} == {"FINISHED", "FAILED"}


def test_a_creation_that_was_cut_short_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.db import utils

    def killed(engine: object) -> None:
        raise KeyboardInterrupt

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr(utils, "_upgrade_db", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_store(uri)
    prepare_store(uri)
    assert [each.name for each in MlflowClient(uri).search_experiments()] == ["Default"]


@pytest.mark.slow
def test_processes_that_create_the_store_at_once_all_succeed(tmp_path: Path) -> None:
    script = f"from evolve.tracking import prepare_store; prepare_store('sqlite:///{tmp_path}/mlflow.db')"
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
