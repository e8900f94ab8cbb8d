"""The attempts to train an individual, and what was requested against what took effect."""

from __future__ import annotations

from typing import Any

from api.dashboard.components import block, text
from api.dashboard.components.table import cell, row
from api.dashboard.components.text import preformatted
from api.dashboard.sections.settings import worded
from evolve.formatting import MISSING, duration, failure_label
from evolve.ledger.records import EvaluationRecord
from evolve.trial import Json


def show_attempt(attempt: EvaluationRecord) -> None:
    """Lay out one attempt: where it ran, how far it came, and why it failed."""
    with block():
        with block(classes="ev-meta"):
            text("h3", f"Attempt {attempt.attempt}")
            text("span", attempt.state.value, f"ev-mark mark-{attempt.state.value}")
            text("span", attempt.worker or "no worker yet", "mono")
            text("span", f"{attempt.epochs_trained} of {attempt.epochs} epochs, {duration(attempt.seconds)}")
            text("span", f"seed {attempt.seed}")
        for note in attempt.notes:
            text("p", note, "ev-caption")
        if attempt.failure is not None:
            text("p", f"{failure_label(attempt.failure)}: {attempt.failure_message}")
            if attempt.failure_details:
                with block("details"):
                    text("summary", "Details")
                    preformatted(attempt.failure_details)


def argument_rows(attempt: EvaluationRecord) -> list[dict[str, Any]]:
    """A row for each argument, those that took effect otherwise than requested first, and marked."""
    rows = []
    names = [*attempt.requested, *(name for name in attempt.effective if name not in attempt.requested)]
    for name in sorted(names, key=lambda name: (name not in attempt.differences, name)):
        requested, effective = attempt.requested.get(name), attempt.effective.get(name)
        differs = name in attempt.differences
        if differs:
            requested, effective = _pair(attempt.differences[name], requested, effective)
        cells = [
            cell(name, mono=True),
            cell(worded(requested)),
            cell(worded(effective) if attempt.effective else MISSING, **({"tone": "strong"} if differs else {})),
            cell("differs", mark="differs") if differs else "",
        ]
        rows.append(row(name, cells, **({"tone": "bad"} if differs else {})))
    return rows


def _pair(difference: Json, requested: Json, effective: Json) -> tuple[Json, Json]:
    if isinstance(difference, list) and len(difference) == 2:  # noqa: PLR2004
        return difference[0], difference[1]
    return requested, effective
