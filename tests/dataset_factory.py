"""Small data sets for the tests of workers.datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ROW = "0 0.5 0.5 0.4 0.4\n"
YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def noise(width=32, height=24, seed=0):
    """A picture that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_dataset(
    root: Path, splits=("train", "val"), count=2, rows=ROW + "1 0.3 0.3 0.2 0.2\n", yaml=YAML
) -> Path:
    """A sound data set: `count` pictures of 32x24 pixels a split, with the same `rows` each."""
    for number, split in enumerate(splits):
        for index in range(count):
            add_image(root, split, f"{index}.jpg", noise(seed=100 * number + index), rows)
    (root / "data.yaml").write_text(yaml)
    return root / "data.yaml"


def add_image(root: Path, split: str, name: str, image: Image.Image | bytes, rows: str | None = ROW) -> Path:
    """Put a picture, or the bytes of a file, into a split, with a label file unless `rows` is None."""
    path = root / "images" / split / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path)
    if rows is not None:
        label = (root / "labels" / split / name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(rows)
    return path


def snapshot(root: Path):
    """Every file below `root` with its content, to show that nothing was written."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}
