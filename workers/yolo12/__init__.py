"""Real YOLO12 training on Ultralytics: the only package that imports Ultralytics and torch.

Importing the package itself stays cheap: both are imported when the first trial runs, after `process` has set up
the environment that Ultralytics reads while it is imported.
"""

from workers.yolo12.objective import YoloObjective

__all__ = ["YoloObjective"]
