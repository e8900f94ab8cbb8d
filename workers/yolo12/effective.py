"""What a training really used, read from the objects that used it, beside what was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from evolve.trial import Json
from workers.yolo12 import augment, blocks, suppression
from workers.yolo12.arguments import CATALOGUE
from workers.yolo12.model import anatomy
from workers.yolo12.recipe import parse_sizes, spell_sizes
from workers.yolo12.schedule import CosineRestarts
from workers.yolo12.sizes import SizedLoader

if TYPE_CHECKING:
    from workers.yolo12.recipe_trainer import RecipeTrainer


def effective_arguments(trainer: RecipeTrainer) -> dict[str, Json]:
    """The arguments by their names in the catalogue; to be read after training, when the warm-up is over.

    Where an object holds the value (optimizer, data loader, validator), it is asked, not the arguments:
    Ultralytics overwrites some of them on the way.
    """
    values: dict[str, Json] = {
        name: getattr(trainer.args, argument.ultralytics(name))
        for name, argument in CATALOGUE.items()
        if not argument.own
    }
    groups = trainer.optimizer.param_groups
    # MuSGD trains the classification head at three times lr0, so the smallest is the one that was asked for.
    lr0 = min(group["initial_lr"] for group in groups)
    momentum = groups[0]["momentum"] if "momentum" in groups[0] else groups[0]["betas"][0]
    batch = trainer.train_loader.batch_size
    accumulate = max(round(trainer.args.nbs / trainer.batch_size), 1)
    scale = trainer.batch_size * accumulate / trainer.args.nbs
    if trainer.args.rect:  # batches of one shape leave no room for composed pictures
        values |= dict.fromkeys(("mosaic", "mixup", "cutmix"), 0.0)
    return (
        values
        | _recipe(trainer, accumulate)
        | {
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
    )


def _recipe(trainer: RecipeTrainer, accumulate: int) -> dict[str, Json]:
    """Our own arguments, each read from what does the work."""
    model = trainer.ema.ema  # of what it is made, a training does not change
    found = blocks.anatomy(model)
    window = found["cmbn"]
    restarts = trainer.lf if isinstance(trainer.lf, CosineRestarts) else None
    loader = trainer.train_loader
    return {
        **anatomy(model),
        **found,
        # statistics end with the step, however wide the window
        "cmbn": min(window, accumulate) if isinstance(window, int) else window,
        **trainer.model.criterion.effective(),
        "lr_schedule": trainer.recipe.lr_schedule,
        "lr_cycle": restarts.cycle if restarts else None,
        "lr_cycle_mult": restarts.mult if restarts else None,
        "lr_gamma": restarts.gamma if restarts else None,
        "image_sizes": spell_sizes(tuple(loader.plan.counts) if isinstance(loader, SizedLoader) else ()),
        "sat_probability": trainer.adversary.probability,
        "sat_epsilon": trainer.adversary.epsilon,
        **augment.effective(loader.dataset),
        **suppression.effective(trainer.validator),
    }


def differences(requested: Mapping[str, Json], effective: Mapping[str, Json]) -> dict[str, list[Json]]:
    """`[requested, effective]` of each argument that did not take effect as it was asked for."""
    return {
        name: [value, effective.get(name)]
        for name, value in requested.items()
        if not _same(_spelt_out(name, value, effective), effective.get(name))
    }


def _spelt_out(name: str, value: Json, effective: Mapping[str, Json]) -> Json:
    """Image sizes in the one spelling that effective ones have."""
    imgsz = effective.get("imgsz")
    if name != "image_sizes" or not isinstance(imgsz, int):
        return value
    return spell_sizes(parse_sizes(value, imgsz))


def _same(requested: Json, effective: Json) -> bool:
    if _is_number(requested) and _is_number(effective):
        return math.isclose(requested, effective, rel_tol=1e-6, abs_tol=1e-12)
    return requested == effective


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
