"""Turns what was seen of pictures and labels into problems."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.datasets.document import DataDocument
from workers.datasets.foreign import recognise_annotations
from workers.datasets.images import VERDICTS
from workers.datasets.labels import MAX_BYTES, MAX_ROWS, Fault, LabelFacts
from workers.datasets.layout import fold_name, label_path, labels_beside
from workers.datasets.problems import Problem, Problems, Severity, excerpt, printable, show
from workers.datasets.report import ImageRecord

MAX_UNUSABLE = 0.5
"""A split with a larger share of unusable pictures is refused."""
_LISTED_LINES = 10

_IMAGE_RULE = "a picture must be sound, 8 bits a channel, gray or RGB"
_FAULTS = {
    Fault.TOO_LARGE: (f"a label file has at most {MAX_ROWS} rows and {MAX_BYTES} bytes", "is this the right file?"),
    Fault.NOT_TEXT: ("a label file must be UTF-8 text", "save it as text"),
    Fault.NOT_NUMBERS: ("a row must be numbers: class x y width height", "write e.g. 0 0.5 0.5 0.2 0.1"),
    Fault.COLUMNS: ("a row must have 5 columns, or 7, 9, ... for a polygon", "write class x y width height"),
    Fault.NOT_FINITE: ("every value must be finite", "correct the row"),
    Fault.NEGATIVE: ("no value may be negative", "correct the row"),
    Fault.ABOVE_ONE: ("coordinates must lie in 0..1", "divide by the width and height of this very picture"),
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
    advice = _class_advice(document, seen)
    for split, items in seen.items():
        judged = _SplitJudge(document, split, items, advice)
        judged.run()
        problems.found += judged.problems.found
    _judge_overlap(document, seen, problems)


def _class_advice(document: DataDocument, seen: Mapping[str, Sequence[Seen]]) -> str:
    labels = [item.label for items in seen.values() for item in items if item.label]
    ids = frozenset[int]().union(*(label.class_ids for label in labels))
    if ids and min(ids) == 1 and max(ids) == len(document.names):
        return "ids look 1-based: subtract 1 from every id of every file"
    return "correct the id, or add the class to names:"


@dataclass
class _SplitJudge:
    document: DataDocument
    split: str
    items: Sequence[Seen]
    class_advice: str
    problems: Problems = field(default_factory=Problems)

    def run(self) -> None:
        if self.items:
            self._judge_images()
            self._judge_labels()
        else:
            places = ", ".join(map(show, self.document.splits[self.split]))
            self._refuse(
                f"{self.split} must have images", f"0 images in {places}", "add some, or correct the folder"
            )
        self._judge_orphans()
        if not self.problems.has_errors:
            self._judge_classes()

    @property
    def _usable(self) -> list[Seen]:
        return [item for item in self.items if item.record.facts.is_usable]

    def _refuse(self, rule: str, found: str, advice: str, place: str | None = None) -> None:
        """An error of the whole split; of the test split only a warning, as nothing is chosen by it."""
        add = self.problems.warn if self.split == "test" else self.problems.error
        add(place or self.document.splits[self.split][0], rule, found, advice)

    def _judge_images(self) -> None:
        for item in self.items:
            record, facts = item.record, item.record.facts
            if facts.flaw is not None:
                verdict = VERDICTS[facts.flaw]
                problem = Problem(verdict.severity, show(record.path), _IMAGE_RULE, facts.found, verdict.advice)
                self.problems.found.append(problem)
            elif facts.is_flat and len(record.boxes):
                found = f"one single colour and {len(record.boxes)} boxes"
                self.problems.warn(record.path, "a picture with boxes must show something", found, "look at it")
        unusable = len(self.items) - len(self._usable)
        if unusable > MAX_UNUSABLE * len(self.items):
            found = f"{unusable} of {len(self.items)} unusable images"
            self._refuse(f"at least half of {self.split} must be usable", found, "repair those that are listed")

    def _judge_labels(self) -> None:
        if not any(item.label for item in self.items):
            self._refuse_unlabelled()
            return
        for item in self._usable:
            if item.label is None:
                advice = "it is trained as background; was it forgotten?"
                self.problems.warn(item.record.path, "a picture should have a label file", "none", advice)
            else:
                self._judge_file(label_path(item.record.path), item.label)
        self._judge_totals([item.label for item in self._usable if item.label])

    def _judge_file(self, path: str, label: LabelFacts) -> None:
        class_rule = f"a class id must be one of 0..{len(self.document.names) - 1}"
        for row in label.faults:
            rule, advice = _FAULTS.get(row.fault, (class_rule, self.class_advice))
            problem = Problem(Severity.ERROR, show(path), rule, row.found, advice, row.line)
            self.problems.found.append(problem)
        more = label.fault_count - len(label.faults)
        if more:
            self.problems.note(path, "all rows must be sound", f"{more} more faulty rows", "see those above")
        if label.duplicates:
            found = f"{label.duplicates} repeated rows"
            self.problems.warn(path, "rows should differ", found, "each is trained once")
        if label.empty_boxes:
            lines = ", ".join(map(str, label.empty_boxes[:_LISTED_LINES]))
            dots = ", ..." if len(label.empty_boxes) > _LISTED_LINES else ""
            rule = "a box must be at least one pixel wide and high"
            found = f"{len(label.empty_boxes)} smaller (line {lines}{dots})"
            self.problems.warn(path, rule, found, "they are left out")

    def _judge_totals(self, labels: Sequence[LabelFacts]) -> None:
        place = self.document.splits[self.split][0]
        polygons = sum(label.polygons for label in labels)
        if polygons:
            found = f"{polygons} polygons"
            self.problems.warn(place, f"{self.split} should have boxes", found, "each is turned into its box")
        if not any(len(label.boxes) or label.faults for label in labels):
            found = f"0 boxes in {len(self.items)} images"
            self._refuse(f"{self.split} must have boxes", found, "label the pictures")

    def _refuse_unlabelled(self) -> None:
        """Say why no picture of the split has a label, as far as that can be told."""
        image = self.items[0].record.path
        looked_for = label_path(image)
        folder = os.path.dirname(looked_for)
        foreign = recognise_annotations(self.document.root)
        if foreign is not None:
            self._refuse(f"labels of {self.split} must be YOLO text files", *foreign, place=folder)
        elif f"{os.sep}images{os.sep}" not in image:
            rule = "labels are found by turning the folder /images/ of a picture's path into /labels/"
            found = f"no folder called images in {show(image)} ({show(looked_for)} was looked for)"
            relative = os.path.relpath(self.document.splits[self.split][0], self.document.root)
            self._refuse(rule, found, f"rename {printable(relative.split(os.sep)[0])} to images")
        else:
            rule, found = f"{self.split} must have label files here", f"none for any of {len(self.items)} images"
            self._refuse(rule, found, f"put e.g. {show(looked_for)} there", place=folder)

    def _judge_orphans(self) -> None:
        images = {label_path(item.record.path): item.record.path for item in self.items}
        folded = {fold_name(label): image for label, image in images.items()}
        for label in labels_beside(self.document.splits[self.split]):
            near = folded.get(fold_name(label))
            if label in images:
                continue
            if near is None:
                self.problems.warn(label, "a label should have its picture", "none", "it is ignored")
            else:
                found = f"{show(near)}, which differs only in case or accents"
                rule, advice = "a label must be named as its picture", "it is ignored; rename one of them"
                self.problems.warn(label, rule, found, advice)

    def _judge_classes(self) -> None:
        present = {int(label) for item in self._usable for label in item.record.boxes[:, 0]}
        advice = "its score says nothing" if self.split == "val" else "it cannot be learned"
        for index, name in enumerate(self.document.names if self.split != "test" else ()):
            if index not in present:
                place, rule = self.document.splits[self.split][0], f"{self.split} should have boxes of every class"
                self.problems.warn(place, rule, f"0 of class {index} {excerpt(name)}", advice)


def _judge_overlap(document: DataDocument, seen: Mapping[str, Sequence[Seen]], problems: Problems) -> None:
    train = [item.record for item in seen.get("train", ()) if item.record.facts.is_usable]
    paths, contents = {record.path for record in train}, {record.facts.digest for record in train}
    for split in ("val", "test"):
        records = [item.record for item in seen.get(split, ()) if item.record.facts.is_usable]
        shared = sum(record.path in paths for record in records)
        if shared:
            found = f"{shared} of {len(records)} {split} images in train as well"
            advice = "every score will be a training score and overfitting wins; name other images"
            problems.warn(document.file, f"train: and {split}: must not share images", found, advice)
        for record in records:
            if record.facts.digest in contents and record.path not in paths:
                rule, found = f"no {split} image may be in train", "a copy of a train image"
                problems.warn(record.path, rule, found, "remove one of them")
