"""Every training argument that may be a gene, with two values: each must make the difference it is meant to make.

The trainings are real and tiny: six pictures of 64 pixels, three epochs of two steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evolve.trial import TrialResult, TrialSpec
from workers.yolo12 import YoloObjective
from workers.yolo12.arguments import CATALOGUE

pytestmark = pytest.mark.slow

BASE = {
    "epochs": 3, "imgsz": 64, "batch": 3, "nbs": 3, "optimizer": "SGD", "lr0": 0.01, "warmup_epochs": 0.0,
    "mosaic": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0,
    "close_mosaic": 0,
}  # fmt: skip
"""No augmentation and no warm-up, so that two trainings differ by nothing but the argument under test."""

STOCK = {name: argument.default for name, argument in CATALOGUE.items() if argument.own} | {
    "multi_scale": 0.0, "rect": False, "lrf": 0.01, "weight_decay": 5e-4, "cos_lr": False, "freeze": 0, "box": 7.5,
    "cls": 0.5, "dfl": 1.5, "cls_pw": 0.0, "degrees": 0.0, "shear": 0.0, "perspective": 0.0, "flipud": 0.0,
    "bgr": 0.0, "mixup": 0.0, "cutmix": 0.0, "nms_iou": 0.7, "assign_iou": 1.0,
}  # fmt: skip
"""What holds where nothing is said: a training that says it is the one that does not."""


@dataclass
class Step:
    """One training step as the trainer saw it."""

    lr: float
    momentum: float
    bias_lr: float
    count: int
    shape: tuple[int, int]
    pixels: float
    losses: dict[str, float]


@dataclass
class Trace:
    """One training."""

    steps: list[Step] = field(default_factory=list)
    start: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    result: TrialResult | None = None
    decay: float = 0.0
    optimizer: str = ""
    kept: int = 0

    @property
    def first(self) -> Step:
        return self.steps[0]

    def each(self, name: str) -> list[Any]:
        return [getattr(step, name) for step in self.steps]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Noisy pictures, wider than high, each with a large object and a small one, some of a rare class."""
    root = tmp_path_factory.mktemp("genes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 90, (32, 64, 3), dtype=np.uint8)
            large = index % 2 == 0  # room for cutmix on the others
            if large:
                pixels[2:30, 2:62] = (220, 200, 40)
            pixels[8:16, 44:58] = (40, 90, 220)
            Image.fromarray(pixels).save(root / "images" / split / f"{index}.png")
            rows = ["0 0.5 0.5 0.9375 0.875"] if large else []
            rows += [f"{int(index == 0)} 0.796875 0.375 0.21875 0.25"]
            (root / "labels" / split / f"{index}.txt").write_text("\n".join(rows) + "\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [big, small]\n")
    return root / "data.yaml"


@pytest.fixture(scope="module")
def sighted(tmp_path_factory) -> Path:
    """Weights that predict the large object's sides everywhere: boxes overlap it the more, the closer they are."""
    from workers.yolo12.process import prepare_process

    prepare_process()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from workers.yolo12.architectures import architecture

    model = DetectionModel(architecture("yolo12p"), nc=2, verbose=False)
    head = model.model[-1]
    for stride, branch in zip((8, 16, 32), head.cv2, strict=True):
        bins = torch.zeros(4, head.reg_max)
        for side, pixels in enumerate((30, 14, 30, 14)):
            bins[side, round(pixels / stride)] = 20.0
        torch.nn.init.zeros_(branch[-1].weight)
        branch[-1].bias.data.copy_(bins.flatten())
    path = tmp_path_factory.mktemp("weights") / "sighted.pt"
    torch.save({"model": model}, path)
    return path


@pytest.fixture(scope="module")
def train(data, sighted, tmp_path_factory) -> Callable[..., Trace]:
    """Trains with these arguments in place of those of `BASE`; each training is made once."""
    known: dict[str, Trace] = {}

    def trained(**arguments: Any) -> Trace:
        weights = str(sighted) if arguments.pop("sighted", False) else "none"
        settings = {**BASE, **arguments}
        key = repr((weights, sorted((STOCK | settings).items())))
        if key not in known:
            folder = tmp_path_factory.mktemp("trial")
            spec = TrialSpec("s", 0, 1, {}, settings, 0, str(folder), "yolo12p", weights, str(data))
            known[key] = traced(spec)
        return known[key]

    return trained


def traced(spec: TrialSpec) -> Trace:
    from workers.yolo12.process import prepare_process

    prepare_process()
    from workers.yolo12.recipe_trainer import RecipeTrainer

    trace = Trace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecipeTrainer, "preprocess_batch", _seeing(trace, RecipeTrainer.preprocess_batch))
        patch.setattr(RecipeTrainer, "run_callbacks", _hearing(trace, RecipeTrainer.run_callbacks))
        running = YoloObjective().run(spec)
        while True:
            try:
                next(running)
            except StopIteration as end:
                trace.result = end.value
                return trace


