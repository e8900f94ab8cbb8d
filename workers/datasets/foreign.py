"""Recognises annotations of other tools, to tell a user what to convert instead of that there are no labels."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from workers.datasets.layout import read_head, walk
from workers.datasets.problems import printable

_LOOKED_AT = 200
_HEAD = 64 * 1024
_PARSED_JSON = 64 * 1024 * 1024


def recognise_annotations(root: Path) -> tuple[str, str] | None:
    """Look below `root` for Pascal VOC or COCO annotations.

    Returns:
        What was found and what to do with it, or None.
    """
    for path in islice(walk(root, (".xml", ".json")), _LOOKED_AT):
        head = read_head(path, _HEAD)
        place = printable(os.path.relpath(os.path.dirname(path), root))
        if path.endswith(".xml") and b"<annotation" in head and b"<bndbox>" in head:
            found = f"Pascal VOC annotations in {place}"
            return (
                found,
                "convert each <bndbox>: class number, centre and size divided by <width> and <height>",
            )
        if b'"bbox"' in head or (b'"images"' in head and b'"file_name"' in head):
            name = printable(os.path.basename(path))
            return f"COCO annotations in {place}/{name}", _coco_advice(path)
    return None


def _coco_advice(path: str) -> str:
    advice = "convert each bbox: class number, centre and size divided by the image's width and height"
    mapping = ", ".join(f"{old}->{new}" for new, old in enumerate(islice(_category_ids(path), 20)))
    return (
        f"{advice}; number the categories from 0 ({mapping})" if mapping else f"{advice}; number the classes from 0"
    )


def _category_ids(path: str) -> Iterator[int]:
    if os.path.getsize(path) > _PARSED_JSON:
        return
    try:
        document: Any = json.loads(Path(path).read_bytes())
        yield from sorted(int(category["id"]) for category in document["categories"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return
