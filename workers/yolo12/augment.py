"""Photometric and occlusion augmentation for detection: blur, noise, cutout and grid mask.

They come after Ultralytics' own augmentations, on the finished picture (mosaic, mix-up, colours and flips are
done), and before `Format`, where a picture is still an array and its labels are still boxes in pixels. So each
picture is changed once, not each part of a mosaic, and a box that an occlusion hides can be dropped. Like the
colours they stay on when `close_mosaic` ends the composed pictures.

All draws come from `random` and `torch`, which Ultralytics seeds for the training and anew for every loader worker.
Removed pixels become grey 114, with which Ultralytics pads pictures: the model knows it as a place without content.

Blur is OpenCV's, which takes 0.3 to 2 ms for a picture of 640 pixels where torchvision takes 90 to 170 ms. Noise
(8 to 18 ms) and the rectangles of cutout are torchvision's. Albumentations is not used: its last release is no
longer maintained, brings a second OpenCV, and by being installed switches further augmentations of Ultralytics on.
"""

# ruff: noqa: S311 - nothing here is a secret
from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from workers.yolo12.images import TrialDataset
from workers.yolo12.recipe import Recipe

BLUR = (0.5, 0.0035)
"""Standard deviation of a blur: at least, in pixels; at most, as a share of the picture's longer side."""
NOISE = (0.01, 0.1)
"""Standard deviation of the noise, for pixels in [0, 1]."""
RECTANGLES = (1, 3)
"""How many rectangles a cutout removes; they may overlap."""
RECTANGLE_AREA = (0.02, 0.2)
"""Area of each, as a share of the picture's."""
RECTANGLE_ASPECT = (0.3, 3.3)
"""Height of each by its width, as in Random Erasing (Zhong et al., 2020)."""
CELL = (0.1, 0.35)
"""Side of a cell of the grid mask, as a share of the picture's shorter side."""
CELL_REMOVED = (0.3, 0.5)
"""Side of the square that is removed from each cell, as a share of the cell's."""
MIN_VISIBLE = 0.15
"""Share of a box that has to stay visible for it to stay a label."""
GREY = 114

Labels = dict[str, Any]
"""Ultralytics' sample: `img` (height, width, channels) uint8, `instances` its boxes, `cls` (N, 1) their classes."""

_eraser = v2.RandomErasing(p=1.0, scale=RECTANGLE_AREA, ratio=RECTANGLE_ASPECT, value=0)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur, of a deviation drawn from `BLUR`; three of them to each side are 2 % of the picture at most.

    Args:
        p: Probability of blurring a picture.
    """

    p: float

    def __call__(self, labels: Labels) -> Labels:
        """Blur the picture, or leave it."""
        if random.random() < self.p:
            image = np.ascontiguousarray(labels["img"])
            least, share = BLUR
            sigma = random.uniform(least, max(share * max(image.shape[:2]), 2 * least))
            labels["img"] = cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)
        return labels

    @property
    def probabilities(self) -> dict[str, float]:
        """The arguments that this is made of."""
        return {"blur": self.p}


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every pixel and channel for itself, of a deviation drawn from `NOISE`.

    Args:
        p: Probability of noise on a picture.
    """

    p: float

    def __call__(self, labels: Labels) -> Labels:
        """Add noise to the picture, or leave it."""
        if random.random() < self.p:
            pixels = torch.from_numpy(np.ascontiguousarray(labels["img"]))
            sigma = random.uniform(*NOISE)
            labels["img"] = functional.gaussian_noise(pixels, sigma=sigma).numpy()
        return labels

    @property
    def probabilities(self) -> dict[str, float]:
        """The arguments that this is made of."""
        return {"noise": self.p}


@dataclass(frozen=True)
class Occlusion:
    """Cutout (DeVries and Taylor, 2017) and grid mask (Chen et al., 2020), with care for the labels.

    Both are one transform, as a box may be hidden half by one and half by the other.

    Args:
        cutout: Probability that rectangles are cut out of a picture.
        grid_mask: Probability of a grid of removed squares, of random cell and place.
    """

    cutout: float
    grid_mask: float

    def __call__(self, labels: Labels) -> Labels:
        """Hide parts of the picture, or leave it."""
        image = labels["img"]
        visible = np.ones(image.shape[:2], np.uint8)
        if random.random() < self.cutout:
            visible = _with_rectangles(visible)
        if random.random() < self.grid_mask:
            visible = _with_grid(visible)
        return labels if visible.all() else hide(labels, visible)

    @property
    def probabilities(self) -> dict[str, float]:
        """The arguments that this is made of."""
        return {"cutout": self.cutout, "grid_mask": self.grid_mask}


