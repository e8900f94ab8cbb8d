"""The Ray that all searches of a service share: a process that outlives the service while a search trains.

Run as `python -m workers.ray_pool FILE CPUS GPUS`. It writes to FILE how it is reached, readable for its owner
only, and ends on SIGTERM, or when for long nobody has held a shared lock on the file beside it that ends in
`.lock`. The FILE is gone before Ray is. A second one for the same FILE ends at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import ray

from workers.ray_cluster import RayCluster

IDLE_SECONDS = 600.0
LOOK_SECONDS = 2.0


def main(file: Path, cpus: int, gpus: int) -> None:
    """Hold a Ray of this machine until nobody needs it any more."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(file.with_suffix(".lock"), "ab") as lock, open(file.with_suffix(".held"), "ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another pool starts already")
        cluster = RayCluster(cpus=cpus, gpus=gpus)
        try:
            _announce(file, cpus, gpus)
            _wait(lock.fileno(), ended)
        finally:
            file.unlink(missing_ok=True)
            cluster.close()


def _announce(file: Path, cpus: int, gpus: int) -> None:
    found = {
        "address": ray.get_runtime_context().gcs_address,
        "token": os.environ["RAY_AUTH_TOKEN"],
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "cpus": cpus,
        "gpus": gpus,
    }
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(found, opened)
    draft.replace(file)


def _wait(lock: int, ended: threading.Event) -> None:
    """Until told to end, or until nobody can come any more: whoever would is kept out by the lock."""
    used = time.monotonic()
    while not ended.wait(LOOK_SECONDS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or on a disk that knows no locks
            used = time.monotonic()
            continue
        if time.monotonic() - used > IDLE_SECONDS:
            return
        fcntl.flock(lock, fcntl.LOCK_UN)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
