"""Searches: submit, list, look at one, steer it, delete it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import Header, Query, Request, Response
from pydantic import AfterValidator

from api import service, views
from api.auth import Principal
from api.deps import DocumentDep, Reader, Service, ServiceDep, Submitter, accepts, caller_of
from api.documents import Document
from api.reach import reach
from api.routes.common import NEEDS_BODY, Limit, Offset, SearchId, SearchRef, answer, leads_to, problems, router
from api.schemas.answers import CheckedSubmission, Page, SearchDetail, SearchSummary
from api.schemas.submissions import PriorityChange, Submission
from evolve.ledger import SearchRecord, SearchState
from evolve.space.validation import show

routes = router("searches")

REPLAYED = "Idempotency-Replayed"
_LONGEST_KEY = 255
_TAKE_ID = (
    "get_search", "change_search", "pause_search", "resume_search", "cancel_search", "delete_search",
    "list_generations", "list_individuals", "get_best", "get_best_weights", "get_report", "stream_events",
)  # fmt: skip
_Order = Literal[
    "created", "-created", "name", "-name", "state", "-state", "best", "-best",
    "evaluated", "-evaluated", "gpu_seconds", "-gpu_seconds", "priority", "-priority",
]  # fmt: skip
_Text = Annotated[str | None, Query(max_length=100)]
_PLAIN = rf"^[!-~]{{1,{_LONGEST_KEY}}}$"


def _plain(key: str) -> str:
    if re.fullmatch(_PLAIN, key) is None:
        raise ValueError(
            f"must be 1 to {_LONGEST_KEY} visible ASCII characters without spaces, but got {show(key)}"
        )
    return key


_IdempotencyKey = Annotated[
    Annotated[str, AfterValidator(_plain)] | None,
    Header(
        alias="Idempotency-Key",
        description="The same key with the same submission enters one search, however often it is sent.",
        json_schema_extra={"minLength": 1, "maxLength": _LONGEST_KEY, "pattern": _PLAIN},
    ),
]


@routes.post(
    "/searches",
    status_code=201,
    response_model=SearchSummary,
    responses={
        200: {"model": SearchSummary, "description": "The search that this key entered before."},
        201: {"description": "The new search.", **leads_to("id", *_TAKE_ID)},
        **NEEDS_BODY,
        **problems(409),
    },
    openapi_extra=accepts(Submission),
)
async def submit_search(
    principal: Submitter,
    parts: ServiceDep,
    request: Request,
    document: DocumentDep,
    idempotency_key: _IdempotencyKey = None,
) -> Response:
    """Submit a search; it waits in the queue until there is room for it."""
    caller = caller_of(principal, request)
    body = await parts.threads.judge_for(caller, document.read, Submission)
    earlier = await _entered(parts, principal, body, idempotency_key)
    if earlier is not None:
        return _submitted(earlier, created=False)
    reached = await parts.threads.judge_for(caller, reach, parts.ledger, body)
    record, created = await parts.threads.write(
        service.enter_search, parts.ledger, parts.settings, body, reached, principal, idempotency_key
    )
    if created:
        parts.supervisor.poke()
    return _submitted(record, created=created)


def _submitted(record: SearchRecord, *, created: bool) -> Response:
    headers = {"Location": f"/api/v1/searches/{record.id}"} | ({} if created else {REPLAYED: "true"})
    return answer(views.search_summary(record), 201 if created else 200, headers)


async def _entered(parts: Service, principal: Principal, body: Submission, key: str | None) -> SearchRecord | None:
    """What the key has entered before, which may name things that are gone by now."""
    if key is None:
        return None
    digest = service.digest_of(body)
    return await parts.threads.read(parts.ledger.registry.submitted, principal.key_id, key, digest)


@routes.post(
    "/check",
    response_model=CheckedSubmission,
    responses=NEEDS_BODY,
    openapi_extra=accepts(Submission),
)
async def check_submission(
    principal: Reader, parts: ServiceDep, request: Request, document: DocumentDep
) -> Response:
    """Check a submission, and show the search space with everything filled in; nothing is entered."""
    return answer(await parts.threads.judge_for(caller_of(principal, request), _check, parts, document))


def _check(parts: Service, document: Document) -> dict[str, object]:
    body = document.read(Submission)
    checked = service.check_document(parts.ledger, parts.settings, body)
    return {
        "name": body.name or checked.space.name,
        "individuals": checked.individuals,
        "genes": len(checked.space.genes),
        "notes": checked.notes,
        "document": views.shown_document(checked.space.document(), checked.data_id),
    }


@routes.get("/searches", response_model=Page[SearchSummary])
async def list_searches(
    principal: Reader,
    parts: ServiceDep,
    state: Annotated[list[SearchState] | None, Query(description="Only those in one of these states.")] = None,
    name: _Text = None,
    text: _Text = None,
    managed: Annotated[bool | None, Query(description="Only those that the service drives, or the others.")] = None,
    submitted_by: _Text = None,
    order: _Order = "-created",
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """List searches, the newest first unless asked otherwise.

    `name` is the whole name, `text` a part of it or the beginning of an id, `submitted_by` the id of a key.
    """
    records, count = await parts.threads.read(
        parts.ledger.search_page,
        states=state or None,
        name=name,
        text=text,
        managed=managed,
        submitted_by=submitted_by,
        order=order,
        light=True,
        limit=limit,
        offset=offset,
    )
    return answer(views.page([views.search_summary(each) for each in records], count))


@routes.get("/searches/{id}", response_model=SearchDetail, responses=problems(404))
async def get_search(principal: Reader, parts: ServiceDep, ref: SearchRef) -> Response:
    """Show a search with its documents."""
    return answer(views.search_detail(await parts.threads.read(parts.ledger.search, ref)))


@routes.patch(
    "/searches/{id}",
    response_model=SearchSummary,
    responses={**NEEDS_BODY, **problems(404, 409)},
    openapi_extra=accepts(PriorityChange),
)
async def change_search(
    principal: Submitter, parts: ServiceDep, request: Request, search_id: SearchId, document: DocumentDep
) -> Response:
    """Give a search another place in the queue."""
    body = await parts.threads.judge_for(caller_of(principal, request), document.read, PriorityChange)
    record = await parts.threads.write(
        service.prioritise, parts.ledger, search_id, body.priority, principal=principal
    )
    return _steered(parts, record)


@routes.post("/searches/{id}/pause", response_model=SearchSummary, responses=problems(404, 409))
async def pause_search(principal: Submitter, parts: ServiceDep, search_id: SearchId) -> Response:
    """Ask for a search to start nothing new; what trains now is trained to its end."""
    return _steered(parts, await parts.threads.write(service.pause, parts.ledger, search_id, principal))


@routes.post("/searches/{id}/resume", response_model=SearchSummary, responses=problems(404, 409))
async def resume_search(principal: Submitter, parts: ServiceDep, search_id: SearchId) -> Response:
    """Take a request back, or put a search that failed or was interrupted into the queue again."""
    return _steered(parts, await parts.threads.write(service.resume, parts.ledger, search_id, principal))


@routes.post("/searches/{id}/cancel", response_model=SearchSummary, responses=problems(404, 409))
async def cancel_search(principal: Submitter, parts: ServiceDep, search_id: SearchId) -> Response:
    """Ask for a search to end for good."""
    return _steered(parts, await parts.threads.write(service.cancel, parts.ledger, search_id, principal))


@routes.delete("/searches/{id}", status_code=204, responses=problems(404, 409))
async def delete_search(principal: Submitter, parts: ServiceDep, search_id: SearchId) -> Response:
    """Delete a search that nobody drives, with all its files."""
    await parts.threads.write(service.delete, parts.ledger, search_id, principal)
    return Response(status_code=204)


def _steered(parts: Service, record: SearchRecord) -> Response:
    parts.supervisor.poke()
    return answer(views.search_summary(record))
