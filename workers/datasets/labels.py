"""Reads the label file of a picture: rows of `class x_center y_center width height`, in parts of its size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from workers.datasets.problems import excerpt

BOX_COLUMNS = 5
MIN_POLYGON_COLUMNS = 7
TOLERANCE = 0.01
"""How far a coordinate may lie outside 0..1, as in Ultralytics."""
MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 50_000
"""No picture has that many boxes."""
MAX_FAULTS = 20
"""Faulty rows that are kept of one file; the rest is only counted."""
_UNKNOWN_SIDE = 10**9

Boxes = NDArray[np.float64]
"""Shape (n, 5): class, x and y of the centre, width, height."""


class Fault(StrEnum):
    """What makes a row untrainable."""

    TOO_LARGE = "too large"
    NOT_TEXT = "not text"
    NOT_NUMBERS = "not numbers"
    COLUMNS = "columns"
    NOT_FINITE = "not finite"
    CLASS_ID = "class id"
    NEGATIVE = "negative"
    ABOVE_ONE = "above one"
    PIXELS = "pixels"
    MIXED = "mixed"


@dataclass(frozen=True)
class RowFault:
    """A fault of one row; `line` counts from 1."""

    line: int
    fault: Fault
    found: str


@dataclass
class LabelFacts:
    """What a label file holds.

    Attributes:
        boxes: The boxes that will be trained, shape (n, 5); empty if there are faults.
        faults: What makes the file untrainable, at most `MAX_FAULTS`.
        fault_count: All faults, those included that are not listed.
        class_ids: Every whole class id that was seen, also those out of range.
        polygons: Rows that are polygons and were turned into boxes.
        duplicates: Rows that repeat another one and were dropped.
        empty_boxes: Lines of the boxes that were dropped as their area is below one pixel.
    """

    boxes: Boxes = field(default_factory=lambda: np.zeros((0, BOX_COLUMNS)))
    faults: list[RowFault] = field(default_factory=list)
    fault_count: int = 0
    class_ids: frozenset[int] = frozenset()
    polygons: int = 0
    duplicates: int = 0
    empty_boxes: tuple[int, ...] = ()


def parse_labels(content: bytes, classes: int, width: int, height: int, keypoints: int = 0) -> LabelFacts:
    """Read a label file.

    Args:
        content: The bytes of the file; more than `MAX_BYTES` are a fault, so no more need be read.
        classes: Number of classes; ids lie below it.
        width: Pixels of the picture, to find boxes below one pixel; 0 if unknown.
        height: Likewise.
        keypoints: Values of key points that may follow a box and are dropped.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if len(content) > MAX_BYTES or max(content.count(b"\n"), content.count(b"\r")) > MAX_ROWS:
        return _faulty([RowFault(1, Fault.TOO_LARGE, "more")])
    if b"\0" in content:
        return _faulty([RowFault(1, Fault.NOT_TEXT, "binary data or UTF-16")])
    rows, faults, polygons = _read_rows(content, keypoints)
    if polygons and polygons < len(rows):
        faults.append(_mixed(content))
    lines = np.array([line for line, _ in rows], dtype=np.int64)
    boxes = np.array([box for _, box in rows], dtype=np.float64).reshape(-1, BOX_COLUMNS)
    if not _is_sound(boxes, classes):
        faults += _range_faults(lines, boxes, classes)
    if faults:
        whole = boxes[np.isfinite(boxes[:, 0]), 0]
        return _faulty(faults, frozenset(whole[whole % 1 == 0].astype(int).tolist()))
    return _clean(lines, boxes, polygons, width, height)


def _faulty(faults: list[RowFault], class_ids: frozenset[int] = frozenset()) -> LabelFacts:
    faults = sorted(faults, key=lambda fault: fault.line)
    return LabelFacts(faults=faults[:MAX_FAULTS], fault_count=len(faults), class_ids=class_ids)


def _read_rows(content: bytes, keypoints: int) -> tuple[list[tuple[int, list[float]]], list[RowFault], int]:
    rows: list[tuple[int, list[float]]] = []
    faults: list[RowFault] = []
    polygons = 0
    for line, text in enumerate(content.splitlines(), 1):
        tokens = text.split()
        if not tokens:
            continue
        try:
            values = [float(token) for token in tokens]
        except ValueError:
            faults.append(RowFault(line, Fault.NOT_NUMBERS, _describe(text)))
            continue
        if len(values) == BOX_COLUMNS or len(values) == BOX_COLUMNS + keypoints:
            rows.append((line, values[:BOX_COLUMNS]))
        elif _is_polygon(len(values)):
            fault = _place_fault(values[1:])
            if fault is None:
                polygons += 1
                rows.append((line, _enclose(values)))
            else:
                faults.append(RowFault(line, fault, f"a polygon from {min(values[1:]):g} to {max(values[1:]):g}"))
        else:
            faults.append(RowFault(line, Fault.COLUMNS, f"{len(values)}"))
    return rows, faults, polygons


