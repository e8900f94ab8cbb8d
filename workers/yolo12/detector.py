"""A trained detector from its file, loaded without running code from it.

Stock and improved detectors are the same here: whatever `workers.yolo12.weights` can load.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.exceptions import InputError
from evolve.trial import Json, TrialFailed
from workers.yolo12.arguments import CATALOGUE
from workers.yolo12.process import cpu_share, prepare_process
from workers.yolo12.weights import load_weights, read_checkpoint

DEFAULT_BATCH = 16
DEFAULT_IMGSZ = 640
DEFAULT_NMS_IOU = 0.7
GPUS = "CUDA_VISIBLE_DEVICES"

Progress = Callable[[int, int], None]
"""Is told how many batches are done, and how many there are."""


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Attributes:
        path: Its file.
        model: Ultralytics' `DetectionModel`, or one of ours, in evaluation mode.
        arguments: What it was trained with, by the names in the catalogue; only values that the catalogue allows,
            as anybody may have written the file.
    """

    path: Path
    model: Any
    arguments: Mapping[str, Json] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the classes, in order."""
        return [str(name) for _, name in sorted(self.model.names.items())]

    @property
    def imgsz(self) -> int:
        """Image size in pixels that it was trained for."""
        return _number(self.arguments.get("imgsz"), DEFAULT_IMGSZ)

    @property
    def batch(self) -> int:
        """Pictures in a batch as it was validated during training: twice as many as it was trained on."""
        return 2 * _number(self.arguments.get("batch"), DEFAULT_BATCH // 2)


def _number(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default


def choose_device(wanted: str | None) -> str:
    """The device for this process; to be called before anything else uses a GPU.

    Args:
        wanted: `cpu`, `cuda`, the number of a GPU as `nvidia-smi` or CUDA_VISIBLE_DEVICES counts them, or None for
            a GPU where there is one.

    Returns:
        `cpu` or `cuda`.

    Raises:
        InputError: if there is no such device.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    before = os.environ.get(GPUS)
    if wanted is not None and wanted.isascii() and wanted.isdigit():
        visible = [each for each in (before or "").split(",") if each]
        number = int(wanted)
        os.environ[GPUS] = (visible[number] if number < len(visible) else "-1") if visible else wanted
    elif wanted not in (None, "cuda"):
        raise InputError(f"--device: must be cpu, cuda or the number of a GPU, but got {wanted!r}")
    with warnings.catch_warnings(action="ignore"):  # torch warns of a driver that is away, which is an answer
        available = torch.cuda.is_available()
    if wanted is not None and not available:
        os.environ.pop(GPUS, None)
        os.environ.update({} if before is None else {GPUS: before})
        raise InputError(f"--device: there must be such a GPU for torch, but there is none: {wanted}; use cpu")
    return "cuda" if available else "cpu"


def load_detector(path: Path) -> Detector:
    """Load a detector from the `.pt` file of a training, without running code from it.

    Raises:
        InputError: if there is no such file or it holds no detector.
    """
    if path.suffix != ".pt" or not os.path.isfile(path):
        raise InputError(f"{path}: must be an existing .pt file, but is none; name the best.pt of a training")
    prepare_process()
    import torch

    torch.set_num_threads(cpu_share())
    try:
        model: Any = load_weights(path)
        trained = read_checkpoint(path).get("train_args")
    except TrialFailed as error:
        raise InputError(f"{error}; name the best.pt of a training") from error
    # Ultralytics puts these there when it loads a file itself; the path of the data would go into exported files.
    model.args, model.task, model.pt_path = {"data": ""}, "detect", str(path)
    return Detector(path, model.eval(), _sound(trained) | _sound(getattr(model, "recipe", None), own=True))


def _sound(given: object, own: bool = False) -> dict[str, Json]:
    """The training arguments, Ultralytics' or our own, in what a file claims them to be."""
    values = given if isinstance(given, dict) else {}
    found = {}
    for name, argument in CATALOGUE.items():
        value = values.get(argument.ultralytics(name)) if argument.own == own else None
        if value is not None and not argument.problem(value):
            found[name] = value
    return found