Augmentation = Blur | Noise | Occlusion


def augmentations(recipe: Recipe) -> list[Augmentation]:
    """The augmentations of a recipe, in the order in which they are applied; none where all are 0."""
    blur = [Blur(recipe.blur)] if recipe.blur else []
    noise = [Noise(recipe.noise)] if recipe.noise else []
    occlusion = [Occlusion(recipe.cutout, recipe.grid_mask)] if recipe.cutout or recipe.grid_mask else []
    return [*blur, *noise, *occlusion]


def add_augmentations(dataset: TrialDataset, recipe: Recipe) -> None:
    """Put the augmentations of a recipe into a data set, for good: `close_mosaic` leaves them in.

    Without any, and for a data set that does not augment, everything stays as it is.
    """
    dataset.add_transforms(augmentations(recipe))


def effective(dataset: TrialDataset) -> dict[str, float]:
    """The probabilities that are really at work in a data set, by the names of their arguments; 0 where absent."""
    values = dict.fromkeys(("blur", "noise", "cutout", "grid_mask"), 0.0)
    for transform in dataset.transforms.transforms:
        if isinstance(transform, Augmentation):
            values |= transform.probabilities
    return values


def hide(labels: Labels, visible: NDArray[np.uint8]) -> Labels:
    """Make pixels grey and drop the boxes of which less than `MIN_VISIBLE` stays visible.

    The other boxes keep their full size: an object is as large as it was.

    Args:
        labels: A sample; its picture itself is not written to, as it may lie in a cache.
        visible: What to leave, (height, width), 1 or 0.
    """
    image = np.ascontiguousarray(labels["img"])
    grey = np.full(image.shape, GREY, np.uint8)
    labels["img"] = cv2.copyTo(image, visible, grey).reshape(image.shape)
    boxes = copy.deepcopy(labels["instances"])
    boxes.convert_bbox("xyxy")
    boxes.denormalize(*reversed(visible.shape))
    keep = visible_shares(visible, boxes.bboxes) >= MIN_VISIBLE
    labels["instances"] = labels["instances"][keep]
    labels["cls"] = labels["cls"][keep]
    return labels


def visible_shares(visible: NDArray[np.uint8], boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The share of each box's area that is visible, exact for edges between pixels too.

    The integral of a picture that is constant on each pixel is bilinear between the pixels' corners.

    Args:
        visible: (height, width), 1 or 0.
        boxes: (N, 4), left, top, right and bottom in pixels; what lies outside the picture does not count.

    Returns:
        (N,), in [0, 1]; 1 for a box without area.
    """
    height, width = visible.shape
    x = boxes[:, [0, 2]].astype(np.float64).clip(0, width)
    y = boxes[:, [1, 3]].astype(np.float64).clip(0, height)
    corners = np.stack(np.broadcast_arrays(y[:, :, None], x[:, None, :]))
    area = np.diff(x).ravel() * np.diff(y).ravel()
    up_to = map_coordinates(cv2.integral(visible), corners, np.float64, order=1, mode="nearest")
    seen = up_to[:, 1, 1] - up_to[:, 0, 1] - up_to[:, 1, 0] + up_to[:, 0, 0]
    shares: NDArray[np.float64] = np.divide(seen, area, out=np.ones_like(area), where=area > 0)
    return shares


def _with_rectangles(visible: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = torch.from_numpy(visible)[None]
    for _ in range(random.randint(*RECTANGLES)):
        pixels = _eraser(pixels)
    result: NDArray[np.uint8] = pixels[0].numpy()
    return result


def _with_grid(visible: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cell = max(random.uniform(*CELL) * min(visible.shape), 2.0)
    removed = max(random.uniform(*CELL_REMOVED) * cell, 1.0)
    rows, columns = ((np.arange(side) + random.uniform(0, cell)) % cell < removed for side in visible.shape)
    visible[np.ix_(rows, columns)] = 0
    return visible