def _describe(text: bytes) -> str:
    shown = excerpt(text.decode("utf-8", "surrogateescape").strip())
    tokens = text.split()
    if len(tokens) == 1 and b"," in text:
        return f"{shown}, separated by commas"
    if any(b"," in token for token in tokens):
        return f"{shown}, with decimal commas"
    if len(tokens) == BOX_COLUMNS:
        return f"{shown}, with a class name in place of its id"
    return shown


def _is_polygon(columns: int) -> bool:
    return columns >= MIN_POLYGON_COLUMNS and columns % 2 == 1


def _enclose(values: list[float]) -> list[float]:
    xs, ys = values[1::2], values[2::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return [values[0], (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _mixed(content: bytes) -> RowFault:
    columns = [len(text.split()) for text in content.splitlines()]
    is_polygon = [_is_polygon(count) for count in columns if count]
    first = is_polygon[0]
    line = next(number for number, count in enumerate(columns, 1) if count and _is_polygon(count) != first)
    found = f"{is_polygon.count(False)} boxes and {is_polygon.count(True)} polygons"
    return RowFault(line, Fault.MIXED, found)


def _is_sound(boxes: Boxes, classes: int) -> bool:
    """Whether nothing is wrong; one quick look that nearly every file passes. NaN compares false."""
    if not len(boxes):
        return True
    ids, places, sizes = boxes[:, 0], boxes[:, 1:], boxes[:, 3:]
    is_inside = places.min() >= -TOLERANCE and places.max() <= 1 + TOLERANCE and sizes.min() >= 0
    return bool(is_inside and ids.min() >= 0 and ids.max() < classes and (ids % 1 == 0).all())


def _range_faults(lines: NDArray[np.int64], boxes: Boxes, classes: int) -> list[RowFault]:
    if np.isfinite(boxes).all() and (boxes[:, 1:] > 1 + TOLERANCE).mean() > 0.9:  # noqa: PLR2004
        return [
            RowFault(int(lines[0]), Fault.PIXELS, f"{len(boxes)} rows with values up to {boxes[:, 1:].max():g}")
        ]
    faults = []
    for line, row in zip(lines.tolist(), boxes.tolist(), strict=True):
        fault = _row_fault(row, classes)
        if fault is not None:
            shown = f"{row[0]:g}" if fault is Fault.CLASS_ID else " ".join(f"{value:g}" for value in row[1:])
            faults.append(RowFault(line, fault, shown))
    return faults


def _row_fault(row: list[float], classes: int) -> Fault | None:
    label, *places = row
    if math.isfinite(label) and (label % 1 or not 0 <= label < classes):
        return Fault.CLASS_ID
    if math.isfinite(label) and min(places[2:]) < 0:
        return Fault.NEGATIVE
    return _place_fault(row[1:] if math.isfinite(label) else row)


def _place_fault(values: list[float]) -> Fault | None:
    if not all(map(math.isfinite, values)):
        return Fault.NOT_FINITE
    if min(values) < -TOLERANCE:
        return Fault.NEGATIVE
    return Fault.ABOVE_ONE if max(values) > 1 + TOLERANCE else None


def _clean(lines: NDArray[np.int64], boxes: Boxes, polygons: int, width: int, height: int) -> LabelFacts:
    kept = np.arange(len(boxes))
    if len(set(map(bytes, boxes))) < len(boxes):
        kept = np.sort(np.unique(boxes, axis=0, return_index=True)[1])
    size = boxes[kept, 3:] * (width or _UNKNOWN_SIDE, height or _UNKNOWN_SIDE)
    is_empty = (size < 1).any(axis=1)
    return LabelFacts(
        boxes=boxes[kept[~is_empty]],
        class_ids=frozenset(boxes[:, 0].astype(int).tolist()),
        polygons=polygons,
        duplicates=len(boxes) - len(kept),
        empty_boxes=tuple(lines[kept[is_empty]].tolist()),
    )
