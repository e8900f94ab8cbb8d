"""What can be taken away from a search: its best configuration, weights, report, MLflow's comparison of runs.

The API has the same for programs; a browser follows a link, and shows who it is by the cookie of the dashboard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from nicegui import app

from api import service, views
from api.dashboard.frame import address_within, principal_of
from api.dashboard.pages.compare import ids_of
from api.dashboard.site import SCOPE_KEY, Site
from api.routes.results import REPORT_POLICY
from api.weights import WeightsResponse, open_best_weights
from evolve.exceptions import EvolveError
from evolve.ledger import Ledger
from evolve.ledger.records import SearchRecord

_YAML = "application/yaml"


@app.get("/searches/{search_id}/best.yaml", include_in_schema=False)
async def best_yaml(request: Request, search_id: str) -> Response:
    """The best configuration as a file for `evolve train --params`."""

    def read(ledger: Ledger, search: SearchRecord) -> Response:
        _, content = views.best_text(ledger, search.id, stock=False)
        headers = {"Content-Disposition": f'attachment; filename="best-{search.id}.yaml"'}
        return Response(content, 200, headers, _YAML)

    return await _answered(request, search_id, read)


@app.get("/searches/{search_id}/weights", include_in_schema=False)
async def best_weights(request: Request, search_id: str) -> Response:
    """The weights of the best individual."""

    def read(ledger: Ledger, search: SearchRecord) -> Response:
        return WeightsResponse(*open_best_weights(ledger, search.id))

    return await _answered(request, search_id, read)


@app.get("/searches/{search_id}/report", include_in_schema=False)
async def report(request: Request, search_id: str) -> Response:
    """The report, to be looked at in a sandbox: it has scripts, and no business with our cookie."""

    def read(ledger: Ledger, search: SearchRecord) -> Response:
        content = views.report(ledger, search.id)
        return Response(content, 200, {"Content-Security-Policy": REPORT_POLICY}, "text/html; charset=utf-8")

    return await _answered(request, search_id, read, heavy=True)


@app.get("/searches/{search_id}/mlflow", include_in_schema=False)
async def mlflow(request: Request, search_id: str) -> Response:
    """MLflow's page with the search's best runs selected for comparison."""
    return await _compared(request, [search_id])


@app.get("/compare/mlflow", include_in_schema=False)
async def compare_mlflow(request: Request, ids: str = "") -> Response:
    """MLflow's page with the best runs of several searches selected for comparison."""
    try:
        wanted = ids_of(ids)
    except EvolveError as error:
        return PlainTextResponse(f"{error}\n", 422)
    return await _compared(request, wanted)


async def _compared(request: Request, search_ids: Sequence[str]) -> Response:
    here = cast("Site", request.scope[SCOPE_KEY])

    def find() -> Response:
        from evolve.tracking.links import comparison  # brings MLflow, which takes seconds

        searches = [service.search(here.ledger, each) for each in search_ids]
        return RedirectResponse(f"{here.mlflow_pages}/{comparison(here.settings.tracking_uri, *searches)}", 303)

    return await _guarded(request, find, heavy=True)


async def _answered(
    request: Request, search_id: str, read: Callable[[Ledger, SearchRecord], Response], *, heavy: bool = False
) -> Response:
    """What `read` makes of a search, for somebody who may see it."""
    ledger = cast("Site", request.scope[SCOPE_KEY]).ledger
    return await _guarded(request, lambda: read(ledger, service.search(ledger, search_id)), heavy=heavy)


async def _guarded(request: Request, read: Callable[[], Response], *, heavy: bool) -> Response:
    """What `read` gives, for somebody who may see it; one line where it cannot be had.

    What is `heavy` takes seconds, or waits for others, and does not do so in a thread that pages need.
    """
    here = cast("Site", request.scope[SCOPE_KEY])
    if await here.run(principal_of, here, request) is None:
        return RedirectResponse(f"/login?next={quote(address_within(request), safe='/')}", 303)

    def answer() -> Response:
        try:
            return read()
        except EvolveError as error:
            return PlainTextResponse(f"{error}\n", 404)

    return await (here.service.threads.heavy(answer) if heavy else here.run(answer))