def _seeing(trace: Trace, original: Callable[..., Any]) -> Callable[..., Any]:
    def preprocess_batch(self, batch):
        batch = original(self, batch)
        trace.end["batch"] = batch["img"]
        return batch

    return preprocess_batch


def _hearing(trace: Trace, original: Callable[..., Any]) -> Callable[..., Any]:
    def run_callbacks(self, event):
        if event == "on_train_start":
            trace.start = {name: value.clone() for name, value in self.model.state_dict().items()}
            trace.optimizer = type(self.optimizer).__name__
        if event == "on_train_batch_end":
            trace.steps.append(_step(self, trace.end["batch"]))
        if event == "on_train_end":
            trace.end = {name: value.clone() for name, value in self.model.state_dict().items()}
            trace.decay = max(group["weight_decay"] for group in self.optimizer.param_groups)
            trace.kept = _kept(self.validator)
        original(self, event)

    return run_callbacks


def _step(trainer, images) -> Step:
    groups = {group.get("param_group"): group for group in trainer.optimizer.param_groups}
    weight = groups.get("weight") or groups["muon"]
    return Step(
        lr=weight["lr"],
        momentum=weight.get("momentum", weight.get("betas", (0.0,))[0]),
        bias_lr=groups["bias"]["lr"],
        count=len(images),
        shape=tuple(images.shape[2:]),
        pixels=float(images.double().square().mean()),
        losses={name: float(value) for name, value in trainer.loss_items.items()},
    )


def _kept(validator) -> int:
    """How many of two boxes stay that overlap by 0.5, with their centres apart."""
    import torch

    boxes = torch.tensor([[30.0, 20.0, 40.0, 20.0], [43.33, 20.0, 40.0, 20.0]]).T
    scores = torch.tensor([[0.9, 0.8], [0.0, 0.0]])
    predictions = torch.cat([boxes, scores])[None]
    validator = copy.copy(validator)
    validator.end2end = False
    return len(validator.postprocess(predictions)[0]["conf"])


@dataclass(frozen=True)
class Case:
    """Two values of an argument, and the difference that it is meant to make."""

    one: Any
    other: Any
    meant: Callable[[Trace, Trace], bool]
    given: dict[str, Any] = field(default_factory=dict)


def pictures(one: Trace, other: Trace) -> bool:
    return one.each("shape") == other.each("shape") and one.each("pixels") != other.each("pixels")


def losses(one: Trace, other: Trace) -> bool:
    return one.first.losses != other.first.losses


def only(loss: str) -> Callable[[Trace, Trace], bool]:
    """Of the losses of the first step, before any weight has moved, this one differs and no other.

    Targets that add up to the same may differ in the last bit of their sum.
    """

    def meant(one: Trace, other: Trace) -> bool:
        losses = one.first.losses.items()
        return {name for name, value in losses if other.first.losses[name] != pytest.approx(value, rel=1e-5)} == {
            loss
        }

    return meant


