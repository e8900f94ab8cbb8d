"""What a detector did, in words for the terminal."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from evolve.formatting import clean, compact, count, duration, number
from evolve.progress_training import MEASURED
from evolve.trial import Json, TrialResult

if TYPE_CHECKING:
    from evolve.compose.detector import Exported, Prediction, Validation
    from evolve.compose.training import Training

FAR_BOXES = 1.0
"""Pixels by which an export may differ from torch before it deserves a word."""
FAR_SCORES = 0.01
"""The same for confidences."""


def near(path: str | Path) -> str:
    """A path as it is written from here, if it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def training_title(training: Training) -> str:
    """What is about to be trained, and where."""
    asked = training.configuration.arguments
    parts = [training.configuration.model]
    if training.epochs is not None:
        parts.append(count(training.epochs, "epoch"))
    if "imgsz" in asked:
        parts.append(f"{asked['imgsz']} px")
    verb = "going on with" if training.goes_on else "training"
    return clean(f"{verb} {', '.join(parts)} on {near(training.data)} in {near(training.folder)}")


def training_lines(result: TrialResult, best_epoch: int | None, data: str) -> Iterator[Text]:
    """What a finished training left, and what to do with it.

    Args:
        result: What the trainer returned.
        best_epoch: The epoch that the weights are of, if known.
        data: The data YAML.
    """
    weights = near(result.weights or "")
    yield _labelled("best", weights)
    figures = ", ".join(f"{label} {number(result.metrics.get(name))}" for label, name in reversed(MEASURED))
    of = f"epoch {best_epoch} of {result.epochs}" if best_epoch else count(result.epochs, "epoch")
    yield _labelled("", f"{of}: {figures}")
    yield _labelled("took", duration(result.seconds))
    for note in result.notes:
        yield _labelled("note", clean(note))
    for line in difference_lines(result.differences):
        yield _labelled("note", line)
    quoted = shlex.quote(weights)
    yield _labelled("next", f"evolve val {quoted} --data {shlex.quote(near(data))}")
    yield _labelled("", f"evolve predict {quoted} PICTURES")
    yield _labelled("", f"evolve export {quoted}")


def difference_lines(differences: Mapping[str, list[Json]]) -> Iterator[str]:
    """What did not take effect as it was asked for."""
    for name, (asked, took) in differences.items():
        yield f"{clean(name)}: {compact(asked)} was asked for, {compact(took)} took effect"


def validation_table(found: Validation) -> Table:
    """A row for all classes together, then one for each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("CLASS", min_width=8, max_width=40)
    for heading in ("PICTURES", "OBJECTS", *(label for label, _ in MEASURED)):
        table.add_column(heading, justify="right", no_wrap=True)
    figures = [number(found.metrics.get(name)) for _, name in MEASURED]
    table.add_row("all", str(found.images), str(found.instances), *figures, style="bold")
    for each in found.classes:
        figures = [number(value) for value in (each.precision, each.recall, each.map50, each.map50_95)]
        table.add_row(Text(clean(each.name)), str(each.images), str(each.instances), *figures)
    return table


def validation_line(found: Validation) -> str:
    """How it was measured."""
    settings = ", ".join(f"{name} {compact(value)}" for name, value in found.settings.items() if value is not False)
    return f"{sum(found.milliseconds.values()):.1f} ms a picture; {settings}"


def prediction_line(found: Prediction) -> str:
    """What was found in a picture, e.g. `a.jpg: 640x480, 3 cats, 1 dog, 12 ms`."""
    name = clean(near(found.picture))
    if found.problem:
        return f"{name}: left out, as it is {clean(found.problem)}"
    amounts = Counter(clean(box.name) for box in found.boxes)
    objects = ", ".join(f"{amount} {label}" for label, amount in amounts.most_common()) or "nothing"
    saved = f" -> {clean(near(found.saved))}" if found.saved else ""
    return f"{name}: {found.width}x{found.height}, {objects}, {found.milliseconds:.0f} ms{saved}"


def prediction_json(found: Prediction) -> dict[str, object]:
    """What was found in a picture, for programs; boxes as left, top, right, bottom in pixels."""
    boxes = [
        {
            "class": box.label,
            "name": box.name,
            "confidence": round(box.confidence, 5),
            "box": [round(value, 2) for value in box.corners],
        }
        for box in found.boxes
    ]
    return {
        "picture": found.picture,
        "width": found.width,
        "height": found.height,
        "boxes": boxes,
        "problem": found.problem or None,
        "saved": found.saved or None,
    }


def export_lines(made: Exported) -> Iterator[str]:
    """What was made, and how far it is from torch."""
    yield near(made.path)
    yield (
        f"{made.format}, {made.imgsz} px; on noise its boxes differ from torch's by at most "
        f"{made.box_difference:.2g} px, its confidences by {made.score_difference:.2g}"
    )
    if made.box_difference > FAR_BOXES or made.score_difference > FAR_SCORES:
        yield "that is a lot: validate it before it is used"


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((f"  {label:<6}", "dim"), text)
