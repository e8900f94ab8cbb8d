"""The real application on a real server in this process, over a ledger that tests write to as drivers do."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import uvicorn

from api.app import create_app
from api.options import ServiceOptions
from api.supervisor.status import PoolStatus
from evolve.keys import make_key
from evolve.ledger import Lease, Ledger, SearchState
from evolve.settings import Settings
from ledger_fixtures import live


class IdleSupervisor:
    """Drives nothing, and counts how often it is poked."""

    def __init__(self) -> None:
        self.pokes = 0

    def poke(self) -> None:
        self.pokes += 1

    def snapshot(self) -> PoolStatus:
        return PoolStatus(slots=2, used=0, gpus=0.0)


class RunningService:
    """A service on loopback that can be stopped and started again on its port."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.settings = Settings(home=home, **settings)
        self.ledger = Ledger(self.settings.ledger_url)
        self.supervisor = IdleSupervisor()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        options = ServiceOptions(port=self.port)
        app = create_app(self.ledger, self.settings, self.supervisor, options=options)
        config = uvicorn.Config(app, "127.0.0.1", self.port, log_config=None, timeout_graceful_shutdown=5)
        self._hub = app.state.service.hub
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + 60
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        self._hub.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self.stop()
        self.ledger.close()

    def key(self, scope: str) -> str:
        new, token = make_key(scope, [scope])
        self.ledger.registry.add_key(**new)
        return token


def drive(
    ledger: Ledger, search_id: str, scores: list[float], state: SearchState | None = SearchState.COMPLETED
) -> Lease:
    """Let a search evaluate these; it ends unless `state` is None."""
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        writing.start(resumed=False)
        for number, score in enumerate(scores):
            live(writing, search_id, number, score)
        writing.generation_finished(0, {"best": max(scores, default=None)})
    if state is not None:
        lease.release(state, "because")
    return lease
