"""Outlives a driver that is killed, and ends what the driver's local Ray leaves behind.

Ray's processes watch their parents, but its agents take minutes to notice, and what a trial started notices
nothing. All of them carry `MARKER` in their environment, with the folder of their Ray session as its value.
Run as `python guardian.py <pid of the driver> <folder>`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil

MARKER = "EVOLVE_RAY_DIRECTORY"
POLL_SECONDS = 0.5
GRACE_SECONDS = 3.0
SWEEPS = 10


def sweep(directory: str) -> int:
    """Kill every process that carries `directory` in its environment; returns how many there were."""
    marked = [process for process in psutil.process_iter() if _is_marked(process, directory)]
    for process in marked:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(marked, timeout=1.0)
    return len(marked)


def _is_marked(process: psutil.Process, directory: str) -> bool:
    try:
        return bool(process.environ().get(MARKER) == directory)
    except (psutil.Error, OSError):  # ended meanwhile, or not ours to look at
        return False


def clean(directory: str) -> None:
    """Kill what is left of a Ray session until nothing is, then remove its folder."""
    for _ in range(SWEEPS):
        if not sweep(directory):
            break
    shutil.rmtree(Path(directory), ignore_errors=True)


def main(driver: int, directory: str) -> None:
    """Wait for the death of our parent `driver`, give Ray a moment to go by itself, clean up."""
    while os.getppid() == driver:
        time.sleep(POLL_SECONDS)
    time.sleep(GRACE_SECONDS)
    clean(directory)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
