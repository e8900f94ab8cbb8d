"""Validates a detector on a prepared view, as its training did: the same data give the same figures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.data.utils import check_det_dataset

from evolve.exceptions import InputError
from evolve.trial import Json
from workers.yolo12.arguments import to_ultralytics
from workers.yolo12.detector import Detector, Progress
from workers.yolo12.images import TrialDataset
from workers.yolo12.results import ClassResult, Validation
from workers.yolo12.suppression import RecipeValidator

DEFAULT_NMS_IOU = 0.7
INHERITED = ("agnostic_nms", "max_det", "nms", "nms_iou", "single_cls")
"""Arguments of the training that shape a validation, too."""


def validate(
    detector: Detector,
    view: Path,
    *,
    split: str = "val",
    settings: Mapping[str, Json],
    device: str,
    progress: Progress | None = None,
) -> Validation:
    """Validate a detector.

    Args:
        detector: The detector.
        view: `data.yaml` of a prepared view.
        split: A split of it.
        settings: What the user decides, by names of the catalogue: `imgsz`, `batch`, `nms_iou`, `nms`. The rest
            is as in the training.
        device: `cpu` or `cuda`.
        progress: Is told after every batch.

    Raises:
        InputError: if the view has no such split, or other classes than the detector.
    """
    data = check_det_dataset(str(view), autodownload=False)
    notes = _check(detector, data, split)
    chosen: dict[str, Json] = {
        "imgsz": detector.imgsz,
        "batch": detector.batch,
        "nms_iou": DEFAULT_NMS_IOU,
        **{name: detector.arguments[name] for name in INHERITED if name in detector.arguments},
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="evolve-val-") as scratch:
        validator = _Validator(
            nms=str(chosen.get("nms", "iou")),
            save_dir=Path(scratch),
            args={
                **to_ultralytics(chosen),
                "data": str(view),
                "split": split,
                "device": "0" if device == "cuda" else "cpu",
                "rect": True,
                "plots": False,
                "verbose": False,
                "mode": "val",
            },
        )
        if progress is not None:
            validator.add_callback(
                "on_val_batch_end", lambda each: progress(each.batch_i + 1, len(each.dataloader))
            )
        metrics = validator(model=detector.model)
    return _result(validator, metrics, {**chosen, "imgsz": validator.args.imgsz}, notes)


def _check(detector: Detector, data: Mapping[str, Any], split: str) -> tuple[str, ...]:
    if not data.get(split):
        there = ", ".join(name for name in ("train", "val", "test") if data.get(name))
        raise InputError(f"--split: must be a split of the data, which have {there}, but got {split!r}")
    ours, theirs = detector.names, list(map(str, data["names"].values()))
    if len(ours) != len(theirs) and not detector.arguments.get("single_cls"):
        raise InputError(
            f"{detector.path}: must know the classes of the data, but it knows {len(ours)} and they have "
            f"{len(theirs)}; give the data that it was trained on, or data with the same classes"
        )
    if ours != theirs and not detector.arguments.get("single_cls"):
        return (f"the classes have other names in the data: {', '.join(ours)} were {', '.join(theirs)} there",)
    return ()


def _result(
    validator: Any, metrics: Mapping[str, float], settings: Mapping[str, Json], notes: tuple[str, ...]
) -> Validation:
    measured = validator.metrics
    classes = []
    for index, number in enumerate(measured.ap_class_index):
        precision, recall, map50, map50_95 = map(float, measured.class_result(index))
        images, instances = int(measured.nt_per_image[number]), int(measured.nt_per_class[number])
        name = str(validator.names[int(number)])
        classes.append(ClassResult(name, images, instances, precision, recall, map50, map50_95))
    return Validation(
        metrics={name: float(value) for name, value in metrics.items() if name != "fitness"},
        classes=tuple(classes),
        images=int(validator.seen),
        instances=int(measured.nt_per_class.sum()),
        settings=settings,
        milliseconds=dict(validator.speed),
        notes=notes,
    )


class _Validator(RecipeValidator):
    """Reads the data set as a trial does: label caches of the view alone, which are shared under a lock."""

    def build_dataset(self, img_path: str, mode: str = "val", batch: int | None = None) -> TrialDataset:
        return TrialDataset(
            img_path=img_path,
            data=self.data,
            scratch=self.save_dir,
            decoded=False,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=False,
            hyp=self.args,
            rect=self.args.rect,
            pad=0.5,
            stride=self.stride,
            single_cls=self.args.single_cls,
        )
