"""`evolve train`, `val`, `predict` and `export` as a user meets them: real data, real detectors, real signals."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from dataset_factory import noise, snapshot, write_dataset
from evolve.best import best_yaml
from evolve.cli import app
from evolve.codec import Codec
from evolve.compose.training import (
    params_of_file,
    params_of_options,
    params_of_search,
    planned_training,
)
from evolve.exceptions import EvolveError, InputError
from evolve.fitness import DEFAULT_METRIC
from evolve.ledger import Ledger
from evolve.progress_training import LiveTraining, TrainingState, make_training_progress
from evolve.settings import Settings
from evolve.space import SearchSpace, load_space, shipped_spaces
from evolve.training_files import RESULT, TrainingFiles, read_epochs
from evolve.trial import EpochReport, FailureKind, TrialFailed, TrialResult, TrialSpec, TrialState
from evolve.yaml_io import dump_yaml, parse_yaml
from sample_searches import evaluation, individual, search_record
from workers.yolo12.configuration import Given, canonical, read_configuration
from workers.yolo12.detector import choose_device

PARAMS: dict[str, Any] = {
    "model": "yolo12p.yaml",
    "pretrained": False,
    "epochs": 2,
    "imgsz": 64,
    "batch": 2,
    "nbs": 2,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 0,
    "mosaic": 0.0,
    "iou": 0.6,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a home of its own, a data set and a configuration for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVOLVE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EVOLVE_DATABASE_URL", raising=False)
    write_dataset(tmp_path / "data")
    write_params(tmp_path)
    return tmp_path


def write_params(folder: Path, **changes: Any) -> Path:
    path = folder / "best.yaml"
    values = {**PARAMS, "data": str(folder / "data/data.yaml"), **changes}
    path.write_text(dump_yaml({key: value for key, value in values.items() if value != "absent"}))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained detector of two classes, as a training would leave it."""
    from workers.yolo12.process import prepare_process

    prepare_process()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from workers.yolo12.architectures import architecture

    torch.manual_seed(0)
    model = DetectionModel(architecture("yolo12p"), nc=2, verbose=False)
    model.names = {0: "cat", 1: "dog"}
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    arguments = {"imgsz": 64, "batch": 4, "iou": 0.5, "max_det": 20, "data": "/secret/place", "nms": False}
    torch.save({"model": model.half(), "ema": None, "train_args": arguments, "epoch": -1}, path)
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def refusal(*arguments: object) -> str:
    """The one line with which a command refuses its input."""
    result = call(*arguments)
    assert isinstance(result.exception, InputError), (result.exception, result.output)
    assert result.exception.exit_code == 2
    assert "\n" not in str(result.exception)
    return str(result.exception)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, (result.exception, result.output)
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- a configuration that cannot be trained


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"boxx": 7.5}, "best.yaml: boxx: must be a training argument, but 'boxx' is none; did you mean 'box'?"),
        ({"lr0": 3.0}, "best.yaml: lr0: must be a number from 0 to 1, but got 3.0"),
        ({"lr0": "1e"}, "best.yaml: lr0: must be a number from 0 to 1, but got '1e'"),
        ({"epochs": 0}, "best.yaml: epochs: must be a whole number from 1"),
        ({"iou": 7}, "best.yaml: iou: must be a number from 0.01 to 1, but got 7"),
        ({"nms_iou": 0.5}, "nms_iou: is the same as nms_iou, but both are there"),
        ({"box_loss": "best"}, "best.yaml: box_loss: must be one of iou, giou"),
        ({"task": "segment"}, "best.yaml: task: must be detect, but got 'segment'"),
        ({"mode": "val"}, "best.yaml: mode: must be train, but got 'val'"),
        ({"model": "yolo11n.pt"}, "best.yaml: model: must be one of yolo12n, "),
        ({"model": "absent"}, "model: is required, but is missing"),
        ({"pretrained": 3}, "best.yaml: pretrained: must be true, false, auto, none or the path of a .pt file"),
        ({"pretrained": "gone.pt"}, "gone.pt"),
        ({"seed": -1}, "best.yaml: seed: must be a whole number from 0"),
        ({"data": 7}, "best.yaml: data: must be a path or a name, but got 7"),
        ({"data": "absent"}, "data: is required, but is missing; give the data set with --data"),
        ({"data": "gone/data.yaml"}, "gone/data.yaml"),
        ({"project": "x"}, "best.yaml: project: must be a training argument, but 'project' is none; use --output"),
        ({"optimizer": "auto"}, "best.yaml: lr0: optimizer must not be auto, which overwrites lr0"),
        ({"optimizer": "absent"}, "best.yaml: lr0: optimizer must not be auto"),
        ({"cos_lr": True, "lr_schedule": "cosine"}, "best.yaml: cos_lr: must not stand beside lr_schedule"),
        ({"device": "tpu"}, "best.yaml: device: must be cpu, cuda or the number of one GPU, but got 'tpu'"),
        ({"device": [0, 1]}, "best.yaml: device: must be cpu, cuda or the number of one GPU"),
    ],
)
def test_a_configuration_that_cannot_be_trained_is_refused_in_one_line(
    home: Path, changes: dict[str, Any], expected: str
) -> None:
    assert expected in refusal("train", "--params", write_params(home, **changes))
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "exactly one of --params FILE and --search SEARCH is needed"),
        (("--params", "best.yaml", "--search", "x"), "exactly one of"),
        (("--params", "gone.yaml"), "gone.yaml: the file cannot be read"),
        (("--search", "nothing"), "no search has this id or name"),
        (("--params", "best.yaml", "--individual", "3"), "--individual: is one of a search"),
        (("--params", "best.yaml", "--name", "a", "--output", "b"), "--name: names a folder below runs"),
        (("--params", "best.yaml", "--epochs", "0"), "--epochs: must be a whole number from 1"),
        (("--params", "best.yaml", "--imgsz", "5"), "--imgsz: must be a whole number from 32"),
        (("--params", "best.yaml", "--set", "lr0"), "--set: must be key=value, but got 'lr0'"),
        (("--params", "best.yaml", "--set", "lr0=x"), "--set lr0: must be a number from 0 to 1, but got 'x'"),
        (("--params", "best.yaml", "--set", "lr0=[1"), "--set lr0"),
        (("--params", "best.yaml", "--set", "plots=true"), "--set plots: must be a training argument"),
        (("--params", "best.yaml", "--weights", "gone.pt"), "gone.pt"),
        (("--params", "best.yaml", "--data", "nowhere/x.yaml"), "nowhere/x.yaml"),
        (("--params", "best.yaml", "--device", "tpu"), "--device: must be cpu, cuda or the number of a GPU"),
        (("--params", "best.yaml", "--device", "99"), "--device: there must be such a GPU"),
        (("--params", "best.yaml", "--output", "best.yaml"), "--output best.yaml: must be free"),
        (("--params", "best.yaml", "--output", "data"), "but it holds something else"),
    ],
)
def test_options_of_train_that_cannot_be_used(home: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refusal("train", *arguments)


@pytest.mark.parametrize("before", [None, "", "0,1"])
def test_a_gpu_that_is_refused_leaves_the_visible_ones_as_they_were(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    with pytest.raises(InputError):
        choose_device("99")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


def test_data_are_judged_before_anything_is_trained(home: Path) -> None:
    (home / "data/labels/train/0.txt").write_text("7 0.5 0.5 0.4 0.4\n")
    assert "0.txt" in refusal("train", "--params", "best.yaml")
    assert not (home / "runs").exists()


# --- a configuration that can


def given(**values: Any) -> dict[str, Given]:
    return {canonical(name): Given(value, name) for name, value in values.items()}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"model": "yolo12n"}, ("yolo12n", "auto")),
        ({"model": "yolo12s.pt", "pretrained": True}, ("yolo12s", "auto")),
        ({"model": "yolo12s.pt", "pretrained": False}, ("yolo12s", "none")),
        ({"model": "yolo12n.yaml"}, ("yolo12n", "none")),
        ({"model": "yolo12n.yaml", "pretrained": "mine.pt"}, ("yolo12n", "mine.pt")),
        ({"model": "yolo12n.yaml", "pretrained": "auto"}, ("yolo12n", "auto")),
    ],
)
def test_model_and_weights_mean_what_they_mean_to_ultralytics(written: Any, expected: tuple[str, str]) -> None:
    read = read_configuration(given(**written))
    assert (read.model, read.weights) == expected


