from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from evolve.trial import EpochReport, FailureKind, TrialFailed, TrialResult, TrialSpec
from workers.yolo12 import YoloObjective, prepare_labels, streaming
from workers.yolo12.streaming import Channel, stream

METRIC = "metrics/mAP50-95(B)"
SETTINGS = {"epochs": 2, "imgsz": 64, "batch": 8, "optimizer": "AdamW"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Bright squares on dark noise: 16 pictures to train on, 8 to validate."""
    root = tmp_path_factory.mktemp("squares")
    noise = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            pixels = noise.integers(0, 60, (60, 80, 3), dtype=np.uint8)
            x, y = noise.integers(2, 38), noise.integers(2, 28)
            pixels[y : y + 30, x : x + 40] = (220, 200, 40)
            Image.fromarray(pixels).save(root / "images" / split / f"{index}.png")
            box = f"0 {(x + 20) / 80} {(y + 15) / 60} {40 / 80} {30 / 60}\n"
            (root / "labels" / split / f"{index}.txt").write_text(box)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: square}\n")
    return root / "data.yaml"


@pytest.fixture
def spec(data, tmp_path) -> TrialSpec:
    return TrialSpec("s", 0, 1, {"lr0": 0.002}, SETTINGS, 0, str(tmp_path / "trial"), "yolo12p", "none", str(data))


@pytest.fixture
def trainers(monkeypatch) -> list:
    """Param groups and batch size of every trainer, as they stood when its training was over."""
    from workers.yolo12.process import prepare_process

    prepare_process()
    from workers.yolo12.trainer import TrialTrainer

    seen = []
    final_eval = TrialTrainer.final_eval

    def record(self):
        groups = [
            {key: value for key, value in group.items() if key != "params"} for group in self.optimizer.param_groups
        ]
        seen.append((type(self.optimizer).__name__, groups, self.train_loader.batch_size, weakref.ref(self)))
        final_eval(self)

    monkeypatch.setattr(TrialTrainer, "final_eval", record)
    return seen


def train(spec: TrialSpec) -> tuple[list[EpochReport], TrialResult]:
    reports = []
    running = YoloObjective().run(spec)
    while True:
        try:
            reports.append(next(running))
        except StopIteration as end:
            return reports, end.value


def failure_of_training(spec: TrialSpec):
    with pytest.raises(TrialFailed) as caught:
        train(spec)
    return caught.value.failure


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class TestStreaming:
    def test_yields_and_returns(self):
        def call(channel: Channel[int]) -> str:
            channel.send(1)
            channel.send(2)
            return "done"

        running = stream(call)
        assert [next(running), next(running)] == [1, 2]
        with pytest.raises(StopIteration) as end:
            next(running)
        assert end.value.value == "done"

    def test_the_call_stands_still_while_the_consumer_thinks(self):
        steps = []

        def call(channel: Channel[int]) -> None:
            for step in range(3):
                steps.append(step)
                channel.send(step)

        running = stream(call)
        next(running)
        time.sleep(0.05)
        assert steps == [0]
        running.close()
        assert steps == [0]

    def test_closing_unwinds_the_call(self):
        unwound = threading.Event()

        def call(channel: Channel[int]) -> None:
            try:
                channel.send(1)
                while True:
                    time.sleep(0.001)
                    channel.check()
            finally:
                unwound.set()

        running = stream(call)
        next(running)
        running.close()
        assert unwound.is_set()
        assert "training" not in [thread.name for thread in threading.enumerate()]

    def test_closing_does_not_wait_for_ever(self, monkeypatch):
        monkeypatch.setattr(streaming, "CLOSE_SECONDS", 0.05)
        release, unwound = threading.Event(), threading.Event()

        def call(channel: Channel[int]) -> None:
            try:
                channel.send(1)
            finally:
                release.wait(10)
                unwound.set()

        running = stream(call)
        next(running)
        running.close()
        assert not unwound.is_set()
        following = stream(lambda channel: unwound.is_set())
        threading.Timer(0.1, release.set).start()
        with pytest.raises(StopIteration) as end:
            next(following)
        assert end.value.value, "two calls ran at once"

    def test_errors_come_through(self):
        def call(channel: Channel[int]) -> None:
            raise LookupError("lost")

        with pytest.raises(LookupError, match="lost"):
            next(stream(call))


@pytest.mark.slow
class TestTraining:
    def test_reports_every_epoch_and_leaves_the_best_weights(self, spec, data, trainers):
        before = files_below(data.parent)
        reports, result = train(spec)
        assert [(report.epoch, report.epochs) for report in reports] == [(1, 2), (2, 2)]
        assert all(METRIC in report.metrics and "train/box_loss" in report.metrics for report in reports)
        assert result.metrics[METRIC] == max(report.metrics[METRIC] for report in reports)
        assert result.differences == {}
        assert (result.epochs, result.gpu_seconds) == (2, 0.0)
        assert Path(result.weights) == Path(spec.directory) / "weights" / "best.pt"
        assert not (Path(spec.directory) / "weights" / "last.pt").exists()
        assert files_below(data.parent) == before
        json.dumps([result.effective, result.metrics])
        assert trainers[0][3]() is None, "the trainer is still in memory"

    def test_each_trial_trains_with_its_own_arguments(self, spec, tmp_path, trainers):
        """Trials of one process once trained with the first one's hyperparameters (ultralytics#23791)."""
        wanted = [
            {"optimizer": "AdamW", "lr0": 0.002, "batch": 8, "momentum": 0.8, "weight_decay": 0.01},
            {"optimizer": "SGD", "lr0": 0.01, "batch": 4, "momentum": 0.9, "weight_decay": 0.0005},
        ]
        for index, params in enumerate(wanted):
            result = train(replace(spec, params=params, directory=str(tmp_path / str(index))))[1]
            assert result.differences == {}
        for params, (optimizer, groups, batch, _) in zip(wanted, trainers, strict=True):
            assert (optimizer, batch) == (params["optimizer"], params["batch"])
            assert {group["initial_lr"] for group in groups} == {params["lr0"]}
            momenta = {group["momentum"] if "momentum" in group else group["betas"][0] for group in groups}
            assert momenta == {params["momentum"]}
            assert max(group["weight_decay"] for group in groups) == pytest.approx(params["weight_decay"])

    def test_muon_is_described_by_what_was_asked_for(self, spec):
        """MuSGD trains a part of the head at three times lr0."""
        params = {"optimizer": "MuSGD", "lr0": 0.01, "momentum": 0.9, "weight_decay": 0.001, "batch": 16}
        result = train(replace(spec, params=params, settings={**SETTINGS, "epochs": 1}))[1]
        assert result.differences == {}

    def test_what_did_not_take_effect_is_said(self, spec):
        settings = {**SETTINGS, "epochs": 1, "imgsz": 50, "batch": 64, "nms_iou": 0.55}
        result = train(replace(spec, settings=settings))[1]
        assert result.differences == {"imgsz": [50, 64], "batch": [64, 16]}
        assert result.effective["nms_iou"] == 0.55

    @pytest.mark.parametrize(
        ("settings", "differences"),
        [
            ({"warmup_epochs": 3.0}, {"warmup_epochs": [3.0, 0]}),
            ({"warmup_momentum": 0.5}, {"warmup_momentum": [0.5, None]}),
            ({"rect": True, "mosaic": 1.0, "mixup": 0.1}, {"mosaic": [1.0, 0.0], "mixup": [0.1, 0.0]}),
            ({"optimizer": "SGD", "warmup_epochs": 0, "warmup_momentum": 0.5, "weight_decay": 0}, {}),
            ({"amp": True, "workers": 2, "device": "cpu"}, {"amp": [True, False], "workers": [2, 0]}),
        ],
    )
    def test_what_ultralytics_leaves_out_without_a_word_is_said(self, spec, settings, differences):
        result = train(replace(spec, params={}, settings={**SETTINGS, "epochs": 1, **settings}))[1]
        assert result.differences == differences

    def test_a_single_class_makes_a_model_of_one_class(self, spec, data, tmp_path):
        from workers.yolo12.weights import load_weights

        two = tmp_path / "two.yaml"
        two.write_text(data.read_text().replace("{0: square}", "[square, circle]") + f"path: {data.parent}\n")
        settings = {**SETTINGS, "epochs": 1, "single_cls": True}
        result = train(replace(spec, data=str(two), settings=settings))[1]
        assert load_weights(Path(result.weights)).names == {0: "object"}
        assert result.differences == {}

    def test_equal_seeds_train_equally(self, spec, tmp_path):
        settings = {**SETTINGS, "epochs": 1}
        losses = []
        for seed, directory in ((3, "a"), (3, "b"), (4, "c")):
            reports, _ = train(replace(spec, seed=seed, settings=settings, directory=str(tmp_path / directory)))
            losses.append(reports[0].metrics["train/box_loss"])
        assert losses[0] == losses[1] != losses[2]

    def test_starts_from_given_weights(self, spec, tmp_path):
        first = train(spec)[1]
        still = {**SETTINGS, "epochs": 1, "lr0": 0.0, "warmup_bias_lr": 0.0}
        off = []
        for weights in (first.weights, "none"):
            again = replace(
                spec, params={}, settings=still, weights=weights, seed=7, directory=str(tmp_path / weights[-4:])
            )
            off.append(abs(train(again)[1].metrics["val/dfl_loss"] - first.metrics["val/dfl_loss"]))
        assert off[0] < off[1] / 10

    def test_missing_published_weights_are_noted(self, spec, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = train(replace(spec, weights="auto", settings={**SETTINGS, "epochs": 1}))[1]
        assert result.notes == ("yolo12p.pt was not found: training started from random weights",)


@pytest.mark.slow
class TestFailures:
    def test_not_a_number_ends_the_trial_at_once(self, spec, monkeypatch, trainers):
        from workers.yolo12.trainer import TrialTrainer

        original = TrialTrainer.preprocess_batch

        def poison(self, batch):
            batch = original(self, batch)
            batch["img"] *= float("nan") if self.epoch == 1 else 1.0
            return batch

        monkeypatch.setattr(TrialTrainer, "preprocess_batch", poison)
        failure = failure_of_training(spec)
        assert (failure.kind, failure.epoch) == (FailureKind.DIVERGED, 2)
        assert "box_loss is nan" in failure.message
        assert "cls_loss nan" in failure.details
        assert trainers == []

    def test_a_batch_that_does_not_fit_is_never_halved(self, spec, monkeypatch):
        import torch

        from workers.yolo12.trainer import TrialTrainer

        tried = []

        def exhaust(self, batch):
            tried.append(weakref.ref(self))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        monkeypatch.setattr(TrialTrainer, "preprocess_batch", exhaust)
        failure = failure_of_training(spec)
        assert failure.kind is FailureKind.OUT_OF_MEMORY
        assert "batch 8 at imgsz 64 does not fit" in failure.message
        assert len(tried) == 1
        gc.collect()
        assert tried[0]() is None, "the trainer is still in memory"

    def test_missing_data(self, spec, tmp_path):
        (tmp_path / "data.yaml").write_text("train: nowhere\nval: nowhere\nnames: [a]\n")
        failure = failure_of_training(replace(spec, data=str(tmp_path / "data.yaml")))
        assert failure.kind is FailureKind.DATA
        assert "\n" not in failure.message

    def test_a_picture_that_is_gone(self, spec, monkeypatch):
        from ultralytics.data import base

        monkeypatch.setattr(base, "imread", lambda *_, **__: None)
        failure = failure_of_training(spec)
        assert (failure.kind, failure.epoch) == (FailureKind.DATA, 1)
        assert "Image Not Found" in failure.message

    def test_data_scripts_never_run(self, spec, tmp_path):
        script = f"download: open({str(tmp_path / 'ran')!r}, 'w')"
        (tmp_path / "data.yaml").write_text(f"train: nowhere\nval: nowhere\nnames: [a]\n{script}\n")
        assert failure_of_training(replace(spec, data=str(tmp_path / "data.yaml"))).kind is FailureKind.DATA
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"params": {"project": "/etc"}}, "project: is no training argument"),
            ({"params": {"lr0": 7}}, "lr0: must be a number from 0 to 1, but got 7"),
            ({"model": "https://example.org/x.pt"}, "model: must be one of yolo12n"),
        ],
    )
    def test_what_the_catalogue_does_not_hold_is_refused(self, spec, change, message):
        failure = failure_of_training(replace(spec, **change))
        assert failure.kind is FailureKind.CODE
        assert message in failure.message


