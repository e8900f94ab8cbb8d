"""What several routes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.routing import APIRoute

from api.documents import JSON_TYPE, YAML_TYPE, to_json, wants_yaml
from api.schemas.answers import Problem

LARGEST = 2**31 - 1

SearchId = Annotated[str, Path(alias="id", description="Id of the search.", min_length=1, max_length=64)]
SearchRef = Annotated[
    str,
    Path(
        alias="id", description="Id of the search, its beginning, or a name: then the newest of it.", max_length=100
    ),
]
Number = Annotated[int, Path(alias="number", description="Number of the individual.", ge=0, le=LARGEST)]
Limit = Annotated[int, Query(description="Length of the page.", ge=1, le=1000)]
Offset = Annotated[int, Query(description="How many to skip.", ge=0, le=LARGEST)]
Form = Annotated[
    Literal["json", "yaml"] | None, Query(alias="format", description="Form of the answer, before `Accept`.")
]

_PROBLEMS: Mapping[int, str] = {
    401: "No API key, or one that is unknown or revoked.",
    403: "The key lacks the scope, or the request came from another site.",
    404: "There is nothing of this id.",
    405: "The path knows other methods.",
    408: "The body took too long to arrive.",
    409: "The state of things does not allow it.",
    413: "The body is too long.",
    415: "The body is neither JSON nor YAML.",
    421: "The service does not answer to this name.",
    422: "Something that was sent cannot be used.",
    429: "Too many requests in a short time.",
    503: "The ledger cannot be reached now.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses`: what may go wrong."""
    return {status: {"model": Problem, "description": _PROBLEMS[status]} for status in statuses}


def router(tag: str) -> APIRouter:
    """A router under `/api/v1` whose routes need a key."""
    return APIRouter(
        prefix="/api/v1",
        tags=[tag],
        responses=problems(401, 403, 421, 422, 429, 503),
        generate_unique_id_function=name_of,
    )


def name_of(route: APIRoute) -> str:
    """The name of an operation in the OpenAPI document."""
    return route.name


NEEDS_BODY = problems(408, 413, 415)
"""For `responses` of routes that take a document."""


def yaml_too(description: str) -> dict[str, Any]:
    """For `responses`: an answer that comes as YAML as well."""
    return {"description": description, "content": {YAML_TYPE: {"schema": {"type": "object"}}}}


def leads_to(parameter: str, *operations: str) -> dict[str, Any]:
    """For `responses`: the operations that take an id of this answer."""
    links = {
        operation: {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}
        for operation in operations
    }
    return {"links": links}


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Send a value as JSON."""
    return Response(to_json(value), status, dict(headers or {}), JSON_TYPE)


def prefers_yaml(request: Request, form: str | None) -> bool:
    """Whether the answer is to be YAML."""
    return wants_yaml(request.headers.get("accept", ""), form)


def attachment(name: str) -> str:
    """A Content-Disposition for a name of plain characters."""
    return f'attachment; filename="{name}"'
