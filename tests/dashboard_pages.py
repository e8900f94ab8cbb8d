"""Pages of the dashboard without a browser: their elements live, and nobody draws them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from fastapi import Request
from nicegui import Client, ui

from api.auth import Doorkeeper, Principal
from api.dashboard.session import COOKIE
from api.dashboard.site import SCOPE_KEY, Site
from api.limits import RateLimit
from api.options import ServiceOptions
from api.threads import Threads
from dashboard_helpers import FakeSupervisor
from evolve.ledger import Ledger
from evolve.settings import Settings


@contextmanager
def site_of(ledger: Ledger, home: Path) -> Iterator[Site]:
    """The parts of a service that pages need."""
    threads = Threads()
    service = SimpleNamespace(
        threads=threads,
        doorkeeper=Doorkeeper(ledger.registry, local=True),
        requests=RateLimit(500, 1000),
        failures=RateLimit(1, 3),
    )
    site = Site(ledger, Settings(home=home), FakeSupervisor(), ServiceOptions(), service)
    try:
        yield site
    finally:
        site.close()
        threads.close()


@contextmanager
def opened(site: Site, principal: Principal | None = None) -> Iterator[Client]:
    """A page that somebody has open; to be used within a running loop."""
    headers = []
    if principal is not None:
        headers = [(b"cookie", f"{COOKIE}={site.sessions.cookie(principal)}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b"", SCOPE_KEY: site}
    with Client(ui.page("/for-tests"), request=Request(scope)) as client:
        yield client
    if not client.is_deleted:
        client.delete()


def words(client: Client) -> str:
    """All that is written on a page."""
    found = (getattr(each, "text", "") for each in client.content.descendants())
    return "\n".join(each for each in found if isinstance(each, str))
