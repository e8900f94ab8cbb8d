"""Whether an attempt can go on where an interrupted one stopped.

A trial's folder belongs to one individual and is kept between its attempts. Beside the checkpoints lies a record
of what was being trained; only a checkpoint of the very same training is taken up.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from evolve.trial import TrialSpec
from workers.yolo12.weights import read_checkpoint

_RECORD = "spec.json"
_IRRELEVANT = ("search_id", "individual", "attempt", "directory", "measure", "score_test")


@dataclass(frozen=True)
class Interrupted:
    """What an interrupted attempt left.

    Attributes:
        epochs: Epochs it had trained.
        checkpoint: Its `last.pt`.
        best_metrics: Metrics of its `best.pt`.
    """

    epochs: int
    checkpoint: Path
    best_metrics: dict[str, float]


def is_attempt_at(spec: TrialSpec) -> bool:
    """Whether the folder of `spec` holds an attempt at this very training."""
    record = Path(spec.directory) / _RECORD
    return record.is_file() and record.read_text() == _identity(spec)


def take_up(spec: TrialSpec) -> Interrupted | None:
    """The interrupted attempt at this very training, if one can be read; else the folder is made ready anew."""
    folder = Path(spec.directory)
    record = folder / _RECORD
    if is_attempt_at(spec):
        # A torn or forged checkpoint fails in any way it likes, and training from scratch is always right.
        with suppress(Exception):
            if (found := _read(folder / "weights")) is not None:
                return found
    shutil.rmtree(folder / "weights", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    draft = record.with_suffix(".tmp")
    draft.write_text(_identity(spec))
    os.replace(draft, record)
    return None


def _read(folder: Path) -> Interrupted | None:
    last, best = (read_checkpoint(folder / name) for name in ("last.pt", "best.pt"))
    epochs = last["epoch"] + 1
    metrics = {name: value for name, value in best["train_metrics"].items() if name != "fitness"}
    return Interrupted(epochs, folder / "last.pt", metrics) if epochs < last["train_args"]["epochs"] else None


def _identity(spec: TrialSpec) -> str:
    fields = {name: value for name, value in asdict(spec).items() if name not in _IRRELEVANT}
    return json.dumps(fields, sort_keys=True, indent=1)
