"""Real servers with the dashboard on them, and a real browser to look at it with."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from api.app import create_app
from api.dashboard import mount
from api.options import ServiceOptions
from dashboard_helpers import FakeSupervisor
from evolve.ledger import Ledger
from evolve.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A service that answers at `url`."""

    url: str
    home: Path
    ledger: Ledger
    supervisor: FakeSupervisor
    app: object


def _prepare(home: Path) -> tuple[Served, socket.socket]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    settings = Settings(home=home)
    ledger = Ledger(settings.ledger_url)
    supervisor = FakeSupervisor()
    options = ServiceOptions(port=port)
    app = create_app(ledger, settings, supervisor, options=options)
    mount(app, ledger, settings, supervisor, options)
    return Served(f"http://127.0.0.1:{port}", home, ledger, supervisor, app), listening


@contextmanager
def serving(*homes: Path) -> Iterator[list[Served]]:
    """A service for each home, all of them in one thread, as NiceGUI is one application for a process."""
    prepared = [_prepare(home) for home in homes]
    servers = [
        uvicorn.Server(uvicorn.Config(served.app, log_level="error", timeout_graceful_shutdown=2))
        for served, _ in prepared
    ]

    async def run() -> None:
        await asyncio.gather(
            *(server.serve([listening]) for server, (_, listening) in zip(servers, prepared, strict=True))
        )

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not all(server.started for server in servers):
        assert thread.is_alive(), "the servers did not start"
        assert time.monotonic() < deadline, "the servers did not start in time"
        time.sleep(0.05)
    try:
        yield [served for served, _ in prepared]
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(20)
        for served, listening in prepared:
            listening.close()
            served.ledger.close()


@contextmanager
def browsing():
    """A headless Chromium; skips where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM} here")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield browser
        browser.close()
