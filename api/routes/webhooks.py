"""Webhooks: register, list, test, remove."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Path, Response

from api.auth import Principal
from api.deps import Admin, DocumentDep, Service, ServiceDep, accepts
from api.documents import Document, public
from api.routes.common import NEEDS_BODY, answer, problems, router
from api.schemas.answers import Page
from api.schemas.webhooks import CreatedWebhook, NewWebhook, TestedWebhook, WebhookSummary
from api.views import View, page
from api.webhooks import AddressGuard, deliver, make_secret, ping
from api.webhooks.addresses import check_url, port_of
from evolve.exceptions import StateConflict
from evolve.ledger.service_records import WebhookRecord

routes = router("webhooks")

MOST = 100
"""Webhooks of a service; each is written to by a thread of its own, and has cursors in all searches."""

_WebhookId = Annotated[str, Path(alias="id", description="Id of the webhook.", min_length=1, max_length=64)]


@routes.get("/webhooks", response_model=Page[WebhookSummary])
async def list_webhooks(principal: Admin, parts: ServiceDep) -> Response:
    """List the webhooks, with what was wrong with their last delivery."""
    records = await parts.threads.read(parts.ledger.registry.webhooks)
    return answer(page([_summary(each) for each in records]))


@routes.post(
    "/webhooks",
    status_code=201,
    response_model=CreatedWebhook,
    responses={**NEEDS_BODY, **problems(404, 409)},
    openapi_extra=accepts(NewWebhook),
)
async def add_webhook(principal: Admin, parts: ServiceDep, document: DocumentDep) -> Response:
    """Let an address hear of what happens from now on; the answer is the only place where its secret is shown."""
    return answer(await parts.threads.heavy(_add, parts, document, principal), 201)  # as names are resolved


def _add(parts: Service, document: Document, principal: Principal) -> View:
    body = document.read(NewWebhook)
    url = check_url(body.url)
    _guard(parts).addresses(url.raw_host.decode("ascii"), port_of(url))  # as it is resolved at every delivery
    registry = parts.ledger.registry
    if len(registry.webhooks()) >= MOST:
        raise StateConflict(f"webhooks: there may be {MOST} at most, and there are; remove one first")
    secret = make_secret()
    record = registry.add_webhook(body.url, body.kinds, secret, body.search_id, principal.key_id)
    return _summary(record) | {"secret": secret}


@routes.get("/webhooks/{id}", response_model=WebhookSummary, responses=problems(404))
async def get_webhook(principal: Admin, parts: ServiceDep, webhook_id: _WebhookId) -> Response:
    """Show a webhook."""
    return answer(_summary(await parts.threads.read(parts.ledger.registry.webhook, webhook_id)))


@routes.post("/webhooks/{id}/test", response_model=TestedWebhook, responses=problems(404))
async def try_webhook(principal: Admin, parts: ServiceDep, webhook_id: _WebhookId) -> Response:
    """Deliver a `ping` now; if it arrives, a webhook that was disabled is enabled again."""
    return answer(await parts.threads.heavy(_test, parts, webhook_id))


def _test(parts: Service, webhook_id: str) -> View:
    registry = parts.ledger.registry
    record = registry.webhook(webhook_id)
    delivery = deliver(record.url, record.secret, ping(), _guard(parts))
    if not delivery.error:
        registry.note_delivery(record.id, "")
    return {"delivered": not delivery.error, **asdict(delivery)}


@routes.delete("/webhooks/{id}", status_code=204, responses=problems(404))
async def remove_webhook(principal: Admin, parts: ServiceDep, webhook_id: _WebhookId) -> Response:
    """Deliver nothing to a webhook any more."""
    await parts.threads.write(parts.ledger.registry.remove_webhook, webhook_id)
    return Response(status_code=204)


def _guard(parts: Service) -> AddressGuard:
    return AddressGuard.parse(parts.settings.webhook_allow)


def _summary(record: WebhookRecord) -> View:
    return public(WebhookSummary.model_fields, record)
