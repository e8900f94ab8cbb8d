"""Builds a folder once, however many processes ask for it and however often one of them is killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def built_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Make sure that `folder` exists with everything that `build` puts into it, or not at all.

    Args:
        folder: The folder; where it exists already, nothing is done.
        build: Fills the empty folder that it is given, which then becomes `folder`.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return
        building = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed while it held the lock
        building.mkdir()
        build(building)
        building.rename(folder)
