"""The service in tests: an application over a ledger, and a client that calls it without a network."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from api.app import create_app
from api.options import Limits, ServiceOptions
from api.supervisor.status import PoolStatus
from evolve.keys import make_key
from evolve.ledger import Ledger
from evolve.settings import Settings

GENEROUS = Limits(requests_per_second=1e6, request_burst=1e6, failures_per_second=1e6, failure_burst=1e6)

OUTSIDE = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")


class FakeSupervisor:
    """Counts how often it is poked, and drives nothing."""

    def __init__(self) -> None:
        self.pokes = 0

    def poke(self) -> None:
        self.pokes += 1

    def snapshot(self) -> PoolStatus:
        return PoolStatus(slots=4, used=1, gpus=2.0, queued=3)


def make_app(ledger: Ledger, home: Path, *, limits: Limits = GENEROUS, **options: Any) -> FastAPI:
    settings = Settings(home=home)
    return create_app(ledger, settings, FakeSupervisor(), options=ServiceOptions(limits=limits, **options))


def add_key(ledger: Ledger, scope: str, name: str = "") -> str:
    new, token = make_key(name or scope, [scope])
    ledger.registry.add_key(**new)
    return token


class Api:
    """Calls an application from tests that know no event loop."""

    def __init__(self, app: FastAPI, key: str | None = None, *, address: str = "127.0.0.1") -> None:
        self.app = app
        self.key = key
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=(address, 4711)), base_url="http://localhost:8000"
        )

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
        self.app.state.service.threads.close()

    def call(self, method: str, path: str, *, key: str | None = None, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        token = self.key if key is None else key
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        if not path.startswith("/api/") and path not in OUTSIDE:
            path = f"/api/v1{path}"
        return self._runner.run(self._client.request(method, path, headers=headers, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.call("POST", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.call("DELETE", path, **options)


@contextmanager
def opened(ledger_url: str, home: Path, **options: Any) -> Iterator[tuple[Api, Ledger]]:
    """An application over a ledger, with an admin's key."""
    with Ledger(ledger_url) as ledger:
        api = Api(make_app(ledger, home, **options), add_key(ledger, "admin"))
        try:
            yield api, ledger
        finally:
            api.close()


def line_of(response: httpx.Response, status: int) -> str:
    """The one line that says what is wrong."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["detail"]
    line: str = body["detail"]
    assert line
    assert "\n" not in line
    return line


def assert_one_line(response: httpx.Response) -> None:
    line_of(response, response.status_code)


def fields(record: object) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}  # type: ignore[arg-type]