def rates(one: Trace, other: Trace) -> bool:
    return one.first.losses == other.first.losses and one.each("lr") != other.each("lr")


def scaled(loss: str) -> Callable[[Trace, Trace], bool]:
    return lambda one, other: other.first.losses[loss] == pytest.approx(2 * one.first.losses[loss], rel=1e-4)


def outputs(one: Trace, other: Trace) -> bool:
    return one.first.pixels == other.first.pixels and one.first.losses != other.first.losses


def parts(one: Trace, other: Trace) -> bool:
    return one.start.keys() < other.start.keys() and outputs(one, other)


MOSAIC = {"mosaic": 1.0}
ELASTIC = {"box_loss": "elastic"}
RESTARTS = {"lr_schedule": "cosine_restarts", "lr_cycle": 1}
ATTENTION = {"attention": True}
WARM = {"warmup_epochs": 1.0}

GENES: dict[str, Case] = {
    "batch": Case(3, 2, lambda one, other: (one.first.count, other.first.count) == (3, 2)),
    "imgsz": Case(64, 96, lambda one, other: (one.first.shape, other.first.shape) == ((64, 64), (96, 96))),
    "multi_scale": Case(0.0, 0.5, lambda one, other: len(set(one.each("shape"))) < len(set(other.each("shape")))),
    "rect": Case(False, True, lambda one, other: (one.first.shape, other.first.shape) == ((64, 64), (32, 64))),
    "optimizer": Case("SGD", "AdamW", lambda one, other: (one.optimizer, other.optimizer) == ("SGD", "AdamW")),
    "lr0": Case(0.01, 0.02, lambda one, other: other.first.lr == pytest.approx(2 * one.first.lr)),
    "lrf": Case(0.01, 0.5, lambda one, other: one.first.lr == other.first.lr and one.steps[-1] != other.steps[-1]),
    "momentum": Case(0.9, 0.8, lambda one, other: (one.first.momentum, other.first.momentum) == (0.9, 0.8)),
    "weight_decay": Case(5e-4, 1e-3, lambda one, other: other.decay == pytest.approx(2 * one.decay)),
    "nbs": Case(3, 6, lambda one, other: one.steps[1].losses != other.steps[1].losses),
    "warmup_epochs": Case(0.0, 1.0, lambda one, other: one.first.lr == 0.01 and other.first.lr == 0.0),
    "warmup_momentum": Case(
        0.8, 0.5, lambda one, other: (one.first.momentum, other.first.momentum) == (0.8, 0.5), WARM
    ),
    "warmup_bias_lr": Case(
        0.1, 0.2, lambda one, other: (one.first.bias_lr, other.first.bias_lr) == (0.1, 0.2), WARM
    ),
    "cos_lr": Case(False, True, rates),
    "freeze": Case(0, 1, lambda one, other: _moved(one, "model.0.") and not _moved(other, "model.0.")),
    "box": Case(7.5, 15.0, scaled("box_loss")),
    "cls": Case(0.5, 1.0, scaled("cls_loss")),
    "dfl": Case(1.5, 3.0, scaled("dfl_loss")),
    "cls_pw": Case(0.0, 1.0, only("cls_loss")),
    "hsv_h": Case(0.0, 0.5, pictures),
    "hsv_s": Case(0.0, 0.9, pictures),
    "hsv_v": Case(0.0, 0.9, pictures),
    "degrees": Case(0.0, 90.0, pictures),
    "translate": Case(0.0, 0.5, pictures),
    "scale": Case(0.0, 0.9, pictures),
    "shear": Case(0.0, 30.0, pictures),
    "perspective": Case(0.0, 0.01, pictures),
    "flipud": Case(0.0, 1.0, losses),
    "fliplr": Case(0.0, 1.0, losses),
    "bgr": Case(0.0, 1.0, losses),
    "mosaic": Case(0.0, 1.0, pictures),
    "mixup": Case(0.0, 1.0, pictures),
    "cutmix": Case(0.0, 1.0, pictures),
    "close_mosaic": Case(
        0, 2, lambda one, other: one.steps[:2] == other.steps[:2] and pictures(one, other), MOSAIC
    ),
    "nms_iou": Case(0.7, 0.45, lambda one, other: (one.kept, other.kept) == (2, 1)),
    # ours
    "hetero": Case(
        False, True, lambda one, other: not one.start.keys() >= other.start.keys() and outputs(one, other)
    ),
    "attention": Case(False, True, parts),
    "attention_alpha": Case(0.5, 0.9, outputs, ATTENTION),
    "attention_kernel": Case(3, 1, outputs, ATTENTION),
    "activation": Case("silu", "mish", outputs),
    "spp": Case(False, True, lambda one, other: one.start.keys() < other.start.keys()),
    "sam": Case(False, True, parts),
    "dropblock": Case(0.0, 0.3, outputs),
    "dropblock_size": Case(1, 3, outputs, {"dropblock": 0.3}),
    "cmbn": Case(1, 2, lambda one, other: one.first == other.first and one.steps[1] != other.steps[1], {"nbs": 6}),
    "box_loss": Case("ciou", "eiou", only("box_loss")),
    "elastic_beta": Case(1.5, 3.0, only("box_loss"), ELASTIC),
    "elastic_tau": Case(75.0, 20.0, only("box_loss"), ELASTIC),
    "elastic_size": Case("side", "area", only("box_loss"), ELASTIC),
    "focal_gamma": Case(0.5, 1.0, only("box_loss"), {"box_loss": "focal_eiou"}),
    "focal_l1_beta": Case(0.8, 0.5, only("box_loss"), {"box_loss": "focal_l1"}),
    "label_smoothing": Case(0.0, 0.2, only("cls_loss")),
    "assign_iou": Case(1.0, 0.3, losses, {"sighted": True}),
    "lr_schedule": Case("linear", "cosine", rates),
    "lr_cycle": Case(1, 2, rates, RESTARTS),
    "lr_cycle_mult": Case(1.0, 2.0, rates, RESTARTS),
    "lr_gamma": Case(1.0, 0.5, rates, RESTARTS),
    "image_sizes": Case("off", "32,64", lambda one, other: {(32, 32), (64, 64)} == set(other.each("shape"))),
    "sat_probability": Case(0.0, 1.0, pictures),
    "sat_epsilon": Case(0.01, 0.05, pictures, {"sat_probability": 1.0}),
    "blur": Case(0.0, 1.0, pictures),
    "noise": Case(0.0, 1.0, pictures),
    "cutout": Case(0.0, 1.0, pictures),
    "grid_mask": Case(0.0, 1.0, pictures),
    "nms": Case("iou", "diou", lambda one, other: (one.kept, other.kept) == (1, 2), {"nms_iou": 0.45}),
}


def _moved(trace: Trace, prefix: str) -> bool:
    weights = [name for name in trace.start if name.startswith(prefix) and name.endswith("weight")]
    return any(not trace.start[name].equal(trace.end[name]) for name in weights)


def test_no_gene_is_left_out():
    assert set(GENES) == {name for name, argument in CATALOGUE.items() if argument.gene}


@pytest.mark.parametrize("name", GENES)
def test_a_gene_makes_the_difference_it_is_meant_to_make(name, train):
    case = GENES[name]
    one, other = (train(**{**case.given, name: value}) for value in (case.one, case.other))
    assert one.steps
    assert other.steps
    assert case.meant(one, other)
    for trace, value in ((one, case.one), (other, case.other)):
        assert trace.result is not None
        assert name not in trace.result.differences, trace.result.differences[name]
        assert name in trace.result.effective
        assert trace.result.effective[name] == pytest.approx(value) if isinstance(value, float) else True


def test_the_same_arguments_train_the_same(train):
    again = train(lr0=0.0100000000001)
    assert again.first.losses == train(lr0=0.01).first.losses
