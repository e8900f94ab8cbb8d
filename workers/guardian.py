"""Outlives a driver that is killed, and ends what the driver's local Ray leaves behind.

Ray's processes watch their parents, but its agents take minutes to notice, and what a trial started notices
nothing. All of them carry `MARKER` in their environment, with the folder of their Ray session as its value, or
log into that folder: the agents' titles overwrite their environment.
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
    """Kill every process that belongs to the Ray session in `directory`; returns how many there were."""
    family = [process for process in psutil.process_iter() if _belongs(process, directory)]
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=1.0)
    return len(family)


def _belongs(process: psutil.Process, directory: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get(MARKER) == directory or any(
            Path(file.path).is_relative_to(directory) for file in process.open_files()
        )
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
