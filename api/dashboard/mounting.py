"""Puts the dashboard under a FastAPI app.

NiceGUI is one application for a whole process. So that several services can live in one process, as they do in
tests, its pages learn from each request which service they belong to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dashboard.site import SCOPE_KEY, Site
from api.dashboard.theme import ASSETS, ASSETS_PATH, FAVICON
from api.deps import address_of, throttle
from api.options import ServiceOptions

if TYPE_CHECKING:
    from api.deps import SupervisorLike
    from evolve.ledger import Ledger
    from evolve.settings import Settings

_PAGES = (
    "login",
    "searches",
    "search",
    "individual",
    "compare",
    "submit",
    "keys",
    "datasets",
    "downloads",
    "missing",
)
_RECONNECT_SECONDS = 20.0
_FILES = (ASSETS_PATH, "/_nicegui")
"""What a page loads beside itself, dozens of files at once; they cost nothing to speak of."""

# NiceGUI's templates and Vue's compiler need inline and evaluated scripts; nothing may come from elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


def mount(
    app: FastAPI, ledger: Ledger, settings: Settings, supervisor: SupervisorLike, options: ServiceOptions
) -> None:
    """Serve the dashboard at `/` of an app; to be called when the app has all its other routes.

    Args:
        app: Where it is served, beside the API; of `api.app.create_app`.
        ledger: Where everything is recorded.
        settings: Where things are kept.
        supervisor: Drives the searches.
        options: How the service was started.
    """
    site = Site(ledger, settings, supervisor, options, app.state.service)
    app.mount("/", _Dashboard(_interface(), site))
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(parent: FastAPI) -> AsyncIterator[Any]:
        async with _engine.running(), before(parent) as state:
            yield state
        site.close()

    app.router.lifespan_context = lifespan


class _Dashboard:
    """Tells NiceGUI's pages which service they belong to, and says what browsers may load."""

    def __init__(self, interface: ASGIApp, site: Site) -> None:
        self._interface = interface
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY] = self._site
        if scope["type"] != "http":
            await self._interface(scope, receive, send)
            return
        if scope["path"].startswith("/api/"):  # programs get JSON, not a page
            raise HTTPException(404, "Not Found")
        if not scope["path"].startswith(_FILES):
            throttle(self._site.service.requests, ("pages", address_of(HTTPConnection(scope))))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                given = {name.lower() for name, _ in headers}
                message["headers"] = [*headers, *(header for header in _HEADERS if header[0] not in given)]
            await send(message)

        await self._interface(scope, receive, send_guarded)


@cache
def _interface() -> FastAPI:
    """NiceGUI with our pages, once for the process."""
    for name in _PAGES:
        import_module(f"api.dashboard.pages.{name}")  # its pages enter themselves
    nicegui_app.add_static_files(ASSETS_PATH, ASSETS)
    interface = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.run_with(
        interface,
        title="Evolve",
        favicon=FAVICON,
        dark=None,
        language="en-US",
        binding_refresh_interval=None,
        reconnect_timeout=_RECONNECT_SECONDS,
        tailwind=False,
        show_welcome_message=False,
    )
    return interface


class _Engine:
    """NiceGUI's own start and end, which happen once however many apps carry it."""

    def __init__(self) -> None:
        self._users = 0
        self._stack = AsyncExitStack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        interface = _interface()
        if self._users == 0:
            self._stack = AsyncExitStack()
            await self._stack.enter_async_context(interface.router.lifespan_context(interface))
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                await self._stack.aclose()


_engine = _Engine()
