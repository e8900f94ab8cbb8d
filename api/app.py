"""The application: its parts, its routes, its OpenAPI document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api import service
from api.auth import Doorkeeper
from api.deps import BODY, SCOPE, Service, SupervisorLike, scope_of
from api.docs import add_docs
from api.events import EventHub
from api.guard import Guard
from api.limits import RateLimit
from api.metrics import Metrics
from api.options import ServiceOptions
from api.problems import handle_problems
from api.routes import catalogue, events, health, keys, results, searches, webhooks
from api.threads import Threads
from api.webhooks import AddressGuard, WebhookDispatcher
from evolve.ledger import Ledger
from evolve.settings import Settings

ROUTERS = (
    searches.routes,
    results.routes,
    events.routes,
    catalogue.routes,
    keys.routes,
    webhooks.routes,
    health.routes,
)

_WEBHOOK_SECONDS = 2.0
"""For deliveries that are under way when the service ends; the others follow after its next start."""
_TITLE = "Evolve"
_DESCRIPTION = """\
Searches for the hyperparameters with which a YOLO12 detector trains best: submit them, watch them, compare them.

Documents come as JSON or YAML, lists as `{"data": [...], "count": n}`, and whatever is wrong as `{"detail": "one
line"}`. Times are seconds since the epoch. Send a key as `Authorization: Bearer evk_...`.
"""


def create_app(
    ledger: Ledger, settings: Settings, supervisor: SupervisorLike, *, options: ServiceOptions
) -> FastAPI:
    """Make the application.

    Its `state.service` holds the parts. A server that is about to end calls `state.service.hub.close()`, so that
    the event streams end, too.

    Args:
        ledger: Where searches are recorded.
        settings: Where things are kept.
        supervisor: Runs what is in the queue.
        options: How the service was started.

    Raises:
        InputError: if the settings say nonsense about webhooks.
    """
    AddressGuard.parse(settings.webhook_allow)  # now, when somebody is there to read what is wrong
    app = FastAPI(
        title=_TITLE,
        description=_DESCRIPTION,
        version=version("evolve-yolo"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    parts = _parts(ledger, settings, supervisor, options)
    app.state.service = parts
    app.add_middleware(Guard, service=parts)
    handle_problems(app)
    for router in ROUTERS:
        app.router.routes.extend(router.routes)  # including them would double the time of a small answer
    add_docs(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _parts(ledger: Ledger, settings: Settings, supervisor: SupervisorLike, options: ServiceOptions) -> Service:
    limits, threads = options.limits, Threads()
    return Service(
        ledger=ledger,
        settings=settings,
        supervisor=supervisor,
        options=options,
        doorkeeper=Doorkeeper(ledger.registry, local=options.is_local),
        requests=RateLimit(limits.requests_per_second, limits.request_burst),
        failures=RateLimit(limits.failures_per_second, limits.failure_burst),
        threads=threads,
        hub=EventHub(ledger, threads, most=limits.streams, most_each=limits.streams_per_key),
        metrics=Metrics(ledger, supervisor),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Service = app.state.service
    parts.threads.aside(service.environment)  # the first submission need not wait for it
    guard = AddressGuard.parse(parts.settings.webhook_allow)
    dispatcher = WebhookDispatcher(parts.ledger, guard, parts.settings.home / "locks").start()
    yield
    parts.hub.close()
    dispatcher.stop(_WEBHOOK_SECONDS)
    parts.threads.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        routes = [route for router in ROUTERS for route in router.routes]  # and none of the dashboard's
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=routes)
        _add_bodies(document)
        for route in routes:
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    document["paths"][route.path_format][method.lower()][SCOPE] = scope_of(route)
        app.openapi_schema = document
    return app.openapi_schema


def _add_bodies(document: dict[str, Any]) -> None:
    """Put the models of bodies, which routes read by themselves, among the others."""
    schemas = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            if model := operation.pop(BODY, None):
                schemas.update(model.pop("$defs", {}))
                schemas[model["title"]] = model
