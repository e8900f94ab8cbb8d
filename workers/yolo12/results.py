"""What comes out of a detector in use; plain data, so that importing it imports neither Ultralytics nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evolve.trial import Json


@dataclass(frozen=True)
class ClassResult:
    """How well one class is found."""

    name: str
    images: int
    instances: int
    precision: float
    recall: float
    map50: float
    map50_95: float


@dataclass(frozen=True)
class Validation:
    """How well a detector does on a split.

    Attributes:
        metrics: By Ultralytics' names, e.g. `metrics/mAP50-95(B)`.
        classes: Those that occur in the split.
        images: Pictures.
        instances: Objects in them.
        settings: What it was validated with, by the names in the catalogue.
        milliseconds: Of a picture, for `preprocess`, `inference`, `loss` and `postprocess`.
        notes: What a person should know.
    """

    metrics: Mapping[str, float]
    classes: tuple[ClassResult, ...]
    images: int
    instances: int
    settings: Mapping[str, Json]
    milliseconds: Mapping[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """An object that was found.

    Attributes:
        label: Number of its class.
        name: Name of its class.
        confidence: From 0 to 1.
        corners: Left, top, right and bottom in pixels of the picture as it is displayed.
    """

    label: int
    name: str
    confidence: float
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Prediction:
    """What was found in a picture.

    Attributes:
        picture: Its path as it was given.
        width: Pixels, as displayed; 0 if the picture cannot be read.
        height: Likewise.
        boxes: The objects, the surest first.
        milliseconds: What it took, without reading the picture.
        problem: Why nothing could be looked for, or empty.
        saved: The annotated copy, if one was asked for.
    """

    picture: str
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    milliseconds: float = 0.0
    problem: str = ""
    saved: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture to look at.

    Attributes:
        path: Where it is.
        annotated: Where its annotated copy goes (a `.jpg`), or None.
        text: Where its boxes go in YOLO's text format, with the confidence last, or None.
    """

    path: str
    annotated: Path | None = None
    text: Path | None = None


@dataclass(frozen=True)
class Exported:
    """An exported detector.

    Attributes:
        path: The file, or the folder of formats that have more than one.
        format: A key of `FORMATS`.
        imgsz: Image size in pixels that it takes.
        box_difference: Largest difference to the outputs of torch, in pixels of the corners and sides of all boxes.
        score_difference: Largest difference of a confidence.
    """

    path: Path
    format: str
    imgsz: int
    box_difference: float
    score_difference: float
