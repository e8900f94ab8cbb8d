"""The log file of a process that nobody watches."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

LOOK_SECONDS = 10.0
MOST_BYTES = 4 * 2**20
KEPT_BYTES = 2**18


def limit_log(descriptor: int = 1, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> None:
    """Keep a log that this process appends to from growing without end: of one too large, the end is kept.

    Args:
        descriptor: The file, opened for appending.
        most: Bytes that are too many.
        kept: Bytes that are kept then.
    """

    def watch() -> None:
        while True:
            with suppress(OSError):
                trim(descriptor, most, kept)
            pause.wait(LOOK_SECONDS)

    pause = threading.Event()
    threading.Thread(target=watch, name="log-limit", daemon=True).start()


def trim(descriptor: int, most: int, kept: int) -> None:
    """Cut the beginning of a file that is too large, but for whole lines at its end.

    Raises:
        OSError: if it is no file that can be read and cut.
    """
    size = os.fstat(descriptor).st_size
    if size <= most:
        return
    end = os.pread(descriptor, kept, size - kept)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"[...]\n" + end.partition(b"\n")[2])
