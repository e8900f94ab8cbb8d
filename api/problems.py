"""Everything that goes wrong, as an answer: a status and one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api.documents import to_json
from api.threads import Crowded
from evolve.exceptions import (
    EvolveError,
    Forbidden,
    IdempotencyConflict,
    InputError,
    LeaseHeld,
    LedgerError,
    NotFound,
    StateConflict,
)
from evolve.space.validation import problem_line

log = logging.getLogger(__name__)

_STATUSES: tuple[tuple[type[EvolveError], int], ...] = (
    (NotFound, 404),
    (Forbidden, 403),
    (IdempotencyConflict, 409),
    (StateConflict, 409),
    (LeaseHeld, 409),
    (Crowded, 429),
    (InputError, 422),
    (LedgerError, 503),
)
"""The first class that fits decides; anything else is ours to explain, and a 500."""

LEDGER_AWAY = "the record of searches cannot be reached now; try again in a moment"


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong."""
    line = " ".join(detail.split())
    return Response(to_json({"detail": line}), status, dict(headers or {}), "application/json")


def handle_problems(app: FastAPI) -> None:
    """Turn every exception into such an answer."""

    @app.exception_handler(EvolveError)
    async def _evolve_error(request: Request, error: EvolveError) -> Response:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        if isinstance(error, LedgerError) and status == 503:  # noqa: PLR2004
            log.error("%s", error)  # it names the database, which is nobody's business outside
            return problem(status, LEDGER_AWAY, {"Retry-After": "2"})
        return problem(status, str(error), {"Retry-After": "1"} if isinstance(error, Crowded) else None)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return problem(422, problem_line({**first, "loc": first["loc"][1:]}))  # without "query", "path", ...

    @app.exception_handler(HTTPException)
    async def _http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:  # noqa: PLR2004
            allowed = ", ".join(sorted(_methods(app, request.scope["path"])))
            return problem(405, f"{request.method}: must be one of {allowed} here", {"Allow": allowed})
        if error.status_code == 404 and error.detail == "Not Found":  # noqa: PLR2004 - no route took it
            return problem(404, "there is no such path; /docs lists those that there are")
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        # starlette logs the traceback when it raises the error again
        return problem(500, "an error inside the service, which is in its log; tell whoever runs it")


def _methods(app: FastAPI, path: str) -> set[str]:
    """The methods of all routes with this path; what raised the error knows of the first one only."""
    routes = (route for route in app.routes if isinstance(route, Route) and route.path_regex.match(path))
    return {method for route in routes for method in route.methods or ()}
