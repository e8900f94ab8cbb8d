"""Real trainings in seconds: the smallest model on bright squares, with a trainer class of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SETTINGS = {
    "mode": "train",
    "task": "detect",
    "model": "yolo12p.yaml",
    "plots": False,
    "verbose": False,
    "exist_ok": True,
    "pretrained": False,
    "device": "cpu",
    "amp": False,
    "workers": 0,
    "epochs": 2,
    "imgsz": 64,
    "batch": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
}


def squares(root: Path, train: int = 16, val: int = 4) -> Path:
    """Bright rectangles on dark noise, one in each picture of 80x60 pixels; returns the data YAML."""
    noise = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
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


def trainer_of(base, data: Path, directory: Path, *, report=lambda trainer: None, interrupted=None, **settings):
    """A trainer of the class `base`, a `TrialTrainer`, that calls `report` after every epoch."""
    from workers.yolo12.architectures import architecture
    from workers.yolo12.trainer import Start

    overrides = {**SETTINGS, "data": str(data), "save_dir": str(directory), **settings}
    start = Start(architecture("yolo12p"), None, interrupted)
    return base(overrides, start, check=lambda: None, report=report)