def test_names_of_ultralytics_and_of_spaces_mean_the_same_and_null_means_the_default() -> None:
    by_theirs = read_configuration(given(model="yolo12n", iou=0.5, freeze=None, hetero=True))
    by_ours = read_configuration(given(model="yolo12n", nms_iou=0.5, hetero=True))
    assert by_theirs == by_ours
    assert by_ours.arguments == {"nms_iou": 0.5, "hetero": True}


def test_a_device_may_be_written_as_for_ultralytics() -> None:
    read = read_configuration(given(model="yolo12n", device=0))
    assert (read.device, dict(read.arguments)) == ("0", {})


def test_an_idle_argument_is_noted() -> None:
    read = read_configuration(given(model="yolo12n", elastic_beta=2.0))
    assert read.notes == ("elastic_beta changes nothing unless box_loss is elastic or elastic_weighted",)
    assert read_configuration(given(model="yolo12n", elastic_beta=2.0, box_loss="elastic")).notes == ()


def test_the_command_line_wins_and_reads_values_as_yaml(home: Path) -> None:
    options = {"epochs": 9, "imgsz": None, "pretrained": "auto"}
    settings = ["lr0=1e-3", "rect=true", "image_sizes=64,96", "nms_iou=0.4"]
    merged = {**params_of_file(home / "best.yaml"), **params_of_options(options, settings)}
    values = {name: each.value for name, each in merged.items()}
    assert values == {
        **{canonical(name): value for name, value in PARAMS.items()},
        "data": str(home / "data/data.yaml"),
        "epochs": 9, "pretrained": "auto", "lr0": 1e-3, "rect": True, "image_sizes": "64,96", "nms_iou": 0.4,
    }  # fmt: skip


