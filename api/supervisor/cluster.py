"""Trials on somebody else's Ray cluster, whose nodes come and go."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from api.supervisor.tail import last_line
from evolve.compose.capacity import Node, room

log = logging.getLogger(__name__)

STALE_SECONDS = 60.0
"""After so long without news of the cluster, nothing is started on it, and its watcher is started anew."""
RETRY_SECONDS = 10.0
END_SECONDS = 5.0


class ClusterPool:
    """The workers of a Ray cluster, as many as its living nodes have room for.

    Args:
        address: `host:port` of the cluster; its token is in our environment.
        most: Trials at once at most; None for as many as there is room for.
        gpus_per_trial: GPUs of a trial, or the share of one; None for 1 where there are any.
        log: Where the process writes that watches the cluster.
    """

    def __init__(self, address: str, most: int | None, gpus_per_trial: float | None, log: Path) -> None:
        share = [] if gpus_per_trial is None else ["--gpus-per-trial", f"{gpus_per_trial:g}"]
        self.arguments: Sequence[str] = ["--ray-address", address, *share]
        self.environment: Mapping[str, str] = {}
        self._most = most
        self._gpus_per_trial = gpus_per_trial
        self._survey = Survey(address, log)

    @property
    def slots(self) -> int:
        """Trials that can run at once over all searches; 0 while the cluster does not answer."""
        nodes = self._survey.nodes()
        gpus = sum(node.get("GPU", 0.0) for node in nodes)
        share = self._gpus_per_trial if self._gpus_per_trial is not None else float(gpus > 0)
        found = room(nodes, share)
        return found if self._most is None else min(found, self._most)

    @property
    def slots_of_a_search(self) -> int:
        """One search may have all of it."""
        return self.slots

    @property
    def gpus(self) -> float:
        """GPUs of all living nodes."""
        return sum(node.get("GPU", 0.0) for node in self._survey.nodes())

    @property
    def is_ready(self) -> bool:
        """Whether the cluster answers."""
        return bool(self._survey.nodes())

    @contextmanager
    def held(self) -> Iterator[Sequence[int]]:
        """It does not end by our doing."""
        yield ()

    def close(self, *, for_good: bool) -> None:
        """Look no longer."""
        self._survey.close()


class Survey:
    """Keeps a process at work that looks at the cluster, see `workers.ray_survey`, and reads what it says.

    Args:
        address: Of the cluster.
        log: Where that process writes complaints.
    """

    def __init__(self, address: str, log: Path) -> None:
        self._command = self._command_for(address)
        self._log = log
        self._nodes: Sequence[Node] = ()
        self._heard = self._started = float("-inf")
        self._process: subprocess.Popen[str] | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-survey", daemon=True)
        self._thread.start()

    def nodes(self) -> Sequence[Node]:
        """What the living nodes have; nothing while the cluster does not answer."""
        now = time.monotonic()
        process = self._process
        if process is not None and now - max(self._heard, self._started) > STALE_SECONDS:
            process.kill()  # a head that was started anew never answers whom it does not know
        return self._nodes if now - self._heard < STALE_SECONDS else ()

    def close(self) -> None:
        """End that process."""
        self._closing.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join(END_SECONDS)

    def _command_for(self, address: str) -> Sequence[str]:
        return [sys.executable, "-P", "-m", "workers.ray_survey", address]

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen()
            except (OSError, ValueError) as error:
                log.warning("the cluster cannot be watched: %s", error)
            self._closing.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        """Read what one such process says until it ends."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._log.open("w") as complaints,
            subprocess.Popen(  # noqa: S603 - our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                start_new_session=True,
            ) as process,
        ):
            self._process, self._started = process, time.monotonic()
            for line in process.stdout or ():
                self._nodes = json.loads(line)
                self._heard = time.monotonic()
                if self._closing.is_set():
                    process.kill()
        if not self._closing.is_set():
            log.warning("the cluster does not answer: %s", last_line(self._log) or "its watcher was killed")
