"""Turns what was seen of pictures and labels into problems."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from workers.datasets.document import DataDocument
from workers.datasets.foreign import recognise_annotations
from workers.datasets.images import VERDICTS
from workers.datasets.labels import Fault, LabelFacts
from workers.datasets.layout import label_path, list_labels
from workers.datasets.problems import Problem, Problems, Severity, excerpt, printable, show
from workers.datasets.report import ImageRecord

MAX_UNUSABLE = 0.5
"""A split with a larger share of unusable pictures is refused."""

_FAULTS = {
    Fault.NOT_TEXT: ("a label file must be UTF-8 text", "save it as text"),
    Fault.NOT_NUMBERS: ("a row must be numbers: class x y width height", "write e.g. 0 0.5 0.5 0.2 0.1"),
    Fault.COLUMNS: ("a row must have 5 columns, or 7, 9, ... for a polygon", "write class x y width height"),
    Fault.NOT_FINITE: ("every value must be finite", "correct the row"),
    Fault.NEGATIVE: ("no value may be negative", "correct the row"),
    Fault.ABOVE_ONE: (
        "coordinates must lie in 0..1",
        "divide by the width and height of this very picture",
    ),
    Fault.PIXELS: ("coordinates must lie in 0..1", "these look like pixels; divide by width and height"),
    Fault.MIXED: ("rows must all be boxes or all be polygons", "write one kind in this file"),
}


@dataclass(frozen=True)
class Seen:
    """A picture and what its label file said; `label` is None where there is no file."""

    record: ImageRecord
    label: LabelFacts | None


def judge(document: DataDocument, seen: Mapping[str, Sequence[Seen]], problems: Problems) -> None:
    """Add everything that is wrong with the splits of `document` to `problems`."""
    ids = frozenset[int]().union(*(item.label.class_ids for items in seen.values() for item in items if item.label))
    class_advice = "correct the id, or add the class to names:"
    if ids and min(ids) == 1 and max(ids) == len(document.names):
        class_advice = "ids look 1-based: subtract 1 from every id of every file"
    for split, items in seen.items():
        found = Problems()
        _judge_images(document, split, items, found)
        _judge_labels(document, split, items, class_advice, found)
        _judge_orphans(document, split, items, found)
        problems.found += found.found
        if not found.has_errors:
            _judge_classes(document, split, items, problems)
    _judge_overlap(document, seen, problems)


def _judge_images(document: DataDocument, split: str, items: Sequence[Seen], problems: Problems) -> None:
    if not items:
        places = ", ".join(map(show, document.splits[split])) or "no folder"
        _refuse(
            problems,
            split,
            document.splits[split][0],
            f"{split} must have images",
            f"0 images in {places}",
            "add pictures, or name another folder",
        )
        return
    for item in items:
        facts = item.record.facts
        if facts.flaw is not None:
            verdict = VERDICTS[facts.flaw]
            place = show(item.record.path)
            rule = "a picture must be sound, 8 bits a channel, gray or RGB"
            problems.found.append(Problem(verdict.severity, place, rule, facts.found, verdict.advice))
        elif facts.is_flat and len(item.record.boxes):
            found = f"one single colour and {len(item.record.boxes)} boxes"
            problems.warn(item.record.path, "a picture with boxes must show something", found, "look at it")
    unusable = sum(not item.record.facts.is_usable for item in items)
    if unusable > MAX_UNUSABLE * len(items):
        _refuse(
            problems,
            split,
            document.splits[split][0],
            f"at least half of {split} must be usable",
            f"{unusable} of {len(items)} unusable images",
            "see the images listed",
        )


def _refuse(
    problems: Problems, split: str, place: str | os.PathLike[str], rule: str, found: str, advice: str
) -> None:
    """An error, but for the test split only a warning: no search reads it."""
    add = problems.warn if split == "test" else problems.error
    add(place, rule, found, advice)


def _judge_labels(
    document: DataDocument, split: str, items: Sequence[Seen], class_advice: str, problems: Problems
) -> None:
    if not items:
        return
    if not any(item.label for item in items):
        _refuse(problems, split, *_why_unlabelled(document, split, items))
        return
    for item in items:
        if item.label is None:
            if item.record.facts.is_usable:
                rule, advice = (
                    "a picture should have a label file",
                    "it is trained as background; was it forgotten?",
                )
                problems.warn(item.record.path, rule, "none", advice)
        else:
            _judge_file(document, label_path(item.record.path), item.label, class_advice, problems)
    _judge_totals(document, split, items, problems)


def _judge_file(
    document: DataDocument, path: str, label: LabelFacts, class_advice: str, problems: Problems
) -> None:
    place = show(path)
    highest = len(document.names) - 1
    for row in label.faults:
        rule, advice = _FAULTS.get(row.fault, (f"a class id must be one of 0..{highest}", class_advice))
        problems.found.append(Problem(Severity.ERROR, place, rule, row.found, advice, row.line))
    if label.fault_count > len(label.faults):
        more = label.fault_count - len(label.faults)
        problems.note(path, "all rows must be sound", f"{more} more faulty rows", "correct those above first")
    if label.duplicates:
        problems.warn(path, "rows should differ", f"{label.duplicates} repeated rows", "each is trained once")
    if label.empty_boxes:
        lines = ", ".join(map(str, label.empty_boxes[:10])) + (", ..." if len(label.empty_boxes) > 10 else "")  # noqa: PLR2004
        found = f"{len(label.empty_boxes)} smaller (line {lines})"
        problems.warn(path, "a box must be at least one pixel wide and high", found, "they are left out")


def _judge_totals(document: DataDocument, split: str, items: Sequence[Seen], problems: Problems) -> None:
    labels = [item.label for item in items if item.label]
    polygons = sum(label.polygons for label in labels)
    place = document.splits[split][0]
    if polygons:
        problems.warn(place, f"{split} should have boxes", f"{polygons} polygons", "each is turned into its box")
    boxes = sum(len(item.record.boxes) for item in items if item.record.facts.is_usable)
    if not boxes and not any(label.faults for label in labels):
        _refuse(
            problems,
            split,
            place,
            f"{split} must have boxes",
            f"0 boxes in {len(items)} images",
            "label the pictures",
        )


def _why_unlabelled(document: DataDocument, split: str, items: Sequence[Seen]) -> tuple[str, str, str, str]:
    """Place, rule, found and advice for a split in which no picture has a label."""
    image = items[0].record.path
    looked_for = label_path(image)
    folder = os.path.dirname(looked_for)
    foreign = recognise_annotations(document.root)
    if foreign is not None:
        found, advice = foreign
        return folder, f"labels of {split} must be YOLO text files", found, advice
    if f"{os.sep}images{os.sep}" not in image:
        rule = "labels are found by turning the folder /images/ of a picture's path into /labels/"
        found = f"no folder called images in {show(image)} ({show(looked_for)} was looked for)"
        return (
            os.path.dirname(image),
            rule,
            found,
            f"rename {printable(_image_folder(document, split))} to images",
        )
    found = f"none for any of {len(items)} images"
    return (
        folder,
        f"{split} must have label files in this folder",
        found,
        f"put e.g. {show(looked_for)} there",
    )


def _image_folder(document: DataDocument, split: str) -> str:
    relative = os.path.relpath(document.splits[split][0], document.root)
    return relative.split(os.sep)[0]


def _judge_orphans(document: DataDocument, split: str, items: Sequence[Seen], problems: Problems) -> None:
    images = {label_path(item.record.path): item.record.path for item in items}
    folded = {_fold(label): image for label, image in images.items()}
    for label in _labels_beside(document.splits[split]):
        if label in images:
            continue
        near = folded.get(_fold(label))
        if near is None:
            problems.warn(label, "a label should have its picture", "none", "it is ignored")
        else:
            found = f"{show(near)}, which differs only in case or accents"
            problems.warn(label, "a label must be named as its picture", found, "rename one of them; it is ignored")


def _labels_beside(sources: Iterable[os.PathLike[str]]) -> list[str]:
    labels = []
    for source in map(os.fspath, sources):
        folder = os.path.dirname(label_path(os.path.join(source, "any.jpg")))
        if folder != source and os.path.isdir(folder):
            labels += list_labels(folder)
    return labels


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _judge_classes(document: DataDocument, split: str, items: Sequence[Seen], problems: Problems) -> None:
    present = {int(label) for item in items if item.record.facts.is_usable for label in item.record.boxes[:, 0]}
    for index, name in enumerate(document.names):
        if index not in present and present and split != "test":
            advice = "its score says nothing" if split == "val" else "it cannot be learned"
            problems.warn(
                document.splits[split][0],
                f"{split} should have boxes of every class",
                f"0 of class {index} {excerpt(name)}",
                advice,
            )


def _judge_overlap(document: DataDocument, seen: Mapping[str, Sequence[Seen]], problems: Problems) -> None:
    train = {item.record.path for item in seen.get("train", ())}
    contents = {item.record.facts.digest for item in seen.get("train", ()) if item.record.facts.is_usable}
    for split in ("val", "test"):
        records = [item.record for item in seen.get(split, ())]
        shared = sum(record.path in train for record in records)
        if shared:
            found = f"{shared} of {len(records)} {split} images in train as well"
            advice = "every score will be a training score and overfitting wins; name other images"
            problems.warn(document.file, f"train: and {split}: must not share images", found, advice)
            continue
        copies = [record for record in records if record.facts.digest in contents]
        for record in copies:
            problems.warn(record.path, f"no {split} image may be in train", "a copy of a train image", "remove one")
