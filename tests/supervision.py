"""Supervised searches in tests: real drivers on the synthetic objective, in a home of their own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from api.options import ServiceOptions
from api.supervisor import Patience, Supervisor
from api.supervisor.drivers import Launcher
from api.supervisor.pool import InlinePool, Pool
from evolve.ledger import EventKind, Ledger, SearchRecord, SearchState
from evolve.settings import Settings
from spaces import space

SECONDS = 120.0
FEW_DEATHS = Patience(quick_seconds=60, deaths=3, pause_seconds=0.2)


class Site:
    """A home with its ledger.

    Args:
        folder: The home.
        database_url: Of the ledger; a file in the home unless given.
    """

    def __init__(self, folder: Path, database_url: str = "") -> None:
        self.settings = Settings(home=folder, database_url=database_url)
        self.ledger = Ledger(self.settings.ledger_url)
        self._supervisors: list[Supervisor] = []

    def submit(
        self,
        name: str = "search",
        *,
        priority: int = 0,
        objective: str = "synthetic",
        population: int = 2,
        generations: int = 1,
        weights: str = "none",
        data_hash: str = "",
        notes: tuple[str, ...] = (),
        **train: Any,
    ) -> str:
        """Enter a search as the service does; returns its id."""
        searched = space(
            train={"epochs": 1, **train}, search={"population": population, "generations": generations}
        )
        search_id = os.urandom(4).hex()
        record, _ = self.ledger.registry.submit(
            name=name,
            document=searched.document(),
            objective=objective,
            options={"weights": weights, "notes": list(notes)},
            environment={},
            directory=str(self.settings.home.absolute() / "searches" / search_id),
            data_hash=data_hash,
            priority=priority,
            search_id=search_id,
        )
        return record.id

    def supervise(
        self, workers: int = 1, *, pool: Pool | None = None, patience: Patience = FEW_DEATHS
    ) -> Supervisor:
        """A supervisor that looks at the queue from now on."""
        options = ServiceOptions(pool="inline", workers=workers)
        self._supervisors.append(Supervisor(self.ledger, self.settings, options, pool=pool, patience=patience))
        self._supervisors[-1].start()
        return self._supervisors[-1]

    def search(self, search_id: str) -> SearchRecord:
        return self.ledger.search(search_id)

    def pid(self, search_id: str) -> int:
        """The process that drives a search."""
        driver = Launcher(self.settings).find(self.search(search_id))
        assert driver is not None
        assert driver.pid is not None
        return driver.pid

    def until(self, search_id: str, state: SearchState) -> SearchRecord:
        """Wait for a state."""
        wait_for(lambda: self.search(search_id).state is state, lambda: f"{self.search(search_id)} {self.logs()}")
        return self.search(search_id)

    def until_evaluated(self, search_id: str, count: int = 1) -> None:
        """Wait until so many individuals have a verdict."""
        wait_for(lambda: self.search(search_id).evaluated >= count, self.logs)

    def starts(self, search_id: str) -> int:
        """How many drivers have begun with a search."""
        kinds = [EventKind.SEARCH_STARTED]
        return len(self.ledger.events(search_id, limit=100_000, kinds=kinds))

    def logs(self) -> str:
        """What all drivers said."""
        return "\n".join(path.read_text() for path in self.settings.home.glob("searches/*/driver.log"))

    def close(self) -> None:
        """End every supervisor and every driver."""
        for supervisor in self._supervisors:
            supervisor.stop()
        launcher = Launcher(self.settings)
        for search in self.ledger.queue():
            if (driver := launcher.find(search)) is not None and driver.pid not in (None, os.getpid()):
                kill(driver.pid)
        self.ledger.close()


@contextmanager
def site(folder: Path, database_url: str = "") -> Iterator[Site]:
    """A home for a test; its drivers find an MLflow that cannot be used, as the real one takes long to load."""
    (folder / "python" / "mlflow").mkdir(parents=True)
    (folder / "python" / "mlflow" / "__init__.py").write_text("raise ImportError('not in this test')\n")
    opened = Site(folder, database_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "python"))
        try:
            yield opened
        finally:
            opened.close()


class BrokenPool(InlinePool):
    """Its drivers do not understand what they are told, and die at once."""

    def __init__(self) -> None:
        super().__init__(1, 0.0, None)
        self.arguments = ["--nonsense"]


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    try:
        process = psutil.Process(pid)
        os.kill(pid, signal.SIGKILL)
        process.wait(10)
    except (psutil.NoSuchProcess, ProcessLookupError, psutil.TimeoutExpired):
        return


def wait_for(condition: Callable[[], object], story: Callable[[], object] = str, seconds: float = SECONDS) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, story()
        time.sleep(0.05)
