"""Whether the service is well, for whoever watches it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.deps import Public, Reader, ServiceDep
from api.metrics import CONTENT_TYPE
from api.routes.common import answer, name_of, problems
from api.schemas.answers import Health
from evolve.exceptions import EvolveError

routes = APIRouter(tags=["health"], responses=problems(421, 429), generate_unique_id_function=name_of)


@routes.get("/healthz", response_model=Health)
async def healthz(public: Public) -> Response:
    """Tell that the process lives."""
    return answer({"status": "ok"})


@routes.get(
    "/readyz",
    response_model=Health,
    responses={503: {"model": Health, "description": "It cannot do its work now."}},
)
async def readyz(public: Public, parts: ServiceDep) -> Response:
    """Tell whether the ledger can be reached, and the service is not about to end."""
    if parts.hub.closing:
        return answer({"status": "about to end"}, 503)
    try:
        await parts.threads.read(parts.ledger.heads, ["-"])
    except EvolveError:
        return answer({"status": "the ledger cannot be reached"}, 503)
    return answer({"status": "ok"})


@routes.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "In Prometheus' text format.", "content": {"text/plain": {}}},
        **problems(401, 403, 503),
    },
)
async def metrics(principal: Reader, parts: ServiceDep) -> Response:
    """Show what is counted."""
    parts.metrics.streams.set(parts.hub.open_streams)
    return Response(await parts.threads.read(parts.metrics.text), headers={"Content-Type": CONTENT_TYPE})