@pytest.mark.parametrize("name", shipped_spaces())
def test_whatever_a_search_finds_can_be_trained(name: str, tmp_path: Path) -> None:
    space = load_space(name, {"data": "mine.yaml"})
    codec, rng = Codec(space), np.random.default_rng(0)
    for number in range(20):
        params = codec.decode(codec.sample(rng))
        text = best_yaml(search_record(), individual(number, params), evaluation(number, seed=5), space)
        path = tmp_path / "best.yaml"
        path.write_text(text)
        read = read_configuration(params_of_file(path))
        model = params.pop("model", space.model)
        wanted = {**space.train, **params, "epochs": evaluation(number).epochs or space.train["epochs"]}
        assert read.arguments == wanted
        assert (read.model, read.data, read.seed) == (model, "mine.yaml", 5)


def test_the_best_of_a_search_or_any_of_it_can_be_trained(tmp_path: Path) -> None:
    space = SearchSpace.from_document(
        {
            "name": "tiny", "model": "yolo12p", "data": "mine.yaml", "weights": "none", "train": {"epochs": 30},
            "genes": {"nms_iou": {"type": "float", "low": 0.3, "high": 0.8, "default": 0.7}},
        },
        "test",
    )  # fmt: skip
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        search = ledger.create_search(
            name="tiny", document=space.document(), objective="yolo12", options={}, environment={},
            directory=str(tmp_path), data_hash="ab",
        )  # fmt: skip
        with ledger.acquire(search.id).transaction() as tx:
            tx.start(resumed=False)
            for number, fitness in enumerate((0.5, 0.4)):
                params = {"nms_iou": 0.6 + number / 10}
                tx.propose(individual(number, params, search_id=search.id, told=None, attempts=0))
                tx.submit(TrialSpec(search.id, number, 1, params, space.train, 3, str(tmp_path)))
                tx.started(number, 1, "gpu-0")
                tx.reported(number, 1, EpochReport(1, 30, {DEFAULT_METRIC: fitness}, 1.0))
                tx.completed(number, 1, TrialResult({DEFAULT_METRIC: fitness}, epochs=30, seconds=2.0))
                tx.evaluated(number, state=TrialState.COMPLETED, fitness=fitness, metrics={DEFAULT_METRIC: fitness})
        best, name = params_of_search(ledger, "tiny", None)
        other, _ = params_of_search(ledger, search.id, 1)
        with pytest.raises(InputError, match="--individual: 7 must have been evaluated"):
            params_of_search(ledger, search.id, 7)
    assert name == "tiny"
    assert read_configuration(best).arguments == {"epochs": 30, "nms_iou": 0.6}
    assert read_configuration(other).arguments == {"epochs": 30, "nms_iou": 0.7}
    assert read_configuration(best).seed == 3


