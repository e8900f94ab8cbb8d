"""The runner's books: failure policy, stopping rules, statistics, retention, disk."""

from __future__ import annotations

import shutil
import subprocess
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.environment import DiskWatch, describe_environment, gpu_names
from evolve.exceptions import EvolveError, InputError
from evolve.policy import FailurePolicy
from evolve.retention import WeightShelf
from evolve.settings import Settings
from evolve.space import SearchSettings, StopSettings
from evolve.specs import trial_directory
from evolve.statistics import GenerationBook, Member, statistics
from evolve.stopping import StopRules, Totals
from evolve.trial import Failure, FailureKind, Role
from sample_searches import individual

Usage = namedtuple("Usage", "total used free")


def failure(kind: FailureKind, message: str = "broken") -> Failure:
    return Failure(kind, message)


@pytest.mark.parametrize(
    ("kind", "retried"),
    [
        (FailureKind.OUT_OF_MEMORY, 0),
        (FailureKind.DIVERGED, 0),
        (FailureKind.DATA, 0),
        (FailureKind.CODE, 0),
        (FailureKind.HANG, 1),
        (FailureKind.INFRASTRUCTURE, 3),
    ],
)
def test_each_kind_is_retried_as_often_as_the_table_says(kind: FailureKind, retried: int) -> None:
    policy = FailurePolicy(SearchSettings(retries=3))
    assert [policy.retries(kind, failures) for failures in (1, 2, 3, 4)] == [retried >= n for n in (1, 2, 3, 4)]


def test_only_equal_errors_in_a_row_are_a_series() -> None:
    policy = FailurePolicy(SearchSettings(same_error_limit=3))
    for _ in range(5):
        assert policy.fatal(failure(FailureKind.CODE, "one")) is None
        assert policy.fatal(failure(FailureKind.CODE, "other")) is None
    assert policy.fatal(failure(FailureKind.CODE, "file 17 is bad")) is None
    assert policy.fatal(failure(FailureKind.CODE, "file 18 is bad")) is None
    policy.succeeded()
    assert policy.fatal(failure(FailureKind.CODE, "file 19 is bad")) is None
    assert policy.fatal(failure(FailureKind.CODE, "file 20 is bad")) is None
    assert "3 times in a row (code): file 21 is bad" in str(
        policy.fatal(failure(FailureKind.CODE, "file 21 is bad"))
    )


def test_individuals_may_diverge_for_a_while_before_that_is_suspicious() -> None:
    policy = FailurePolicy(SearchSettings(same_error_limit=2, population=5))
    verdicts = [policy.fatal(failure(FailureKind.DIVERGED, f"nan in epoch {epoch}")) for epoch in range(10)]
    assert verdicts[:9] == [None] * 9
    assert verdicts[9] is not None


@pytest.mark.parametrize(("kind", "last"), [(FailureKind.INFRASTRUCTURE, 16 * 3), (FailureKind.HANG, 16 * 2)])
def test_machines_that_go_down_with_many_trials_do_not_end_the_search(kind: FailureKind, last: int) -> None:
    policy = FailurePolicy(SearchSettings(population=8, retries=2, same_error_limit=5))
    verdicts = [policy.fatal(failure(kind, "the trial was cancelled from outside")) for _ in range(last)]
    assert verdicts[:-1] == [None] * (last - 1)
    assert f"{last} times in a row" in str(verdicts[-1])


def test_the_plateau_counts_from_the_last_improvement() -> None:
    rules = StopRules(SearchSettings(population=4, generations=100), StopSettings(plateau=2))
    totals = Totals()
    for fitness in (0.1, 0.5, 0.2, 0.3):
        totals.count(fitness)
    for told in range(5, 10):
        assert rules.reason(totals) is None, told
        totals.count(0.5)
    assert rules.reason(totals) is None
    totals.count(None)
    assert rules.reason(totals) == "no improvement for 2 generations (stop.plateau)"


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=2, max_size=20))
def test_statistics_do_not_depend_on_the_order_of_arrival(fitness: list[float | None]) -> None:
    members = [Member(number, (number / 20, 0.5), value) for number, value in enumerate(fitness)]
    found = statistics(members)
    assert found == statistics(members[::-1])
    scored = [value for value in fitness if value is not None]
    assert found["evaluated"] == len(scored)
    assert found["failed"] == len(fitness) - len(scored)
    assert found["best"] == (max(scored) if scored else None)
    if scored:
        assert fitness.index(max(scored)) == found["best_individual"]


