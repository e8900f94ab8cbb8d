"""What stands before every route, pages included: foreign sites, foreign names, long and slow bodies.

A browser carries requests of any site to this machine's ports. While there are no keys that would be all that an
attacker needs, so the service then answers to this machine's names only (DNS rebinding) and to nothing that shows
to have come through a proxy; and it never takes what another site sends without a key of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.options import LOOPBACK_NAMES, host_name
from api.problems import problem
from evolve.exceptions import LedgerError
from evolve.yaml_io import MAX_BYTES

if TYPE_CHECKING:
    from api.deps import Service

API = "/api/"
PAGE_BODY = 1024 * 1024
"""Longest body outside the API, where the dashboard's own messages go."""

_READS = frozenset(("GET", "HEAD"))
_PROXIES = frozenset((b"forwarded", b"x-real-ip", b"via"))
_FORWARDED = b"x-forwarded"
_NAMES = frozenset((b"host", b"origin", b"authorization", b"sec-fetch-site", b"sec-fetch-mode", b"content-length"))
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API_HEADERS = (
    *_ALWAYS,
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_PAGE_HEADERS = (
    *_ALWAYS,
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"content-security-policy", b"frame-ancestors 'self'; object-src 'none'; base-uri 'self'"),
)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        service: Its parts.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._names = service.options.limits.host_names
        self._body_seconds = service.options.limits.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = await self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            return
        answer = _Answer(self._service, scope, send)
        if refusal is not None:
            await problem(*refusal)(scope, receive, answer)
            return
        limit = MAX_BYTES if scope["path"].startswith(API) else PAGE_BODY
        if _length(scope) > limit:
            detail = f"body: at most {limit // 1024} KiB are taken; make it shorter"
            await problem(413, detail, {"Connection": "close"})(scope, receive, answer)
            return
        body = receive if scope["method"] in _READS else _Body(receive, limit, self._body_seconds)
        await self._app(scope, body, answer)

    async def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _NAMES}
        host = headers.get(b"host", "")
        name = host_name(host)
        if self._names and name not in self._names and name not in LOOPBACK_NAMES:
            return 421, f"Host: this service does not answer to {name[:100]!r}; see EVOLVE_ALLOWED_HOSTS"
        if await self._is_open():
            if name not in LOOPBACK_NAMES and name not in self._names:
                return 421, f"Host: without keys only this machine's names are answered to, not {name[:100]!r}"
            if _is_passed_on(scope):
                return (
                    403,
                    "without keys nothing is taken from a proxy, or in HTTP/1.0; make one with `evolve key create`",
                )
        return _cross_site(scope, headers, host)

    async def _is_open(self) -> bool:
        door = self._service.doorkeeper
        known = door.recall_open()
        if known is not None:
            return known
        try:
            return await self._service.threads.read(door.is_open)
        except LedgerError:  # as long as that is not known, both rules hold
            return True


def _is_passed_on(scope: Scope) -> bool:
    """Whether a proxy shows: by what it adds, or by HTTP/1.0, which nginx speaks where it is told nothing else."""
    if scope.get("http_version") == "1.0":
        return True
    return any(name in _PROXIES or name.startswith(_FORWARDED) for name, _ in scope["headers"])


def _cross_site(scope: Scope, headers: dict[bytes, str], host: str) -> tuple[int, str] | None:
    """Refuse what the page of another site sends; a link to here, and a program with a key, are welcome."""
    if headers.get(b"authorization", "").lower().startswith("bearer "):
        return None
    follows_link = headers.get(b"sec-fetch-mode") == "navigate" and scope.get("method") in _READS
    foreign = headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin") and not follows_link
    origin = headers.get(b"origin")
    if origin is not None and not _is_of(origin, host):
        foreign = True
    return (403, "requests of other sites are not taken; send a key from a program") if foreign else None


def _is_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # as for the brackets of an address that is none
        return False


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 2**63  # noqa: PLR2004 - a length, not text
    return 0


class _Body:
    """Counts the bytes of a body that announces no length, and the seconds that it takes to arrive."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._taken = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            raise HTTPException(
                408, f"body: must arrive within {self._seconds:g} s, but did not", {"Connection": "close"}
            ) from None
        self._taken += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._taken > self._limit:
            raise HTTPException(
                413,
                f"body: at most {self._limit // 1024} KiB are taken; make it shorter",
                {"Connection": "close"},
            )
        return message


class _Answer:
    """Sends an answer with the headers that every one has, and counts it."""

    def __init__(self, service: Service, scope: Scope, send: Send) -> None:
        self._service = service
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = _API_HEADERS if self._scope["path"].startswith(API) else _PAGE_HEADERS
            message = {**message, "headers": [*message.get("headers", ()), *_missing(headers, message)]}
            seconds = time.perf_counter() - self._began
            self._service.metrics.answered(self._scope["method"], route_of(self._scope), message["status"], seconds)
        await self._send(message)


def _missing(headers: Iterable[tuple[bytes, bytes]], message: Message) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in message.get("headers", ())}
    return [header for header in headers if header[0] not in given]


def route_of(scope: Scope) -> str:
    """The path of the route that answers, with its parameters' names: few, whatever is asked for."""
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return str(path) if path else "unmatched"