class Plans:
    """Makes trainings ready without training them."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def folder(self, *, finish: bool = False, output: Path | None = None, **changes: Any) -> str:
        params = params_of_file(write_params(self.home, **changes))
        with planned_training(params, Settings(), name="best", output=output, device=None) as training:
            from workers.yolo12.attempts import take_up

            take_up(training.spec)
            if finish:
                TrainingFiles(training.folder, training.params).finish(TrialResult({}))
            return str(training.folder.relative_to(self.home))


def test_each_training_has_a_folder_of_its_own_and_an_interrupted_one_is_found_again(home: Path) -> None:
    plans = Plans(home)
    assert plans.folder() == "runs/best"
    assert plans.folder(lr0=0.001) == "runs/best-2"
    assert plans.folder(finish=True) == "runs/best"
    assert plans.folder() == "runs/best-3"
    assert plans.folder(lr0=0.001) == "runs/best-2"
    with FileLock(home / "runs/best-2/.lock"):
        assert plans.folder(lr0=0.001) == "runs/best-4"


def test_a_folder_that_is_asked_for_is_used_or_refused(home: Path) -> None:
    plans, output = Plans(home), home / "mine"
    assert plans.folder(output=output) == "mine"
    with pytest.raises(InputError, match="it holds something else"):
        plans.folder(output=output, lr0=0.001)
    with FileLock(output / ".lock"), pytest.raises(InputError, match="another process trains there"):
        plans.folder(output=output)
    assert plans.folder(output=output, finish=True) == "mine"
    with pytest.raises(InputError, match="it holds a finished one"):
        plans.folder(output=output)


def test_the_written_configuration_trains_the_same_again(home: Path) -> None:
    params = params_of_file(write_params(home, hetero=True, seed=4))
    with planned_training(params, Settings(), name="best", output=None, device=None) as training:
        written = parse_yaml(dump_yaml(training.params), "params.yaml")
    assert read_configuration(given(**written)) == read_configuration(params)


# --- how it looks


def report(epoch: int, fitness: float, seconds: float, epochs: int = 30) -> EpochReport:
    losses = {f"train/{name}_loss": 1.23456 for name in ("box", "cls", "dfl")}
    names = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)")
    return EpochReport(epoch, epochs, {**losses, **dict.fromkeys(names, 0.5), DEFAULT_METRIC: fitness}, seconds)


def test_the_state_knows_the_best_and_the_time_to_go() -> None:
    state = TrainingState()
    state.former = [report(1, 0.3, 5.0), report(2, 0.9, 6.0)]
    assert (state.best, state.eta) == (None, None)
    state.fold(report(2, 0.1, 10.0))  # epoch 2 is trained again, so only 1 of the former counts
    assert state.best == (1, 0.3)
    assert state.eta == pytest.approx(28 * 10)
    state.fold(report(3, 0.3, 12.0))
    assert state.best == (3, 0.3)  # of equal epochs, the weights of the later one are kept
    assert state.eta == pytest.approx(27 * 2)
    assert state.seconds == pytest.approx(2)


@pytest.mark.parametrize("width", [80, 120])
def test_rows_on_a_terminal_fit(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    progress = make_training_progress(TrainingState(), as_json=False, console=console)
    assert isinstance(progress, LiveTraining)
    progress.begin("training yolo12p", 300)
    progress.epoch(report(298, 0.4, 4000.0, 300))
    progress.epoch(report(299, 0.3, 8000.0, 300))
    progress.close()
    shown = [line.split("\x1b[2K")[-1].rstrip() for line in stream.getvalue().splitlines()]
    rows = [line for line in shown if "/300 " in line and "ETA" not in line]
    assert [row.split() for row in rows] == [
        ["298/300", "1.235", "1.235", "1.235", "0.5000", "0.5000", "0.5000", "0.4000", "1", "h", "06", "min"],
        ["299/300", "1.235", "1.235", "1.235", "0.5000", "0.5000", "0.5000", "0.3000", "1", "h", "06", "min"],
    ]
    assert all(len(row) <= 80 for row in rows)
    assert "best mAP50-95 0.4000 (epoch 298)" in stream.getvalue()


def test_lines_in_a_log_and_objects_for_programs() -> None:
    for as_json in (False, True):
        stream = io.StringIO()
        progress = make_training_progress(TrainingState(), as_json=as_json, console=Console(file=stream))
        progress.begin("training yolo12p", 30)
        progress.epoch(report(1, float("nan") if as_json else 0.25, 60.0))
        progress.close()
        said = stream.getvalue()
        if as_json:
            event = json.loads(said)
            assert event["metrics"][DEFAULT_METRIC] is None
            assert (event["kind"], event["epoch"], event["epochs"]) == ("epoch_reported", 1, 30)
        else:
            assert "epoch 1/30: mAP50-95 0.2500" in said
            assert "best mAP50-95 0.2500 (epoch 1), 1 min 00 s, ETA 29 min 00 s" in said


def test_the_table_of_epochs_goes_on_after_an_interruption(tmp_path: Path) -> None:
    files = TrainingFiles(tmp_path, PARAMS)
    for epoch in (1, 2, 3):
        files.add(report(epoch, epoch / 10, epoch * 2.0))
    again = TrainingFiles(tmp_path, PARAMS)
    again.add(report(3, 0.9, 1.0))
    found = read_epochs(tmp_path)
    assert [(each.epoch, each.metrics[DEFAULT_METRIC], each.seconds) for each in found] == [
        (1, 0.1, 2.0), (2, 0.2, 4.0), (3, 0.9, 5.0),
    ]  # fmt: skip
    (tmp_path / "results.csv").write_text("epoch,seconds\nx,y\n")
    assert read_epochs(tmp_path) == []


class FakeObjective:
    """Trains two epochs in no time, or fails in the second."""

    failure: TrialFailed | None = None

    def run(self, spec: TrialSpec) -> Iterator[EpochReport]:
        yield report(1, 0.25, 1.0, 2)
        if self.failure is not None:
            raise self.failure
        yield report(2, 0.125, 2.0, 2)
        weights = f"{spec.directory}/weights/best.pt"
        metrics = {DEFAULT_METRIC: 0.25}
        differences = {"batch": [64, 32]}
        return TrialResult(metrics, {"batch": 32}, differences, weights, 2, 2.0, notes=("it\x1b was warm",))


def test_a_training_ends_with_what_it_left_and_the_next_commands(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("evolve.compose.training.YoloObjective", FakeObjective)
    result = call("train", "--params", "best.yaml", "--name", "a b", "--set", "elastic_beta=2")
    assert result.exit_code == 0, result.exception
    assert [" ".join(line.split()) for line in result.stdout.splitlines() if not line.startswith("epoch")] == [
        "training yolo12p, 2 epochs, 64 px on data/data.yaml in runs/a-b",
        "best runs/a-b/weights/best.pt",
        "epoch 1 of 2: mAP50-95 0.2500, mAP50 \N{EN DASH}, R \N{EN DASH}, P \N{EN DASH}",
        "took 2 s",
        "note it\N{REPLACEMENT CHARACTER} was warm",
        "note batch: 64 was asked for, 32 took effect",
        "next evolve val runs/a-b/weights/best.pt --data data/data.yaml",
        "evolve predict runs/a-b/weights/best.pt PICTURES",
        "evolve export runs/a-b/weights/best.pt",
    ]  # fmt: skip
    assert "note: elastic_beta changes nothing unless" in result.stderr
    *epochs, finished = lines(call("train", "--params", "best.yaml", "--json"))
    assert [event["epoch"] for event in epochs] == [1, 2]
    assert epochs[1]["best"] == {"epoch": 1, DEFAULT_METRIC: 0.25}
    assert finished["differences"] == {"batch": [64, 32]}


def test_a_training_that_fails_says_so_in_one_line_and_is_not_finished(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("evolve.compose.training.YoloObjective", FakeObjective)
    monkeypatch.setattr(FakeObjective, "failure", TrialFailed(FailureKind.OUT_OF_MEMORY, "batch 64 does not fit"))
    result = call("train", "--params", "best.yaml")
    assert str(result.exception) == "the training failed (out of memory): batch 64 does not fit"
    assert isinstance(result.exception, EvolveError)
    assert result.exception.exit_code == 1
    assert (home / "runs/best/results.csv").is_file()
    assert not (home / "runs/best" / RESULT).exists()


def test_a_place_that_cannot_be_written_is_named(home: Path) -> None:
    assert "/proc/nowhere: a training must be able to write there" in refusal(
        "train", "--params", "best.yaml", "--output", "/proc/nowhere"
    )


# --- a detector in use


@pytest.mark.parametrize("command", ["val", "predict", "export"])
def test_a_forged_file_runs_no_code(home: Path, command: str) -> None:
    marker = home / "ran"

    class Forged:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {marker}",)

    (home / "best.pt").write_bytes(pickle.dumps({"model": Forged()}))
    import torch

    torch.save({"model": Forged(), "train_args": {}}, home / "zip.pt")
    rest = {"val": ("--data", "data"), "predict": ("data",), "export": ()}[command]
    for name in ("best.pt", "zip.pt"):
        assert f"{name}: cannot be read" in refusal(command, name, *rest)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("val", "gone.pt", "--data", "data"), "gone.pt: must be an existing .pt file"),
        (("val", "best.yaml", "--data", "data"), "best.yaml: must be an existing .pt file"),
        (("val", "W", "--data", "gone"), "gone"),
        (("val", "W", "--data", "data", "--imgsz", "65"), "--imgsz: must be a multiple of 32, but got 65"),
        (("val", "W", "--data", "data", "--batch", "0"), "--batch: must be a whole number from 1"),
        (("val", "W", "--data", "data", "--nms-iou", "3"), "--nms-iou: must be a number from 0.01 to 1"),
        (("val", "W", "--data", "data", "--nms", "soft"), "--nms: must be one of iou, diou, but got 'soft'"),
        (("val", "W", "--data", "data", "--split", "test"), "which have train, val, but got 'test'"),
        (("val", "W", "--data", "data", "--device", "x"), "--device: must be cpu, cuda"),
        (("predict", "gone.pt", "data"), "gone.pt: must be an existing .pt file"),
        (("predict", "W", "https://example.com/a.jpg"), "must be a picture or folder of this machine"),
        (("predict", "W", "rtsp://camera/1"), "must be a picture or folder of this machine"),
        (("predict", "W", "0"), "0: must be a picture or a folder that exists"),
        (("predict", "W", "gone.jpg"), "gone.jpg: must be a picture or a folder that exists"),
        (("predict", "W", "empty"), "empty: must hold pictures, but holds none"),
        (("predict", "W", "data", "--conf", "2"), "--conf: must be a number from 0 to 1, but got 2"),
        (("predict", "W", "data/images/train", "--output", "data/images/train"), "must not hold the pictures"),
        (("predict", "W", "data", "--output", "/proc/nowhere"), "--output /proc/nowhere: cannot be written"),
        (("export", "W", "--output", "/proc/nowhere/x.onnx"), "the export cannot be written"),
        (("predict", "W", "best.yaml"), "none of the pictures can be read"),
        (("export", "gone.pt"), "gone.pt: there is no such file"),
        (("export", "nothing"), "no search has this id or name"),
        (("export", "nothing", "--half"), "--half: is for a detector, but nothing does not name a .pt file"),
        (("export", "nothing", "--format", "onnx"), "--format: is for a detector"),
        (("export", "W", "--without-weights"), "--without-weights: is for the bundle of a search"),
        (("export", "W", "--format", "coreml"), "--format: must be one of onnx, openvino, torchscript"),
        (("export", "W", "--imgsz", "100"), "--imgsz: must be a multiple of 32"),
        (("export", "W", "--output", "x.torchscript"), "--output: must end in .onnx for --format onnx"),
        (("export", "W", "--output", "there.onnx"), "there.onnx: must not exist yet"),
        (("export", "W", "--format", "openvino", "--output", "a_openvino_model", "--force"), "none"),
        (("export", "W", "--format", "torchscript", "--half"), "--half: torchscript with 16 bits"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    home: Path, weights: Path, arguments: tuple[str, ...], expected: str
) -> None:
    (home / "empty").mkdir()
    (home / "a_openvino_model").mkdir()
    (home / "there.onnx").touch()
    before = snapshot(home / "data")
    assert expected in refusal(*(weights if each == "W" else each for each in arguments))
    assert snapshot(home / "data") == before


def test_a_package_that_is_missing_is_named_with_the_command(
    home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refusal("export", weights, "--format", "openvino")
    assert said == "--format openvino: openvino must be installed: pip install openvino"


def test_validation_as_json_and_as_a_table(home: Path, weights: Path) -> None:
    before = snapshot(home / "data")
    (found,) = lines(call("val", weights, "--data", "data", "--json", "--nms", "diou", "--imgsz", "96"))
    assert set(found["metrics"]) == {
        "metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"
    }  # fmt: skip
    assert (found["images"], found["instances"]) == (2, 4)
    assert [each["name"] for each in found["classes"]] == ["cat", "dog"]
    wanted = {"imgsz": 96, "batch": 8, "nms_iou": 0.5, "nms": "diou", "max_det": 20}
    assert {name: found["settings"][name] for name in wanted} == wanted
    table = call("val", weights, "--data", "data", "--split", "train").stdout
    assert [line.split()[:3] for line in table.splitlines()[1:4]] == [
        ["all", "2", "4"], ["cat", "2", "2"], ["dog", "2", "2"]
    ]  # fmt: skip
    assert snapshot(home / "data") == before


def test_a_detector_of_other_classes_is_refused_or_noted(home: Path, weights: Path) -> None:
    document = home / "data/data.yaml"
    document.write_text(document.read_text().replace("[cat, dog]", "[cow, dog]"))
    said = call("val", weights, "--data", "data")
    assert "note: the classes have other names in the data: cat, dog were cow, dog there" in said.stderr
    document.write_text(document.read_text().replace("[cow, dog]", "[cow, dog, emu]"))
    assert "it knows 2 and they have 3" in refusal("val", weights, "--data", "data")


def test_predictions_as_json(home: Path, weights: Path) -> None:
    big = home / "big.png"
    noise(96, 48).save(big)
    (home / "no.jpg").write_text("text")
    found = lines(
        call("predict", weights, "data/images/val", big, "no.jpg", "--conf", "0", "--nms-iou", "1", "--json")
    )
    assert [each["picture"] for each in found] == [
        "data/images/val/0.jpg", "data/images/val/1.jpg", str(big), "no.jpg"
    ]  # fmt: skip
    assert not (home / "runs").exists()
    assert found[3]["problem"] == "a file of another kind"
    picture = found[2]
    assert (picture["width"], picture["height"], len(picture["boxes"])) == (96, 48, 20)
    for box in picture["boxes"]:
        left, top, right, bottom = box["box"]
        assert 0 <= left <= right <= 96
        assert 0 <= top <= bottom <= 48
        assert box["name"] == ["cat", "dog"][box["class"]]
        assert 0 <= box["confidence"] <= 1


def test_annotated_copies_and_texts_lie_beside_each_other_and_no_two_share_a_name(
    home: Path, weights: Path
) -> None:
    said = call("predict", weights, "data", "--conf", "0", "--nms-iou", "1", "--save-txt").stdout
    assert [line.split(": ")[0] for line in said.splitlines()] == [
        f"data/images/{split}/{name}.jpg" for split in ("train", "val") for name in (0, 1)
    ]
    made = home / "runs/predict"
    assert sorted(path.name for path in made.glob("*.jpg")) == ["0-2.jpg", "0.jpg", "1-2.jpg", "1.jpg"]
    rows = (made / "labels/0.txt").read_text().splitlines()
    assert len(rows) == 20
    assert all(len(row.split()) == 6 for row in rows)
    with Image.open(made / "0.jpg") as annotated, Image.open(home / "data/images/train/0.jpg") as original:
        assert annotated.size == original.size
        assert np.asarray(annotated).tobytes() != np.asarray(original).tobytes()
    call("predict", weights, "data", "--conf", "1")
    assert (home / "runs/predict-2").is_dir()


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:FutureWarning")
@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_an_export_says_the_same_as_the_detector(home: Path, weights: Path, form: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    target = home / f"out/mine.{form}"
    said = call("export", weights, "--format", form, "--output", target, "--dynamic")
    assert said.exit_code == 0, said.exception
    assert said.stdout.startswith(f"out/mine.{form}\n{form}, 64 px; on noise its boxes differ")
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert b"/secret/place" not in target.read_bytes()

    import torch

    from workers.yolo12.detector import load_detector

    pixels = np.random.default_rng(1).random((2, 3, 96, 64), dtype=np.float32)
    with torch.inference_mode():
        wanted = load_detector(weights).model.float()(torch.from_numpy(pixels))[0].numpy()
    assert np.abs(run_export(target, pixels) - wanted).max() < 0.01


def run_export(path: Path, pixels: Any) -> Any:
    if path.suffix == ".onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(str(path)).run(None, {"images": pixels})[0]
    import torch

    return torch.jit.load(str(path))(torch.from_numpy(pixels)).numpy()


# --- the whole line


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bright squares on dark noise, 32 pictures to train on and 8 to validate, to be found soon."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 8)):
        for kind in ("images", "labels"):
            (root / "data" / kind / split).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 60, (60, 80, 3), dtype=np.uint8)
            x, y = rng.integers(2, 38), rng.integers(2, 28)
            pixels[y : y + 30, x : x + 40] = (220, 200, 40)
            Image.fromarray(pixels).save(root / "data/images" / split / f"{index}.png")
            box = f"0 {(x + 20) / 80} {(y + 15) / 60} {40 / 80} {30 / 60}\n"
            (root / "data/labels" / split / f"{index}.txt").write_text(box)
    (root / "data/data.yaml").write_text("train: images/train\nval: images/val\nnames: [square]\n")
    return root


class Evolve:
    """The command line in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "EVOLVE_HOME": str(folder / "home"), "COLUMNS": "120"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "evolve", *arguments]
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=self.folder, env=self.environment)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        running = self.start(*arguments)
        out, err = running.communicate()
        assert running.returncode == code, out + err
        assert "Traceback" not in err
        return out if code == 0 else err

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*arguments, "--json").splitlines()]


