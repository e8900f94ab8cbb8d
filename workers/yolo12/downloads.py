"""Downloads of what Ultralytics publishes, each in a process of its own.

So the process that trains stays offline, one that only searches need not import Ultralytics, and a stuck connection
can be given up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from evolve.exceptions import DataError
from workers.yolo12.process import OFFLINE_BEFORE

FETCH_TIMEOUT = 6 * 3600.0
"""Seconds; COCO has 20 GB."""


def download_dataset(name: str, home: Path) -> Path:
    """Download a data set that Ultralytics knows by name, e.g. `coco8`, to `home/datasets`.

    Returns:
        A data YAML with absolute paths.

    Raises:
        DataError: if Ultralytics ships no such name or the download fails.
    """
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise DataError(f"data: must be a path or the name of a data set, but got {name!r}")
    folder, name = home / "datasets", name.removesuffix(".yaml")
    if (known := folder / f"{name}.yaml").is_file():  # written when all the rest was there
        return known
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return fetch("dataset", name, folder)
    except OSError as error:
        raise DataError(f"data: {name}: no such file, and it could not be downloaded: {error}") from error


def fetch(kind: Literal["weights", "dataset"], name: str, folder: Path) -> Path:
    """Download a file of weights or a data set into a folder.

    Returns:
        The file, or the data set's YAML.

    Raises:
        OSError: if there is no network, no such name, or no end.
    """
    command = [sys.executable, "-m", "workers.yolo12.fetch", kind, name, str(folder.resolve())]
    environment = os.environ | {"YOLO_OFFLINE": OFFLINE_BEFORE, "YOLO_AUTOINSTALL": "false"}
    try:
        done = subprocess.run(  # noqa: S603 - our own module, and a checked name
            command, env=environment, capture_output=True, text=True, timeout=FETCH_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"gave up after {FETCH_TIMEOUT:.0f} s") from error
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["no answer"]
    if done.returncode:
        raise OSError(lines[-1])
    return Path(lines[-1])
