"""Names of what a trial reports; importing this module imports neither Ultralytics nor torch."""

from __future__ import annotations

PARAMETERS = "model/parameters"
OPERATIONS = "model/GFLOPs"
LATENCY = "model/latency_ms"

VALIDATED = (
    "metrics/precision(B)",
    "metrics/recall(B)",
    "metrics/mAP50(B)",
    "metrics/mAP50-95(B)",
    "val/box_loss",
    "val/cls_loss",
    "val/dfl_loss",
)
"""What the validator reports after every epoch."""
MEASURED = (PARAMETERS, OPERATIONS, LATENCY)
"""What is measured on the model that is merged for inference, once in a trial and only where it is asked for."""
METRICS = (*VALIDATED, *MEASURED)
"""All that a trial's result can hold."""
