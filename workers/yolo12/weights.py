"""Where a training's first weights come from: nowhere, a local file, or Ultralytics' published ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.exceptions import InputError
from evolve.trial import FailureKind, TrialFailed
from workers.yolo12.architectures import PICO, architecture
from workers.yolo12.downloads import fetch
from workers.yolo12.process import prepare_process

if TYPE_CHECKING:
    from torch import nn


def resolve_weights(model: str, weights: str, home: Path) -> tuple[Path | None, str]:
    """Find the weights that all trials of a search start from; to be called once, before the search.

    Args:
        model: Model name, e.g. `yolo12n`.
        weights: `none`, `auto` or the path of a `.pt` file. `auto` takes `<model>.pt` from the current directory or
            from `home/weights`, else it is downloaded to the latter, else training starts from random weights.
        home: Folder of this product's own files.

    Returns:
        The file, or None for random weights; and what a person should be told, or an empty text.

    Raises:
        InputError: if a given file does not exist, or a file cannot be read, holds no detector or one of which next
            to nothing fits the model.
    """
    if weights == "none":
        return None, ""
    if weights != "auto":
        return _fitting(_given(weights), model), ""
    if model == PICO:
        return None, f"there are no published weights of {model}: training starts from random ones"
    if found := local_weights(model, home):
        return _fitting(found, model), ""
    target = home / "weights" / f"{model}.pt"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _fitting(fetch("weights", target.name, target.parent), model), ""
    except OSError as error:
        return None, f"{target.name} could not be downloaded ({error}): training starts from random weights"


def local_weights(model: str, home: Path | None = None) -> Path | None:
    """The file `<model>.pt` in the current directory or in `home/weights`, if there is one."""
    folders = [Path.cwd(), *([home / "weights"] if home else [])]
    return next((folder / f"{model}.pt" for folder in folders if (folder / f"{model}.pt").is_file()), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what Ultralytics saved, without running code from it; whatever torch stumbles over is raised.

    Beside modules of torch and Ultralytics it may hold ours, which are built by name as those are.
    """
    from ultralytics.nn.tasks import torch_safe_load

    from workers.yolo12 import model  # noqa: F401  # torch knows our modules from then on

    checkpoint: dict[str, Any] = torch_safe_load(str(path), safe_only=True)[0]
    return checkpoint


def load_weights(path: Path) -> nn.Module:
    """Read the model of a checkpoint without running code from it.

    Raises:
        TrialFailed: with `CODE`, if it is no checkpoint of a YOLO detector; with `INFRASTRUCTURE`, if there is no
            such file: it was there before, so this machine does not see it, or somebody removed it since.
    """
    from ultralytics.nn.tasks import DetectionModel

    if not os.path.isfile(path):
        raise TrialFailed(
            FailureKind.INFRASTRUCTURE,
            f"weights: {path}: no such file here; machines that train must share its disk",
        )
    try:
        checkpoint = read_checkpoint(path)
        model = checkpoint.get("ema") or checkpoint["model"]
    except Exception as error:  # torch and Ultralytics raise whatever they stumble over
        summary = str(error).split("\n", 1)[0]
        raise TrialFailed(FailureKind.CODE, f"weights: {path}: cannot be read: {summary}") from error
    if not isinstance(model, DetectionModel):
        raise TrialFailed(
            FailureKind.CODE, f"weights: {path}: must hold a detector, but got {type(model).__name__}"
        )
    detector: nn.Module = model.float()
    return detector


def _fitting(path: Path, model: str) -> Path:
    prepare_process()
    from ultralytics.nn.tasks import DetectionModel

    from workers.yolo12.model import transfer

    try:
        found: Any = load_weights(path)
        transfer(DetectionModel(architecture(model), nc=found.model[-1].nc, verbose=False), found)
    except TrialFailed as error:
        raise InputError(f"{error}; remove it, or name another file with `weights`") from error
    return path


def _given(weights: str) -> Path:
    path = Path(os.path.expanduser(weights))
    if path.suffix == ".pt" and os.path.isfile(path):  # unlike Path.is_file, it lives with a name of any length
        return path.resolve()
    raise InputError(f"weights: must be none, auto or the path of an existing .pt file, but got {weights!r}")
