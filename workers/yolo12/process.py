"""What has to hold in a process before Ultralytics is imported into it, and right after.

Ultralytics reads its environment while it is imported, shares one unlocked `settings.json` between processes,
sends its integrations along with every training, and downloads fonts and packages in passing. A trial wants none
of that.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path

OFFLINE_BEFORE = os.environ.get("YOLO_OFFLINE", "false")
"""What the user wants; `prepare_process` takes only its own process off the network."""

INTEGRATIONS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


@functools.cache
def prepare_process() -> None:
    """Import Ultralytics quietly, offline and with settings of this process alone; later calls do nothing."""
    # Never the folder that a parent process handed down: settings.json is written without a lock.
    config = Path(tempfile.mkdtemp(prefix="evolve-ultralytics-"))
    atexit.register(_remove, config, os.getpid())
    # Threads that spin while they wait for each other slow trials that share cores down more than tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ |= {
        "YOLO_CONFIG_DIR": str(config),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "MPLBACKEND": "agg",
    }
    from ultralytics.utils import LOGGER, SETTINGS, USER_CONFIG_DIR, downloads

    LOGGER.setLevel(logging.ERROR)
    SETTINGS.update(sync=False, **dict.fromkeys(INTEGRATIONS, False))
    # The original takes quotes out of paths, and asks the network for a checkpoint that is not there.
    downloads.attempt_download_asset = str
    _provide_fonts(Path(USER_CONFIG_DIR))


def cpu_share() -> int:
    """CPU threads that this process may use: what its worker was given, else all that it may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))


def _provide_fonts(folder: Path) -> None:
    """Every check of a data set asks the network for these unless they lie here; no plot ever uses them."""
    import matplotlib

    stand_in = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if stand_in.exists() and not (folder / name).exists():
            (folder / name).symlink_to(stand_in)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked data loader
        shutil.rmtree(folder, ignore_errors=True)
