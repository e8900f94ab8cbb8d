"""What every route depends on: the service's parts, and the scope that it declares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

from fastapi import Depends, HTTPException, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from api.auth import Doorkeeper, Principal
from api.documents import JSON_TYPE, YAML_TYPES, Document
from api.limits import RateLimit
from api.options import ServiceOptions
from api.supervisor.status import PoolStatus
from api.threads import Threads
from evolve.ledger import Ledger
from evolve.settings import Settings

if TYPE_CHECKING:
    from api.events import EventHub
    from api.metrics import Metrics

BODY = "x-body"
SCOPE = "x-scope"
"""Where the OpenAPI document says which scope an operation needs."""
REFERENCE = "#/components/schemas/{model}"


class SupervisorLike(Protocol):
    """What of the supervisor is used here."""

    def poke(self) -> None:
        """Look at the queue now."""
        ...

    def snapshot(self) -> PoolStatus:
        """The pool as it stands."""
        ...


@dataclass(frozen=True)
class Service:
    """The parts that requests are answered with; `app.state.service`."""

    ledger: Ledger
    settings: Settings
    supervisor: SupervisorLike
    options: ServiceOptions
    doorkeeper: Doorkeeper
    requests: RateLimit
    failures: RateLimit
    threads: Threads
    hub: EventHub
    metrics: Metrics


def service_of(connection: HTTPConnection) -> Service:
    """The service that an application belongs to."""
    service: Service = connection.app.state.service
    return service


def address_of(connection: HTTPConnection) -> str:
    """Where a caller is."""
    return connection.client.host if connection.client else "unknown"


def caller_of(principal: Principal, connection: HTTPConnection) -> str:
    """On whose account a request is: that of its key, or of its address while there is none."""
    return principal.key_id or address_of(connection)


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="`Authorization: Bearer evk_...`, a key that `evolve key create` or `POST /api/v1/keys` made.",
)


async def _token(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str | None:
    return credentials.credentials if credentials else None


TokenDep: TypeAlias = Annotated[str | None, Depends(_token)]
"""The key that a request presents."""


class Scope:
    """Lets through whose key has a scope, and not too often; every route declares one.

    Args:
        name: The scope that is needed.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, request: Request, token: TokenDep) -> Principal:
        """Whoever calls.

        Raises:
            HTTPException: 401 without a valid key, 403 without the scope, 429 if it is too often.
        """
        service = service_of(request)
        principal = await identify(service, request, token)
        if not principal.may(self.name):
            granted = ", ".join(principal.scopes)
            raise HTTPException(403, f"key: the scope {self.name} is needed here, but this key has {granted}")
        return principal


class Unguarded:
    """Lets everybody through, and not too often."""

    name = "public"

    async def __call__(self, request: Request) -> None:
        """Count the call.

        Raises:
            HTTPException: 429 if it is too often.
        """
        throttle(service_of(request).requests, ("address", address_of(request)))


def scope_of(route: APIRoute) -> str | None:
    """The scope that a route declares, or `public`; None if it declares none."""
    declared = (each.call for each in route.dependant.dependencies)
    return next((call.name for call in declared if isinstance(call, Scope | Unguarded)), None)


async def identify(service: Service, request: HTTPConnection, token: str | None) -> Principal:
    """Whoever presents a key, or stands at this machine while there is none.

    Raises:
        HTTPException: 401 without a valid key, 429 if it is too often.
    """
    door, address = service.doorkeeper, address_of(request)
    principal = door.recall(token) if token else None
    if principal is None:
        principal = await service.threads.read(door.admit, token)
    if principal is None:
        raise _refusal(service, address, token)
    if principal.key_id is None:
        throttle(service.requests, ("address", address))
        return principal
    throttle(service.requests, ("key", principal.key_id))
    if door.needs_touch(principal):
        service.threads.aside(door.touch, principal.key_id)
    return principal


def _refusal(service: Service, address: str, token: str | None) -> HTTPException:
    """For whoever has no good key; those at the same address who have one never come here."""
    if wait := service.failures.take(address):
        return _too_often(wait, "keys that do not work")
    detail = "this one is unknown or revoked" if token else "one is needed"
    return HTTPException(
        401, f"API key: {detail}; send `Authorization: Bearer evk_...`", {"WWW-Authenticate": "Bearer"}
    )


def throttle(limit: RateLimit, caller: tuple[str, str]) -> None:
    """Count a call.

    Raises:
        HTTPException: 429 if it is one too many.
    """
    if wait := limit.take(caller):
        raise _too_often(wait, "requests")


def _too_often(wait: float, what: str) -> HTTPException:
    seconds = math.ceil(wait)
    return HTTPException(
        429, f"too many {what} in a short time; wait {seconds} s and try again", {"Retry-After": str(seconds)}
    )


Reader: TypeAlias = Annotated[Principal, Depends(Scope("read"))]
"""For routes that look at things."""
Submitter: TypeAlias = Annotated[Principal, Depends(Scope("submit"))]
"""For routes that enter searches and steer them."""
Admin: TypeAlias = Annotated[Principal, Depends(Scope("admin"))]
"""For routes that decide who may do what, and on which data."""
Public: TypeAlias = Annotated[None, Depends(Unguarded())]
"""For the few routes that need no key."""


async def _service(request: Request) -> Service:
    return service_of(request)  # a dependency that is not async would run in a thread


ServiceDep: TypeAlias = Annotated[Service, Depends(_service)]
"""The service's parts."""


async def _document(request: Request) -> Document:
    kind = request.headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if kind != JSON_TYPE and kind not in YAML_TYPES:
        raise HTTPException(
            415, f"Content-Type: must be {JSON_TYPE} or {YAML_TYPES[0]}, but got {kind[:80]}", {"Accept": JSON_TYPE}
        )
    return Document(await request.body(), kind in YAML_TYPES)


DocumentDep: TypeAlias = Annotated[Document, Depends(_document)]
"""The body of a request; declared after the scope, so that nothing is read of those who may not come in."""


def accepts(model: type[BaseModel]) -> dict[str, Any]:
    """For `openapi_extra`: the body of a route that takes a `DocumentDep`."""
    schema = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}
    content = dict.fromkeys((JSON_TYPE, YAML_TYPES[0]), schema)
    # `api.app` moves the model itself to the others
    return {
        "requestBody": {"required": True, "content": content},
        BODY: model.model_json_schema(ref_template=REFERENCE),
    }
