"""Ends processes in order, and those that do not obey at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

_LOOK_SECONDS = 0.1


def end(pids: Iterable[int], seconds: float) -> int:
    """Tell processes to end, and kill those that have not after a while.

    Args:
        pids: Their ids; those that are gone are left out.
        seconds: How long to wait.

    Returns:
        How many were killed.
    """
    processes = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.terminate()
            processes.append(process)
    alive = _wait(processes, seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(alive, seconds)
    return len(alive)


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that live on; one that its parent has not noticed to be dead does not."""
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_LOOK_SECONDS)
    return alive


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