@pytest.mark.slow
class TestInterruption:
    @pytest.fixture
    def interrupted(self, spec) -> TrialSpec:
        spec = replace(spec, settings={**SETTINGS, "epochs": 3})
        running = YoloObjective().run(spec)
        next(running)
        started = time.monotonic()
        running.close()
        assert time.monotonic() - started < streaming.CLOSE_SECONDS + 2
        assert (Path(spec.directory) / "weights" / "last.pt").exists()
        return replace(spec, attempt=2)

    def test_the_next_attempt_goes_on(self, interrupted):
        reports, result = train(interrupted)
        assert [report.epoch for report in reports] == [2, 3]
        assert result.notes == ("went on after epoch 1 of an interrupted attempt",)
        assert result.differences == {}
        assert METRIC in result.metrics

    def test_another_training_starts_from_scratch(self, interrupted):
        reports, result = train(replace(interrupted, params={"lr0": 0.003}))
        assert [report.epoch for report in reports] == [1, 2, 3]
        assert result.notes == ()

    def test_a_torn_checkpoint_is_no_obstacle(self, interrupted):
        last = Path(interrupted.directory) / "weights" / "last.pt"
        last.write_bytes(last.read_bytes()[:1000])
        assert [report.epoch for report in train(interrupted)[0]] == [1, 2, 3]

    def test_a_forged_checkpoint_runs_no_code(self, interrupted, tmp_path):
        import torch

        mark = tmp_path / "ran"

        class Trap:
            def __reduce__(self):
                return (Path.touch, (mark,))

        torch.save({"ema": Trap(), "epoch": 0}, Path(interrupted.directory) / "weights" / "last.pt")
        assert [report.epoch for report in train(interrupted)[0]] == [1, 2, 3]
        assert not mark.exists()

    def test_a_lost_checkpoint_is_not_looked_for_elsewhere(self, interrupted, monkeypatch):
        from ultralytics.utils import downloads

        asked = []
        monkeypatch.setattr(downloads, "get_github_assets", lambda *where: asked.append(where) or ("", []))
        (Path(interrupted.directory) / "weights" / "last.pt").unlink()
        assert [report.epoch for report in train(interrupted)[0]] == [1, 2, 3]
        assert asked == []

    def test_a_folder_may_have_a_quote_in_its_name(self, interrupted, tmp_path):
        moved = Path(interrupted.directory).rename(tmp_path / "o'brien")
        assert [report.epoch for report in train(replace(interrupted, directory=str(moved)))[0]] == [2, 3]


