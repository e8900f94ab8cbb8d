"""Scores a training that is over on the test split, which has no part in choosing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ultralytics.data.utils import check_det_dataset

from workers.yolo12.detector import load_detector
from workers.yolo12.validating import validate

SPLIT = "test"


def score_test(weights: Path, data: Path, *, device: str, check: Callable[[], None]) -> Mapping[str, float]:
    """Metrics of a detector on the test split, e.g. `test/metrics/mAP50-95(B)`; none if the data have none.

    Args:
        weights: `best.pt` of the training.
        data: Data YAML that it was trained on.
        device: `cpu` or `cuda`.
        check: Called after every batch; may raise to leave.
    """
    if not check_det_dataset(str(data), autodownload=False).get(SPLIT):
        return {}
    found = validate(
        load_detector(weights), data, split=SPLIT, settings={}, device=device, progress=lambda *_: check()
    )
    return {f"{SPLIT}/{name}": value for name, value in found.metrics.items()}
