"""The processes that drive searches: started detached, so that they outlive the service, and found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from api.supervisor.tail import last_line
from evolve.ledger import SearchRecord
from evolve.ledger.owner import identity_of, is_dead, local_pid
from evolve.settings import Settings

LOG, NOTE = "driver.log", "driver.json"
LARGEST_LOG_BYTES = 2**20


@dataclass(frozen=True)
class Driver:
    """A process that drives a search, or will as soon as it has the lease.

    Attributes:
        search_id: The search.
        owner: Who it is, as `evolve.ledger.owner` knows it.
        since: When it was started, or found; seconds since the epoch.
        log: Where it writes.
        log_start: Where in that file its own lines begin.
        started: When it was started or found, on the monotonic clock.
    """

    search_id: str
    owner: str
    since: float
    log: Path
    log_start: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int | None:
        """Its process id; None if it is on another machine."""
        return local_pid(self.owner)

    @property
    def is_alive(self) -> bool:
        """Whether it is a living process of this machine; of others, only the lease knows."""
        return self.pid is not None and not is_dead(self.owner)

    def last_words(self) -> str:
        """The last line that it wrote."""
        return last_line(self.log, self.log_start)


class Launcher:
    """Starts drivers, and knows how those that it started ended.

    Args:
        settings: Where drivers keep things: the same place as ours.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def launch(
        self,
        search: SearchRecord,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        files: Sequence[int],
    ) -> Driver:
        """Start a driver.

        Args:
            search: What it is to drive.
            arguments: Of its command line.
            environment: Beside our own.
            files: What it inherits.

        Raises:
            OSError: it could not be started.
        """
        directory = Path(search.directory)
        directory.mkdir(parents=True, exist_ok=True)
        log = directory / LOG
        if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        now = datetime.now(UTC)
        with log.open("ab") as output:
            output.write(f"--- driver started at {now.isoformat(' ', 'seconds')}\n".encode())
            output.flush()
            log_start = output.tell()
            child = subprocess.Popen(  # noqa: S603 - our own command
                # without -P, modules in the working directory would hide ours
                [sys.executable, "-P", "-m", "evolve", "drive", search.id, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment(), **environment},
                start_new_session=True,
                pass_fds=files,
            )
        self._children[child.pid] = child
        driver = Driver(search.id, _identity(child), now.timestamp(), log, log_start)
        note = {"owner": driver.owner, "since": driver.since}
        (directory / NOTE).write_text(json.dumps(note), encoding="utf-8")
        return driver

    def find(self, search: SearchRecord) -> Driver | None:
        """The living driver of a search that somebody else started: it has the lease, or is about to take it."""
        directory = Path(search.directory)
        noted = _read_note(directory / NOTE, search)
        if search.leased and search.owner is not None and not is_dead(search.owner):
            same = noted is not None and noted.pid == local_pid(search.owner)
            return noted if same else Driver(search.id, search.owner, time.time(), directory / LOG)
        return noted if noted is not None and noted.is_alive else None

    def exit_code(self, driver: Driver) -> int | None:
        """How a driver ended; None if it lives or was started by somebody else."""
        child = self._children.get(driver.pid or 0)
        return None if child is None else child.poll()

    def reap(self) -> None:
        """Look which children have ended; to be called before the ledger is asked about their searches."""
        for pid in [pid for pid, child in self._children.items() if child.returncode is not None]:
            del self._children[pid]
        for child in self._children.values():
            child.poll()

    def let_go(self) -> None:
        """Leave the drivers to themselves."""
        for child in self._children.values():
            abandon(child)
        self._children.clear()

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        return {
            "EVOLVE_HOME": str(settings.home.absolute()),
            "EVOLVE_DATABASE_URL": settings.ledger_url,
            "EVOLVE_MIN_FREE_GB": str(settings.min_free_gb),
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
        }


def abandon(child: subprocess.Popen[bytes]) -> None:
    """Let a child outlive us on purpose; to forget one that seems to run would be taken for an oversight."""
    if child.poll() is None:
        child.returncode = 0


def kill(driver: Driver) -> None:
    """Kill a driver; nothing that is finished is lost by that."""
    if driver.pid is None:
        return
    with suppress(psutil.NoSuchProcess):
        psutil.Process(driver.pid).kill()


def _identity(child: subprocess.Popen[bytes]) -> str:
    try:
        return identity_of(child.pid)
    except psutil.Error:  # as dead as a process that never was
        return ""


def _read_note(path: Path, search: SearchRecord) -> Driver | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return Driver(search.id, str(note["owner"]), float(note["since"]), path.with_name(LOG))
    except (OSError, ValueError, KeyError, TypeError):
        return None
