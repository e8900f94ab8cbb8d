"""Where trials run: in each driver's own process, or on a Ray of this machine that all drivers share."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psutil

from api.supervisor.drivers import abandon
from api.supervisor.ending import end
from api.supervisor.tail import last_line

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 5.0, 60.0
END_SECONDS = 10.0
LARGEST_LOG_BYTES = 2**20
_LOOKS, _LOOK_SECONDS = 5, 0.05
FOREIGN = ("RAY_AUTH_", "RAY_ADDRESS")
"""Variables that are about another Ray than ours."""


class Pool(Protocol):
    """The workers of a service. All calls come from one thread, and none takes long."""

    @property
    def slots(self) -> int:
        """Trials that can run at once over all searches."""
        ...

    @property
    def gpus(self) -> float:
        """GPUs that there are."""
        ...

    @property
    def slots_of_a_search(self) -> int:
        """The same for one search."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether a driver could use it now; if not, it is being started."""
        ...

    @property
    def arguments(self) -> Sequence[str]:
        """What a driver is told of it on its command line."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What a driver is told of it in its environment."""
        ...

    def held(self) -> AbstractContextManager[Sequence[int]]:
        """A context in which it does not end by itself: files that a driver inherits and so keeps it alive."""
        ...

    def close(self, *, for_good: bool) -> None:
        """Let go of it; `for_good` where nobody uses it any more."""
        ...


class InlinePool:
    """No pool at all: every driver trains in its own process, one trial after the other.

    Args:
        slots: Searches that may do so at once.
        gpus: GPUs of this machine.
        gpus_per_trial: What a trial counts as having; None leaves it to the driver.
    """

    slots_of_a_search = 1
    is_ready = True

    def __init__(self, slots: int, gpus: float, gpus_per_trial: float | None) -> None:
        self.slots = slots
        self.gpus = gpus
        self.arguments = ["--inline", *_option("--gpus-per-trial", gpus_per_trial)]
        self.environment: Mapping[str, str] = {}

    @contextmanager
    def held(self) -> Iterator[Sequence[int]]:
        """Nothing to hold."""
        yield ()

    def close(self, *, for_good: bool) -> None:
        """Nothing to let go of."""


class LocalPool:
    """A Ray of this machine, which is started when it is first needed and outlives the service.

    The process that holds it is `workers.ray_pool`.

    Args:
        file: Where that process writes how it is reached.
        slots: Trials at once.
        cpus: Cores that it hands out.
        gpus: GPUs that it hands out.
        cpus_per_trial: Cores of a trial.
        gpus_per_trial: GPUs of a trial, or the share of one.
    """

    def __init__(
        self, file: Path, *, slots: int, cpus: int, gpus: int, cpus_per_trial: float, gpus_per_trial: float
    ) -> None:
        self.slots = self.slots_of_a_search = slots
        self.gpus = float(gpus)
        self._file = file
        self._log = file.with_suffix(".log")
        self._command = [sys.executable, "-P", "-m", "workers.ray_pool", str(file), str(cpus), str(gpus)]
        self._shares = [
            *_option("--cpus-per-trial", cpus_per_trial),
            *_option("--gpus-per-trial", gpus_per_trial),
        ]
        self._starting: subprocess.Popen[bytes] | None = None
        self._retry, self._pause = 0.0, FIRST_RETRY_SECONDS
        self._reached: Mapping[str, Any] = {}

    @property
    def is_ready(self) -> bool:
        """Whether it can be used; starts it if it is not there."""
        self._reached = read_pool(self._file) or {}
        if self._reached:
            self._pause = FIRST_RETRY_SECONDS
        else:
            self._start()
        return bool(self._reached)

    @property
    def arguments(self) -> Sequence[str]:
        """Its address, and what a trial may take of it."""
        return ["--ray-address", str(self._reached["address"]), *self._shares]

    @property
    def environment(self) -> Mapping[str, str]:
        """The token that it demands, and that Ray stays on the loopback interface."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": str(self._reached["token"]),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }

    @contextmanager
    def held(self) -> Iterator[Sequence[int]]:
        """A shared lock, which whoever inherits it holds as long as it lives.

        Raises:
            BlockingIOError: the pool is ending just now.
        """
        with open(self._file.with_suffix(".lock"), "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield (lock.fileno(),)

    def close(self, *, for_good: bool) -> None:
        """Leave it to the drivers that use it; without any, tell it to end."""
        if for_good and self._is_free():
            if (found := read_pool(self._file)) is not None:
                with suppress(ProcessLookupError):
                    os.kill(int(found["pid"]), signal.SIGTERM)
            if self._starting is not None:
                self._starting.terminate()
        if self._starting is not None:
            abandon(self._starting)

    def _is_free(self) -> bool:
        """Whether no driver holds it, one of a service before us that we have not seen yet included."""
        if not self._file.parent.exists():
            return True
        with open(self._file.with_suffix(".lock"), "ab") as lock:
            for _ in range(_LOOKS):  # the pool itself looks now and then, for a moment
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                time.sleep(_LOOK_SECONDS)
        return False

    def _start(self) -> None:
        if self._starting is not None:
            if self._starting.poll() is None:
                return
            log.warning("the pool of workers ended: %s", last_line(self._log) or self._starting.returncode)
            self._starting = None
            self._retry = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_RETRY_SECONDS)
        if time.monotonic() < self._retry:
            return
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > LARGEST_LOG_BYTES:
            self._log.unlink()
        with self._log.open("ab") as output:
            self._starting = subprocess.Popen(  # noqa: S603 - our own module
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**kept, "RAY_AUTH_MODE": "token"},
                start_new_session=True,
            )


def read_pool(file: Path) -> Mapping[str, Any] | None:
    """How the pool of a file is reached; None unless it lives."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        process = psutil.Process(int(found["pid"]))
        lives = abs(process.create_time() - float(found["started"])) < 1.0 and process.status() != "zombie"
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return found if lives else None


def end_pool(file: Path, seconds: float = END_SECONDS) -> bool:
    """End the pool of a file in order; returns whether there was one."""
    found = read_pool(file)
    if found is None:
        return False
    end([int(found["pid"])], seconds)  # what it leaves behind if it is killed, its guardian ends
    return True


def _option(name: str, value: float | None) -> list[str]:
    return [] if value is None else [name, f"{value:g}"]
