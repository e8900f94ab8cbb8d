"""The whole line on real images: command line, Ray, real YOLO12 training, ledger, MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from evolve.ledger import EventKind, Ledger, SearchState
from evolve.trial import TrialState
from evolve.yaml_io import dump_yaml
from workers.datasets import make_demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

SPACE: dict[str, Any] = {
    "name": "tiny",
    "model": "yolo12p",
    "weights": "none",
    "train": {"epochs": 2, "imgsz": 64, "nbs": 8},
    "genes": {
        "optimizer": {"type": "categorical", "choices": ["SGD", "AdamW"], "default": "AdamW"},
        "lr0": {"type": "float", "low": 1e-4, "high": 0.02, "log": True, "default": 0.004},
        "batch": {"type": "int", "low": 4, "high": 16, "log": True, "default": 8},
        "nms_iou": {"type": "float", "low": 0.3, "high": 0.8, "default": 0.7},
    },
    "search": {"population": 2, "generations": 2},
}


class Home:
    """A folder with a home, a tiny data set and the space above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = make_demo(folder / "data", train=16, val=8, size=64)
        self.environment = {**os.environ, "EVOLVE_HOME": str(folder / "home")}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "evolve", *arguments]

    def run_arguments(self, **changes: Any) -> list[str]:
        path = self.folder / "tiny.yaml"
        path.write_text(dump_yaml({**SPACE, **changes}))
        return self.command("run", "--space", str(path), "--data", str(self.data), "--json")

    def call(self, command: list[str]) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env=self.environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.folder}/home/evolve.db")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("trained"))
    home.call([*home.run_arguments(), "--workers", "1"])
    return home


def test_every_individual_trained_with_its_own_values(trained: Home) -> None:
    with trained.ledger() as ledger:
        search = ledger.search("tiny")
        assert search.state is SearchState.COMPLETED
        evaluations = ledger.evaluations(search.id)
        assert [each.state for each in evaluations] == [TrialState.COMPLETED] * 4
        assert len({each.worker for each in evaluations}) == 1  # one warm worker trained them all
        for individual, evaluation in zip(ledger.individuals(search.id), evaluations, strict=True):
            for gene, value in individual.params.items():
                assert evaluation.effective[gene] == pytest.approx(value), gene
            assert evaluation.differences == {}
            assert len(ledger.epochs(search.id, individual.number)) == 2


def test_mlflow_holds_the_nested_runs(trained: Home) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{trained.folder}/home/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 1 + 2 + 4
    depths = [depth(runs, run_id) for run_id in runs]
    assert sorted(depths) == [0, 1, 1, 2, 2, 2, 2]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for run_id, run in runs.items():
        if depth(runs, run_id) == 2:
            assert [each.step for each in client.get_metric_history(run_id, "metrics/mAP50-95B")] == [1, 2]
            assert "lr0" in run.data.params


def depth(runs: dict[str, Any], run_id: str) -> int:
    parent = runs[run_id].data.tags.get("mlflow.parentRunId")
    return 0 if parent is None else 1 + depth(runs, parent)


def test_the_best_yaml_is_one_that_ultralytics_accepts(trained: Home) -> None:
    text = trained.call(trained.command("best", "tiny"))
    values = yaml.safe_load(text)
    assert isinstance(values["lr0"], float)
    assert 0.3 <= values["iou"] <= 0.8
    assert Path(values["data"]).is_file()
    trained.call(trained.command("export", "tiny", "-o", "bundle"))
    assert (trained.folder / "bundle/best.pt").stat().st_size > 1_000_000


def test_a_training_goes_on_from_its_last_epoch_after_kill_9(tmp_path: Path) -> None:
    home = Home(tmp_path)
    train = {"epochs": 30, "imgsz": 64, "nbs": 8}
    search = {"population": 2, "generations": 1}
    driver = subprocess.Popen(
        [*home.run_arguments(train=train, search=search), "--inline"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=home.folder,
        env=home.environment,
    )
    assert driver.stdout is not None
    for line in driver.stdout:
        event = json.loads(line)
        if event["kind"] == EventKind.EPOCH_REPORTED and event["data"]["epoch"] >= 14:
            driver.kill()
            break
    driver.communicate()
    home.call(home.command("resume", "tiny", "--json"))
    with home.ledger() as ledger:
        record = ledger.search("tiny")
        assert record.state is SearchState.COMPLETED
        first, second = ledger.evaluations(record.id, 0)
        assert (first.state, second.state) == (TrialState.INTERRUPTED, TrialState.COMPLETED)
        again = [each.epoch for each in ledger.epochs(record.id, 0) if each.attempt == 2]
        assert again[0] > 1
        assert again[-1] == 30
