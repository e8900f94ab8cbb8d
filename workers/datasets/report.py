"""The result of a check: what the data set holds and what is wrong with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evolve.exceptions import DataError
from evolve.trial import Json
from workers.datasets.images import ImageFacts
from workers.datasets.labels import Boxes
from workers.datasets.problems import Problem, Severity, printable, show


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """A picture of a split with its boxes.

    Attributes:
        path: The picture, absolute; bytes that are not UTF-8 are carried as surrogates.
        facts: What is known of the picture.
        boxes: The boxes to train on, shape (n, 5), see `workers.datasets.labels`.
        label_digest: Hex digest of the label file; empty if there is none.
    """

    path: str
    facts: ImageFacts
    boxes: Boxes
    label_digest: str


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
        source: What was checked, as it was given.
        root: The folder that its splits lie in, absolute; None if the data YAML cannot be used.
        names: Class names by class id.
        splits: The pictures of each split, unusable ones included, sorted by path.
        problems: All problems in the order in which they were found.
        content_hash: Hex digest of pictures, labels and names, wherever they lie; empty if there are no splits.
    """

    source: Path
    root: Path | None
    names: tuple[str, ...]
    splits: Mapping[str, tuple[ImageRecord, ...]]
    problems: tuple[Problem, ...]
    content_hash: str

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that refuse the data set."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    def warnings(self) -> tuple[str, ...]:
        """A line for each kind of warning: its first instance and how many more there are."""
        kinds = self._kinds(Severity.WARNING)
        return tuple(f"{first}{f' (and {len(rest)} more like it)' if rest else ''}" for first, *rest in kinds)

    def _kinds(self, severity: Severity) -> list[list[Problem]]:
        """The problems of one severity, grouped by the rule that they break."""
        kinds: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.problems:
            if problem.severity is severity:
                kinds.setdefault((problem.rule, problem.advice), []).append(problem)
        return list(kinds.values())

    @property
    def image_counts(self) -> dict[str, int]:
        """Pictures of each split that will be trained or evaluated on."""
        return {split: sum(record.facts.is_usable for record in records) for split, records in self.splits.items()}

    @property
    def box_counts(self) -> dict[str, list[int]]:
        """Boxes of each split by class id, usable pictures only."""
        return {split: self._boxes_of(records) for split, records in self.splits.items()}

    def _boxes_of(self, records: tuple[ImageRecord, ...]) -> list[int]:
        ids = [record.boxes[:, 0] for record in records if record.facts.is_usable]
        counted = np.bincount(np.concatenate(ids).astype(int) if ids else [], minlength=len(self.names))
        return [int(count) for count in counted]

    def raise_for_errors(self) -> None:
        """Refuse the data set if it has errors.

        Raises:
            DataError: with one line: the first error, how many more there are, and the command that lists them.
        """
        if not self.errors:
            return
        first, more = self.errors[0], len(self.errors) - 1
        command = f"evolve data check {printable(shlex.quote(str(self.source)))}"
        files = len({problem.file for problem in self.errors})
        rest = f" ({more} more in {files} file{'s' * (files > 1)}; list them with: {command})" if more else ""
        raise DataError(f"{first}{rest}")

    def lines(self) -> Iterator[str]:
        """The whole report for a terminal: table of the splits, then every problem, then a verdict."""
        if self.splits:
            yield from self._table()
            yield ""
        for problem in self.problems:
            yield f"{problem.severity}: {problem}"
        for severity in (Severity.ERROR, Severity.WARNING):
            for first, *rest in self._kinds(severity):
                if rest:
                    files = len({problem.file for problem in (first, *rest)})
                    yield f"{severity}s in all: {len(rest) + 1} in {files} files: {first.rule}; {first.advice}"
        verdict = "cannot be used" if self.errors else "can be trained on"
        warned = sum(problem.severity is Severity.WARNING for problem in self.problems)
        yield f"{show(self.source)} {verdict}; errors: {len(self.errors)}, warnings: {warned}"

    def _table(self) -> Iterator[str]:
        counts, boxes = self.image_counts, self.box_counts
        rows = [("", *self.splits)]
        rows.append(("images", *(str(len(records)) for records in self.splits.values())))
        rows.append(("usable images", *(str(counts[split]) for split in self.splits)))
        rows.append(("boxes", *(str(sum(boxes[split])) for split in self.splits)))
        for index, name in enumerate(self.names):
            rows.append((f"  {index} {printable(name)}", *(str(boxes[split][index]) for split in self.splits)))
        width = max(len(row[0]) for row in rows)
        for label, *cells in rows:
            yield (label.ljust(width) + "".join(cell.rjust(9) for cell in cells)).rstrip()

    def document(self) -> dict[str, Json]:
        """The report as JSON holds it."""
        return {
            "source": printable(str(self.source)),
            "content_hash": self.content_hash,
            "names": list(self.names),
            "images": {split: len(records) for split, records in self.splits.items()},
            "usable_images": dict(self.image_counts),
            "boxes": {split: list(counts) for split, counts in self.box_counts.items()},
            "problems": [_problem_document(problem) for problem in self.problems],
        }


def _problem_document(problem: Problem) -> dict[str, Json]:
    return {
        "severity": problem.severity.value,
        "file": problem.file,
        "line": problem.line,
        "rule": problem.rule,
        "found": problem.found,
        "advice": problem.advice,
    }
