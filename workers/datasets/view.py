"""The private view of a data set that trainers read: links to sound pictures, copies of odd ones, clean labels.

A trainer that works on the view writes nothing into the user's folder, trusts no cache that lies there, and meets
exactly what `check_dataset` judged. Layout, below `<home>/datasets/<digest>/`::

    data.yaml                           absolute path, splits and names, nothing else
    manifest.json                       where each picture comes from, and which were left out
    images/<split>/000000-<stem>.jpg    a link, or a copy where the picture itself would train wrongly
    labels/<split>/000000-<stem>.txt
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from evolve.exceptions import DataError
from evolve.trial import Json
from workers.datasets.atomic import built_once
from workers.datasets.convert import bit_depth, convert_image
from workers.datasets.images import DEEP_MODES
from workers.datasets.labels import Boxes
from workers.datasets.problems import printable, show
from workers.datasets.report import DatasetReport, ImageRecord

_VERSION = 1
"""Counts up whenever the same data set would give another view."""
_STEM_LENGTH = 60


def prepare_view(report: DatasetReport, home: Path) -> Path:
    """Build the view of a checked data set, unless it is there already.

    Safe to call from several processes at once: one builds, the others wait.

    Args:
        report: What `check_dataset` found.
        home: The folder that holds everything of this product.

    Returns:
        The view's `data.yaml`, absolute.

    Raises:
        DataError: if the report has errors, or if a picture cannot be decoded although its header is sound.
    """
    report.raise_for_errors()
    folder = Path(os.path.abspath(home)) / "datasets" / _digest(report)
    built_once(folder, lambda building: _build(report, building, folder))
    return folder / "data.yaml"


def _digest(report: DatasetReport) -> str:
    """Names the view by what it holds and by where it links to: a moved data set needs new links."""
    digest = hashlib.blake2b(f"{_VERSION} {report.content_hash}".encode(), digest_size=16)
    for records in report.splits.values():
        for record in records:
            digest.update(os.fsencode(record.path) + b"\0")
    return digest.hexdigest()


@dataclass(frozen=True)
class _Entry:
    """A picture of the view; `image` and `label` lie in the folder that is being built."""

    record: ImageRecord
    image: Path
    label: Path


def _build(report: DatasetReport, building: Path, final: Path) -> None:
    entries = {split: list(_plan(records, building, split)) for split, records in report.splits.items()}
    bits = bit_depth(_deep_paths(report))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        placed = {
            split: list(pool.map(lambda entry: _place(entry, bits), planned)) for split, planned in entries.items()
        }
    manifest: dict[str, Json] = {
        "source": str(report.source),
        "content_hash": report.content_hash,
        "images": dict(report.image_counts),
        "splits": {
            split: [_describe(entry, image, building) for entry, image in zip(planned, placed[split], strict=True)]
            for split, planned in entries.items()
        },
        "left_out": {split: _left_out(records) for split, records in report.splits.items()},
    }
    document = {
        "path": str(final),
        **{split: f"images/{split}" for split, planned in entries.items() if planned},
        "names": list(map(printable, report.names)),
    }
    (building / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (building / "data.yaml").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def _plan(records: tuple[ImageRecord, ...], building: Path, split: str) -> Iterator[_Entry]:
    for kind in ("images", "labels"):
        (building / kind / split).mkdir(parents=True)
    usable = (record for record in records if record.facts.is_usable)
    for index, record in enumerate(usable):
        stem, suffix = os.path.splitext(os.path.basename(record.path))
        name = f"{index:06d}-{re.sub(r'[^A-Za-z0-9_-]+', '_', stem)[:_STEM_LENGTH]}"
        image = building / "images" / split / f"{name}{suffix.lower()}"
        yield _Entry(record, image, building / "labels" / split / f"{name}.txt")


def _deep_paths(report: DatasetReport) -> Iterator[str]:
    for records in report.splits.values():
        yield from (record.path for record in records if record.facts.is_usable and record.facts.mode in DEEP_MODES)


def _place(entry: _Entry, bits: int) -> Path:
    """Put a picture and its label into the view; returns where the picture ended up."""
    entry.label.write_text(_rows(entry.record.boxes))
    source = entry.record.path
    if entry.record.facts.flaw is None:
        entry.image.symlink_to(source)
        return entry.image
    try:
        return convert_image(source, entry.image, bits)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{show(source)}: a picture must be decodable, but got {printable(str(error))}; repair or remove it"
        ) from error


def _rows(boxes: Boxes) -> str:
    return "".join(f"{label:.0f} {x:.9g} {y:.9g} {w:.9g} {h:.9g}\n" for label, x, y, w, h in boxes.tolist())


def _describe(entry: _Entry, image: Path, building: Path) -> Json:
    flaw = entry.record.facts.flaw
    # a name that is not UTF-8 survives as JSON's escapes of its surrogates
    return {
        "image": str(image.relative_to(building)),
        "original": entry.record.path,
        "copied_because": flaw.value if flaw else None,
    }


def _left_out(records: tuple[ImageRecord, ...]) -> Json:
    return [
        {"original": record.path, "because": record.facts.found} for record in records if not record.facts.is_usable
    ]