def test_a_generation_is_complete_when_its_last_member_is_in() -> None:
    book = GenerationBook(3)
    assert book.enter(1, Member(3, (0.1,), 0.5)) is None
    assert book.enter(0, Member(0, (0.1,), 0.5)) is None
    assert book.enter(1, Member(5, (0.3,), None)) is None
    complete = book.enter(1, Member(4, (0.2,), 0.7, reused=True))
    assert complete is not None
    assert (complete["best"], complete["best_individual"], complete["failed"], complete["reused"]) == (0.7, 4, 1, 1)
    assert complete["diversity"] == pytest.approx(0.0816, abs=1e-4)


def shelved(folder: Path, fitness: dict[int, float | None], size: int, default: Sequence[int] = ()) -> set[int]:
    """The individuals whose folders are left when their verdicts came in this order; `default` continues 0."""
    shutil.rmtree(folder / "trials", ignore_errors=True)
    shelf = WeightShelf(folder, size)
    for number, value in fitness.items():
        trial_directory(folder, number).mkdir(parents=True)
        (trial_directory(folder, number) / "best.pt").touch()
        role = Role.CONTINUATION if number in default else Role.SEARCH
        shelf.offer(
            individual(number, role=role, original=max(number - 1, 0) if number in default else None), value
        )
    assert len(list(folder.glob("trials/*"))) == len(fitness)  # nothing is removed before it may be
    shelf.clear()
    return {int(path.name) for path in folder.glob("trials/*")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.2])), min_size=1, max_size=12))
def test_the_shelf_keeps_the_default_and_the_best_few(tmp_path: Path, fitness: list[float | None]) -> None:
    kept = shelved(tmp_path, dict(enumerate(fitness)), size=3)
    scored = [(value, -number) for number, value in enumerate(fitness) if value is not None and number > 0]
    assert kept == {0} | {-number for _, number in sorted(scored, reverse=True)[:3]}


def test_the_shelf_keeps_what_continues_the_default(tmp_path: Path) -> None:
    fitness = {0: None, 1: 0.5, 2: 0.1, 3: 0.4, 4: 0.3}
    assert shelved(tmp_path, fitness, size=2, default=[1, 2]) == {0, 1, 2, 3, 4}
    assert shelved(tmp_path, fitness, size=1, default=[1]) == {0, 1, 3}


def test_of_equals_the_shelf_keeps_the_one_that_the_ledger_calls_the_best(tmp_path: Path) -> None:
    assert shelved(tmp_path, {7: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}, size=2) == {7, 1}


def test_the_disk_watch_says_how_much_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10e9, 9.5e9, 0.5e9))
    said = DiskWatch(tmp_path, min_free_gb=1.0)()
    assert said is not None
    assert "0.50 GB free" in said
    assert "EVOLVE_MIN_FREE_GB" in said
    assert DiskWatch(tmp_path, min_free_gb=0.1)() is None


def test_the_environment_is_described_without_loading_torch() -> None:
    described = describe_environment()
    packages = described["packages"]
    assert isinstance(packages, dict)
    assert {"torch", "ultralytics", "deap", "ray", "evolve-yolo"} <= packages.keys()


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("1", 1), ("0,1", 2), ("0,-1,1", 1), ("GPU-8f2c,GPU-77aa", 2)]
)
def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    answer = subprocess.CompletedProcess([], 0, stdout="H200\n" * 4)
    monkeypatch.setattr(shutil, "which", lambda command: command)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_names() == ["H200"] * count


def test_a_gpu_driver_that_hangs_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 30)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(shutil, "which", lambda command: command)
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(EvolveError, match="nvidia-smi: must answer within 30 s"):
        gpu_names()


@pytest.mark.parametrize("value", ["abc", "-1", "nan"])
def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EVOLVE_MIN_FREE_GB", value)
    with pytest.raises(InputError, match=r"EVOLVE_MIN_FREE_GB: .*but got"):
        Settings()
