"""Real trainings that are stopped after an epoch and gone on with by another individual."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatch_helpers import collect, make_spec, verdict
from evolve.dispatch import Completed, InlineDispatcher, Reported, Stopped
from evolve.trial import TrialSpec
from tiny_training import squares
from workers.ray_dispatcher import RayDispatcher
from workers.yolo12 import YoloObjective

pytestmark = pytest.mark.slow

EPOCHS, STOP = 9, 5
SETTINGS = {
    "epochs": EPOCHS,
    "imgsz": 64,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "warmup_epochs": 1.0,
    "lr_schedule": "cosine",
}


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, float]]]:
    """Epoch and learning rates of all that is trained."""
    from workers.yolo12.process import prepare_process

    prepare_process()
    from workers.yolo12.trainer import TrialTrainer

    seen: list[tuple[int, dict[str, float]]] = []

    def note(self: Any, metrics: dict[str, float]) -> None:
        seen.append((self.epoch + 1, {name: value for name, value in metrics.items() if name.startswith("lr/")}))

    monkeypatch.setattr(TrialTrainer, "save_metrics", note)
    return seen


def test_a_training_that_is_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, rates: list[tuple[int, dict[str, float]]]
) -> None:
    data = str(squares(tmp_path / "data", train=32, val=8))
    spec = TrialSpec("s", 1, 1, {"lr0": 0.005}, SETTINGS, 0, str(tmp_path / "00001"), "yolo12p", "none", data)
    dispatcher = InlineDispatcher(YoloObjective())
    dispatcher.submit(replace(spec, individual=0, directory=str(tmp_path / "00000")))
    whole = collect(dispatcher, ended=1, seconds=300)
    expected = list(rates)
    rates.clear()

    dispatcher.submit(spec)
    collect(dispatcher, reported=STOP, seconds=300)
    checkpoint = Path(spec.directory) / "weights" / "last.pt"
    assert checkpoint.exists(), "there when the epoch is reported"
    dispatcher.stop(spec.trial_id)
    assert isinstance(verdict(dispatcher.events(0), spec.trial_id), Stopped)
    stopped = list(rates)
    rates.clear()

    heir = replace(spec, individual=2, directory=str(tmp_path / "00002"))
    os.rename(spec.directory, heir.directory)
    dispatcher.submit(heir)
    rest = collect(dispatcher, ended=1, seconds=300)
    epochs = [event.report.epoch for event in rest if isinstance(event, Reported)]
    assert 2 <= epochs[0] <= STOP + 1, "what was trained within seconds of the last checkpoint is trained again"
    assert epochs == list(range(epochs[0], EPOCHS + 1))
    assert stopped[: epochs[0] - 1] + rates == expected, "the schedule is that of the whole training"
    ended, unbroken = verdict(rest, heir.trial_id), verdict(whole, "s-0.1")
    assert isinstance(ended, Completed)
    assert isinstance(unbroken, Completed)
    assert ended.result.epochs == EPOCHS
    assert Path(ended.result.weights or "").parent.parent == Path(heir.directory)
    began = next(event.report.metrics for event in whole if isinstance(event, Reported))
    for name in ("val/box_loss", "val/cls_loss", "val/dfl_loss"):
        fell = began[name] - unbroken.result.metrics[name]
        # the pictures come in another order, which matters as another seed does
        assert abs(ended.result.metrics[name] - unbroken.result.metrics[name]) < 0.35 * fell, name


def test_a_stop_takes_effect_within_the_next_epoch() -> None:
    dispatcher = RayDispatcher("synthetic", workers=1)
    try:
        spec = make_spec(epochs=50, delay=0.3)
        dispatcher.submit(spec)
        events = collect(dispatcher, reported=2)
        dispatcher.stop(spec.trial_id)
        heard = sum(isinstance(event, Reported) for event in events)
        events += collect(dispatcher, ended=1)
        assert isinstance(verdict(events, spec.trial_id), Stopped)
        assert sum(isinstance(event, Reported) for event in events) <= heard + 1
    finally:
        dispatcher.close()