@pytest.mark.slow
class TestView:
    @pytest.fixture
    def view(self, data, tmp_path) -> Path:
        root = tmp_path / "view"
        for split in ("train", "val"):
            (root / "images" / split).mkdir(parents=True)
            (root / "labels" / split).mkdir(parents=True)
            for image in (data.parent / "images" / split).iterdir():
                (root / "images" / split / image.name).symlink_to(image)
                label = f"labels/{split}/{image.stem}.txt"
                (root / label).write_text((data.parent / label).read_text())
        (root / "manifest.json").write_text("{}")
        (root / "data.yaml").write_text(f"path: {root}\n{data.read_text()}")
        return root / "data.yaml"

    def test_pictures_are_decoded_once(self, spec, view, tmp_path):
        spec = replace(spec, data=str(view), settings={**SETTINGS, "epochs": 1})
        prepare_labels(view)
        assert (view.parent / "labels" / "train.cache").exists()
        assert not (view.parent / "decoded").exists()
        train(spec)
        decoded = {path: path.stat().st_mtime_ns for path in (view.parent / "decoded").glob("*.npy")}
        assert len(decoded) == 2
        train(replace(spec, directory=str(tmp_path / "second")))
        assert {path: path.stat().st_mtime_ns for path in (view.parent / "decoded").glob("*.npy")} == decoded

    def test_decoded_pictures_of_many_sizes_do_not_fill_the_disk(self, view, tmp_path, monkeypatch):
        from ultralytics.cfg import get_cfg
        from ultralytics.data.utils import check_det_dataset

        from workers.yolo12 import images

        room = [1_000_000]  # a fifth of it holds the pictures in two sizes
        monkeypatch.setattr(images.shutil, "disk_usage", lambda _: SimpleNamespace(free=room[0]))
        data = check_det_dataset(str(view), autodownload=False)
        shared = []
        for side in (64, 68, 72, 76, 80):
            before = sum(file.stat().st_size for file in view.parent.glob("decoded/*.npy"))
            loaded = images.TrialDataset(
                img_path=data["train"], data=data, scratch=tmp_path, imgsz=side, hyp=get_cfg()
            )
            room[0] -= sum(file.stat().st_size for file in view.parent.glob("decoded/*.npy")) - before
            shared.append(loaded.cache == "ram")
        assert shared.index(False) > 0
        assert room[0] > 800_000

    def test_shared_pictures_equal_decoded_ones(self, view, tmp_path):
        from ultralytics.data.utils import check_det_dataset

        from workers.yolo12.images import TrialDataset

        data = check_det_dataset(str(view), autodownload=False)
        for split, rect in (("train", False), ("val", True)):
            plain, shared = (
                TrialDataset(
                    img_path=data[split],
                    data=data,
                    scratch=tmp_path,
                    imgsz=64,
                    rect=rect,
                    augment=not rect,
                    decoded=on,
                )
                for on in (False, True)
            )
            assert (plain.cache, shared.cache) == (None, "ram")
            for index in range(len(plain)):
                mine, theirs = shared.load_image(index), plain.load_image(index)
                assert np.array_equal(mine[0], theirs[0])
                assert mine[1:] == theirs[1:]
                assert mine[0].flags.writeable


@pytest.mark.slow
def test_a_process_stays_clean(spec, tmp_path):
    """No output, no network, no integrations, nothing written beside the trial's folder."""
    code = (
        "import json, sys, socket\n"
        "socket.socket.connect = socket.getaddrinfo = lambda *_: sys.exit('the network was used')\n"
        "from evolve.trial import TrialSpec\n"
        "from workers.yolo12 import YoloObjective\n"
        "list(YoloObjective().run(TrialSpec(**json.loads(sys.argv[1]))))\n"
        "from ultralytics.utils import SETTINGS, SETTINGS_FILE\n"
        "on = [key for key in ('mlflow', 'raytune', 'wandb', 'comet', 'sync') if SETTINGS[key]]\n"
        "assert not on and 'mlflow' not in sys.modules and 'ray' not in sys.modules, on\n"
        "print(SETTINGS_FILE)"
    )
    home = tmp_path / "home"
    home.mkdir()
    document = json.dumps({**vars(spec), "settings": {**SETTINGS, "epochs": 1}})
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, document],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert not Path(done.stdout.strip()).exists(), "the private settings were left behind"
    assert files_below(home) == set()