def test_a_refusal_is_one_line_on_standard_error(tmp_path: Path) -> None:
    said = Evolve(tmp_path)("train", "--params", "gone.yaml", code=2)
    assert said.strip().splitlines() == [said.strip()]
    assert said.startswith("evolve: gone.yaml: the file cannot be read")


def true_box(picture: Path) -> list[float]:
    """The corners of the square in a picture of 80 x 60 pixels."""
    label = picture.parents[2] / "labels" / picture.parent.name / f"{picture.stem}.txt"
    _, x, y, width, height = map(float, label.read_text().split())
    return [(x - width / 2) * 80, (y - height / 2) * 60, (x + width / 2) * 80, (y + height / 2) * 60]


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes, each left, top, right, bottom."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_a_configuration_to_an_exported_detector_without_a_second_tool(squares: Path) -> None:
    evolve = Evolve(squares)
    before = snapshot(squares / "data")
    ours = {"hetero": True, "attention": True, "box_loss": "elastic", "nms": "diou"}
    write_params(squares, epochs=6, **ours)
    *epochs, finished = evolve.json("train", "--params", "best.yaml")
    assert [event["epoch"] for event in epochs] == list(range(1, 7))
    assert finished["kind"] == "training_finished"
    assert finished["weights"] == str(squares / "runs/best/weights/best.pt")
    best = max(epochs, key=lambda event: (event["metrics"][DEFAULT_METRIC], event["epoch"]))
    assert best["metrics"][DEFAULT_METRIC] > 0.05  # it has learned something that a validation can find again
    assert finished["metrics"][DEFAULT_METRIC] == best["metrics"][DEFAULT_METRIC]
    assert epochs[-1]["best"]["epoch"] == best["epoch"]
    assert {name: finished["effective"][name] for name in ours} == ours
    assert finished["effective"]["nms_iou"] == 0.6
    assert finished["differences"] == {}
    recorded = json.loads((squares / "runs/best" / RESULT).read_text())
    assert recorded["metrics"] == finished["metrics"]
    assert [each.epoch for each in read_epochs(squares / "runs/best")] == list(range(1, 7))
    again = yaml.safe_load((squares / "runs/best/params.yaml").read_text())
    assert {name: again[name] for name in PARAMS if name != "epochs"} == {
        name: value for name, value in PARAMS.items() if name != "epochs"
    }

    (found,) = evolve.json("val", "runs/best/weights/best.pt", "--data", "data")
    assert (found["settings"]["nms"], found["settings"]["nms_iou"]) == ("diou", 0.6)  # as in the training
    for name, value in found["metrics"].items():
        # the weights are kept with 16 bits
        assert value == pytest.approx(finished["metrics"][name], abs=0.02), name
    predictions = evolve.json("predict", "runs/best/weights/best.pt", "data/images/val", "--conf", "0.001")
    overlaps = [overlap(each["boxes"][0]["box"], true_box(squares / each["picture"])) for each in predictions]
    assert len(overlaps) == 8
    assert np.median(overlaps) > 0.3
    said = evolve("export", "runs/best/weights/best.pt", "--format", "torchscript")
    assert said.startswith("runs/best/weights/best.torchscript")
    assert snapshot(squares / "data") == before


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_goes_on_by_the_same_command(squares: Path, number: signal.Signals) -> None:
    evolve = Evolve(squares)
    write_params(squares, epochs=12)
    command = ("train", "--params", "best.yaml", "--name", f"signal-{number}", "--set", "batch=8")
    running = evolve.start(*command, "--json")
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line)["epoch"] == 4:
            break
    sent = time.monotonic()
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert time.monotonic() - sent < 15
    assert running.returncode == 130
    assert f"the same command goes on: evolve train --params best.yaml --name signal-{number}" in said
    *epochs, finished = evolve.json(*command)
    assert epochs[0]["epoch"] > 1
    assert epochs[-1]["epoch"] == 12
    assert Path(finished["weights"]).parts[-3] == f"signal-{number}"
    assert any("went on after epoch" in note for note in finished["notes"])
    table = read_epochs(squares / f"runs/signal-{number}")
    assert len({each.epoch for each in table}) == len(table)
    assert table[-1].epoch == 12
