"""Finds objects in pictures of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ultralytics.utils.patches import imread

from evolve.trial import Json
from workers.datasets.convert import bit_depth, convert_image
from workers.datasets.images import DEEP_MODES, ImageFacts, inspect_image
from workers.yolo12.arguments import to_ultralytics
from workers.yolo12.detector import Detector
from workers.yolo12.results import Box, Picture, Prediction
from workers.yolo12.suppression import RecipePredictor

INHERITED = ("agnostic_nms", "max_det", "nms", "nms_iou")
"""Arguments of the training that shape what is found, too."""


def predict(
    detector: Detector, pictures: Sequence[Picture], *, conf: float, settings: Mapping[str, Json], device: str
) -> Iterator[Prediction]:
    """Look for objects, picture by picture; one that cannot be read is reported as such.

    Args:
        detector: The detector.
        pictures: The pictures.
        conf: Least confidence, 0 to 1, of what is reported.
        settings: What the user decides, by names of the catalogue: `imgsz`, `nms_iou`, `nms`.
        device: `cpu` or `cuda`.
    """
    trained = detector.arguments
    inherited = {name: trained[name] for name in INHERITED if name in trained}
    chosen: dict[str, Json] = {"imgsz": detector.imgsz, **inherited, **settings}
    with tempfile.TemporaryDirectory(prefix="evolve-predict-") as scratch:
        predictor = RecipePredictor(
            nms=str(chosen.get("nms", "iou")),
            overrides={
                **to_ultralytics(chosen),
                "conf": conf,
                "device": "0" if device == "cuda" else "cpu",
                "save": False,
                "verbose": False,
                "mode": "predict",
                "save_dir": scratch,
            },
        )
        predictor.setup_model(detector.model, verbose=False)
        reader = _Reader([picture.path for picture in pictures], Path(scratch))
        for picture in pictures:
            facts = inspect_image(picture.path)
            pixels, problem = reader.read(picture.path, facts)
            if pixels is None:
                yield Prediction(picture.path, problem=problem)
            else:
                yield _prediction(picture, facts, predictor([pixels])[0])


class _Reader:
    """Reads pictures exactly as a training would see them."""

    def __init__(self, paths: Sequence[str], scratch: Path) -> None:
        self._paths = paths
        self._scratch = scratch

    def read(self, path: str, facts: ImageFacts) -> tuple[Any, str]:
        """Height x width x 3 bytes in the order BGR, or None and what is wrong."""
        if not facts.is_usable:
            return None, facts.found
        source = path
        if facts.flaw is not None:
            try:
                bits = self._bits if facts.mode in DEEP_MODES else 8
                source = str(convert_image(path, self._scratch / "copy", bits))
            except (OSError, ValueError, SyntaxError) as error:
                return None, str(error)
        pixels = imread(source)
        return pixels, "a file that cannot be decoded" if pixels is None else ""

    @cached_property
    def _bits(self) -> int:
        """One depth for all of them, which only deep pictures are worth looking through all the others for."""
        return bit_depth(path for path in self._paths if inspect_image(path).mode in DEEP_MODES)


def _prediction(picture: Picture, facts: ImageFacts, result: Any) -> Prediction:
    height, width = result.orig_shape
    scale = (facts.width / width, facts.height / height)  # a very large picture was looked at as a smaller copy
    boxes = []
    for row in result.boxes.data.tolist():
        left, top, right, bottom, confidence, label = row
        corners = (left * scale[0], top * scale[1], right * scale[0], bottom * scale[1])
        boxes.append(Box(int(label), str(result.names[int(label)]), confidence, corners))
    if picture.annotated is not None:
        result.save(str(picture.annotated))
    if picture.text is not None:
        picture.text.unlink(missing_ok=True)  # Ultralytics appends
        result.save_txt(str(picture.text), save_conf=True)
    return Prediction(
        picture=picture.path,
        width=facts.width,
        height=facts.height,
        boxes=tuple(sorted(boxes, key=lambda box: -box.confidence)),
        milliseconds=sum(result.speed.values()),
        saved="" if picture.annotated is None else str(picture.annotated),
    )
