"""Real trainings that are scored on the test split, as the finals are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evolve.trial import TrialResult, TrialSpec
from tiny_training import squares
from workers.datasets import check_dataset, prepare_view
from workers.yolo12 import YoloObjective
from workers.yolo12.attempts import is_attempt_at, take_up

METRIC = "metrics/mAP50-95(B)"
SETTINGS = {"epochs": 2, "imgsz": 64, "batch": 8, "optimizer": "AdamW"}
LEARNING = {**SETTINGS, "epochs": 20, "lr0": 0.01, "warmup_epochs": 0.0}


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    """A training on a prepared view whose test split is its validation split."""
    data = squares(tmp_path / "squares", train=32, val=8)
    data.write_text(data.read_text() + "test: images/val\n")
    view = prepare_view(check_dataset(data), tmp_path / "home")
    return TrialSpec("s", 0, 1, {}, SETTINGS, 0, str(tmp_path / "trial"), "yolo12p", "none", str(view))


def train(spec: TrialSpec) -> TrialResult:
    running = YoloObjective().run(spec)
    while True:
        try:
            next(running)
        except StopIteration as end:
            result: TrialResult = end.value
            return result


@pytest.mark.slow
def test_the_detector_that_is_kept_is_scored_on_the_test_split(spec: TrialSpec) -> None:
    result = train(replace(spec, settings=LEARNING, score_test=True))
    scored = {name: value for name, value in result.metrics.items() if name.startswith("test/")}
    assert result.notes == ()
    assert scored[f"test/{METRIC}"] > 0
    for name in (METRIC, "metrics/mAP50(B)", "metrics/recall(B)"):
        assert scored[f"test/{name}"] == pytest.approx(result.metrics[name], abs=1e-5)


@pytest.mark.slow
def test_only_finals_are_scored_and_only_where_there_is_a_test_split(spec: TrialSpec, tmp_path: Path) -> None:
    assert not any(name.startswith("test/") for name in train(spec).metrics)
    data = squares(tmp_path / "without")
    without = train(replace(spec, data=str(data), directory=str(tmp_path / "other"), score_test=True))
    assert not any(name.startswith("test/") for name in without.metrics)
    assert without.notes == ()


@pytest.mark.slow
def test_a_test_split_that_cannot_be_scored_costs_no_training(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such pictures")

    from workers.yolo12.process import prepare_process

    prepare_process()
    monkeypatch.setattr("workers.yolo12.scoring.score_test", fail)
    result = train(replace(spec, score_test=True))
    assert METRIC in result.metrics
    assert result.notes == ("the test split was not scored: RuntimeError: no such pictures",)


def test_being_scored_makes_no_other_training_of_it(spec: TrialSpec) -> None:
    assert take_up(spec) is None
    assert is_attempt_at(replace(spec, score_test=True))
