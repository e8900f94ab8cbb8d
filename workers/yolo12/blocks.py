"""The rest of YOLOv4's bag as surgery on a model that Ultralytics has built."""

from __future__ import annotations

from workers.yolo12.normalisation import CrossBatchNorm2d, begin_step, frozen_statistics

__all__ = ["CrossBatchNorm2d", "begin_step", "frozen_statistics"]
