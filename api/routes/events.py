"""What happens to a search, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, HTTPException, Query, Request, Response
from fastapi.sse import EventSourceResponse

from api.deps import Reader, ServiceDep, TokenDep, caller_of
from api.events import standing
from api.routes.common import SearchRef, problems, router
from evolve.exceptions import LedgerError

routes = router("events")

_LARGEST = 2**63 - 1
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {"type": "string"},
        "retry": {"type": "integer"},
    },
}


@routes.get(
    "/searches/{id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "A stream: `id` is the event's sequence, `event` its kind, `data` all of it as JSON.",
            "content": {"text/event-stream": {"itemSchema": _EVENT}},
        },
        204: {"description": "The listener knows all there is, and the search is over or not followed."},
        **problems(404),
    },
)
async def stream_events(
    principal: Reader,
    parts: ServiceDep,
    request: Request,
    token: TokenDep,
    ref: SearchRef,
    after: Annotated[int | None, Query(description="Only events after this sequence.", ge=0, le=_LARGEST)] = None,
    last_event_id: Annotated[
        int | None,
        Header(alias="Last-Event-ID", description="The same; goes before it.", ge=0, le=_LARGEST),
    ] = None,
    follow: Annotated[bool, Query(description="Whether to wait for more after what there is.")] = True,
) -> Response:
    """Follow a search; the stream ends when it is over, and a browser that asks again is told so by 204."""
    known = last_event_id if last_event_id is not None else after or 0
    record = await parts.threads.read(parts.ledger.search, ref)
    head, over = await parts.threads.read(standing, parts.ledger, record.id)
    if known >= head and (over or not follow):
        return Response(status_code=204)
    owner = caller_of(principal, request)
    if parts.hub.is_full(owner):
        raise HTTPException(429, "too many event streams are open; close one and try again", {"Retry-After": "10"})

    async def welcome() -> bool:
        try:
            return await parts.threads.read(parts.doorkeeper.admit, token) is not None
        except LedgerError:  # nobody is sent away because the ledger is
            return True

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return EventSourceResponse(parts.hub.stream(record.id, known, owner, welcome, follow=follow), headers=headers)
