"""What a training really used, read from the objects that used it, beside what was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from evolve.trial import Json
from workers.yolo12.arguments import CATALOGUE


def effective_arguments(trainer: Any) -> dict[str, Json]:
    """The arguments by their names in the catalogue; to be read after training, when the warm-up is over.

    Where an object holds the value (optimizer, data loader, validator), it is asked, not the arguments:
    Ultralytics overwrites some of them on the way.
    """
    values = {name: getattr(trainer.args, argument.ultralytics(name)) for name, argument in CATALOGUE.items()}
    groups = trainer.optimizer.param_groups
    # MuSGD trains the classification head at three times lr0, so the smallest is the one that was asked for.
    lr0 = min(group["initial_lr"] for group in groups)
    momentum = groups[0]["momentum"] if "momentum" in groups[0] else groups[0]["betas"][0]
    batch = trainer.train_loader.batch_size
    accumulate = max(round(trainer.args.nbs / trainer.batch_size), 1)
    scale = trainer.batch_size * accumulate / trainer.args.nbs
    if trainer.args.rect:  # batches of one shape leave no room for composed pictures
        values |= dict.fromkeys(("mosaic", "mixup", "cutmix"), 0.0)
    return values | {
        "optimizer": type(trainer.optimizer).__name__,
        "lr0": lr0,
        "momentum": momentum,
        "weight_decay": max(group["weight_decay"] for group in groups) / scale,
        "batch": batch,
        "epochs": trainer.epochs,
        "warmup_epochs": min(trainer.args.warmup_epochs, max(trainer.epochs - 1, 0)),
        # Adam and its relatives have no momentum that a warm-up could raise.
        "warmup_momentum": trainer.args.warmup_momentum if "momentum" in groups[0] else None,
        "nms_iou": trainer.validator.args.iou,
        "amp": trainer.args.amp if trainer.amp else False,
        "device": trainer.device.type,
    }


def differences(requested: Mapping[str, Json], effective: Mapping[str, Json]) -> dict[str, list[Json]]:
    """`[requested, effective]` of each argument that did not take effect as it was asked for."""
    return {
        name: [value, effective.get(name)]
        for name, value in requested.items()
        if not _same(value, effective.get(name))
    }


def _same(requested: Json, effective: Json) -> bool:
    if _is_number(requested) and _is_number(effective):
        return math.isclose(requested, effective, rel_tol=1e-6, abs_tol=1e-12)
    return requested == effective


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
