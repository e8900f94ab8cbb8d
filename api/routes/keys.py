"""API keys: make, list, revoke."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Response

from api import keyring, views
from api.deps import Admin, DocumentDep, Service, ServiceDep, accepts
from api.documents import Document
from api.routes.common import NEEDS_BODY, answer, leads_to, problems, router
from api.schemas.answers import CreatedKey, KeySummary, Page
from api.schemas.requests import NewKey

routes = router("keys")

_KeyId = Annotated[str, Path(alias="id", description="Id of the key.", min_length=1, max_length=64)]


@routes.get("/keys", response_model=Page[KeySummary])
async def list_keys(principal: Admin, parts: ServiceDep) -> Response:
    """List the keys, those that were revoked too."""
    records = await parts.threads.read(parts.ledger.registry.keys)
    return answer(views.page([views.key(each) for each in records]))


@routes.post(
    "/keys",
    status_code=201,
    response_model=CreatedKey,
    responses={
        201: {"description": "The new key.", **leads_to("id", "revoke_key")},
        **NEEDS_BODY,
        **problems(409),
    },
    openapi_extra=accepts(NewKey),
)
async def create_key(principal: Admin, parts: ServiceDep, document: DocumentDep) -> Response:
    """Make a key; the answer is the only place where it is ever shown."""
    created = await parts.threads.write(_create, parts, document)
    parts.doorkeeper.forget()
    return answer(created, 201)


def _create(parts: Service, document: Document) -> views.View:
    body = document.read(NewKey)
    record, token = keyring.create_key(parts.ledger.registry, body.name, body.scope)
    return views.key(record) | {"key": token}


@routes.delete("/keys/{id}", status_code=204, responses=problems(404, 409))
async def revoke_key(principal: Admin, parts: ServiceDep, key_id: _KeyId) -> Response:
    """Revoke a key; it opens nothing from now on. A key cannot revoke itself, so that one admin is left."""
    await parts.threads.write(keyring.revoke_key, parts.ledger.registry, key_id, principal)
    parts.doorkeeper.forget()
    return Response(status_code=204)
