"""The built-in data set: scanned handwritten digits, scattered over larger pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.datasets.atomic import built_once

NAMES = ("digit",)
_VERSION = 1
"""Counts up whenever the same arguments would give other pictures."""
_MAX_DIGITS = 4
_SIDES = (32, 46)
"""Pixels that a scan of 8x8 is enlarged to."""
_MAX_TURN = 20.0
_INK = 0.35
_ATTEMPTS = 20

Picture = NDArray[np.float64]
Box = tuple[int, int, int, int]


def make_demo(home: Path, train: int = 224, val: int = 48, size: int = 96) -> Path:
    """Make the demo data set on first use: real scans of handwritten digits, all of one class.

    One to four of the 1,797 scans that come with scikit-learn (8x8 pixels, from the UCI collection of handwritten
    digits) are enlarged, turned a little, tinted and laid onto shaded, noisy ground; boxes fit the ink. Train and
    val draw from different scans. The same arguments give the same bytes everywhere, as the pictures are
    uncompressed.

    Args:
        home: The folder that holds everything of this product.
        train: Number of training pictures.
        val: Number of validation pictures.
        size: Width and height of a picture in pixels, at least 64.

    Returns:
        The data YAML, absolute.
    """
    folder = home.absolute() / "datasets" / f"demo-{_VERSION}-{train}-{val}-{size}"
    built_once(folder, lambda building: _build(building, {"train": train, "val": val}, size))
    return folder / "data.yaml"


def _build(building: Path, counts: dict[str, int], size: int) -> None:
    scans = _scans()
    middle = len(scans) * 3 // 4
    parts = {"train": scans[:middle], "val": scans[middle:]}
    for number, (split, count) in enumerate(counts.items()):
        rng = np.random.default_rng((number, size))
        for kind in ("images", "labels"):
            (building / kind / split).mkdir(parents=True)
        for index in range(count):
            pixels, boxes = _compose(parts[split], size, rng)
            Image.fromarray(pixels).save(building / "images" / split / f"{index:05d}.bmp")
            rows = "".join(_row(box, size) for box in boxes)
            (building / "labels" / split / f"{index:05d}.txt").write_text(rows)
    document = {**{split: f"images/{split}" for split in counts}, "names": list(NAMES)}
    (building / "data.yaml").write_text(json.dumps(document, indent=1))


def _scans() -> NDArray[np.uint8]:
    """Shape (1797, 8, 8); 255 is full ink."""
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().images * 255 / 16, dtype=np.uint8)


def _compose(scans: NDArray[np.uint8], size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[Box]]:
    canvas = _ground(size, rng)
    boxes: list[Box] = []
    for _ in range(int(rng.integers(1, _MAX_DIGITS + 1))):
        ink = _digit(scans[rng.integers(len(scans))], rng)
        box = _find_room(ink, boxes, size, rng)
        if box is not None:
            boxes.append(box)
            left, top, right, bottom = box
            under = canvas[top:bottom, left:right]
            colour = np.where(under.mean() > 0.5, 0.0, 0.75) + rng.uniform(0, 0.25, 3)  # noqa: PLR2004
            under += ink[..., None] * (colour - under)
    noisy = canvas + rng.normal(0, 0.02, canvas.shape)
    return (noisy.clip(0, 1) * 255).astype(np.uint8), boxes


def _ground(size: int, rng: np.random.Generator) -> Picture:
    """A picture of shape (size, size, 3) in 0..1 that runs from one colour of two into another."""
    base = rng.uniform(0.1, 0.9)
    first, second = (np.clip(base + rng.uniform(-0.1, 0.1, 3), 0, 1) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:size, 0:size] / size - 0.5
    blend = (0.5 + (rows * np.sin(angle) + columns * np.cos(angle)) / np.sqrt(2))[..., None]
    return np.asarray(first * (1 - blend) + second * blend)


def _digit(scan: NDArray[np.uint8], rng: np.random.Generator) -> Picture:
    """The ink of one digit in 0..1, cut to where there is some."""
    side = int(rng.integers(*_SIDES))
    image = Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC)
    turned = image.rotate(rng.uniform(-_MAX_TURN, _MAX_TURN), Image.Resampling.BILINEAR, expand=True)
    ink = np.asarray(turned, dtype=np.float64) / 255
    rows, columns = (np.flatnonzero((ink > _INK).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _find_room(ink: Picture, taken: list[Box], size: int, rng: np.random.Generator) -> Box | None:
    height, width = ink.shape
    for _ in range(_ATTEMPTS):
        left, top = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
        box = (left, top, left + width, top + height)
        if not any(_overlaps(box, other) for other in taken):
            return box
    return None


def _overlaps(one: Box, other: Box) -> bool:
    is_beside = one[2] <= other[0] or other[2] <= one[0]
    return not (is_beside or one[3] <= other[1] or other[3] <= one[1])


def _row(box: Box, size: int) -> str:
    left, top, right, bottom = box
    values = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return "0 " + " ".join(f"{value / size:.6f}" for value in values) + "\n"
