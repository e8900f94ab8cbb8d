"""Real YOLO12 training on Ultralytics: the only package that imports Ultralytics and torch.

Importing the package itself stays cheap: both are imported when the first trial runs, after `process` has set up
the environment that Ultralytics reads while it is imported.
"""

from pathlib import Path

from workers.yolo12.downloads import download_dataset
from workers.yolo12.objective import YoloObjective
from workers.yolo12.process import prepare_process
from workers.yolo12.weights import resolve_weights

__all__ = ["YoloObjective", "download_dataset", "prepare_labels", "resolve_weights"]


def prepare_labels(view: Path) -> None:
    """Scan the labels of a prepared view, so that no trial holds a GPU while it waits for that.

    Args:
        view: The view's `data.yaml`.
    """
    prepare_process()
    from workers.yolo12.images import scan_labels

    scan_labels(view)
