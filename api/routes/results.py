"""What searches found out: generations, individuals, the best, its weights, the report, comparisons."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import HTTPException, Query, Request, Response
from starlette.responses import FileResponse

from api import views
from api.deps import Reader, ServiceDep, caller_of
from api.documents import YAML_TYPE
from api.routes.common import (
    LARGEST,
    Form,
    Limit,
    Number,
    Offset,
    SearchRef,
    answer,
    attachment,
    prefers_yaml,
    problems,
    router,
    yaml_too,
)
from api.schemas.answers import (
    BestConfiguration,
    Comparison,
    Front,
    GenerationSummary,
    IndividualDetail,
    IndividualSummary,
    Page,
)
from api.weights import WeightsResponse, open_best_weights
from evolve.ledger import IndividualRecord
from evolve.trial import FailureKind, TrialState

routes = router("results")

MOST_COMPARED = 20
_Sort = Literal["number", "-number", "fitness", "-fitness"]
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'none'"
)
"""The report is one file with its scripts in it; in a sandbox it has no origin, and so no session to misuse."""


@routes.get("/searches/{id}/generations", response_model=Page[GenerationSummary], responses=problems(404))
async def list_generations(principal: Reader, parts: ServiceDep, ref: SearchRef) -> Response:
    """Show how the generations of a search did."""
    return answer(await parts.threads.read(views.generations, parts.ledger, ref))


@routes.get("/searches/{id}/individuals", response_model=Page[IndividualSummary], responses=problems(404))
async def list_individuals(
    principal: Reader,
    parts: ServiceDep,
    ref: SearchRef,
    sort: Annotated[_Sort, Query(description="With `-` from high to low; without a fitness last.")] = "number",
    state: Annotated[list[TrialState] | None, Query(description="Only those in one of these states.")] = None,
    generation: Annotated[int | None, Query(description="Only those of this one.", ge=0, le=LARGEST)] = None,
    failure: Annotated[FailureKind | None, Query(description="Only those that failed in this way.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """List the individuals of a search."""

    def look(search_id: str) -> tuple[list[IndividualRecord], int]:
        return parts.ledger.individual_page(
            search_id,
            sort=sort,
            states=state or None,
            generation=generation,
            failure=failure,
            light=True,
            limit=limit,
            offset=offset,
        )

    found, count = await parts.threads.read(views.by_ref, parts.ledger, ref, look, lambda page: page[1] > 0)
    return answer(views.page([views.individual_summary(each) for each in found], count))


@routes.get("/searches/{id}/individuals/{number}", response_model=IndividualDetail, responses=problems(404))
async def get_individual(principal: Reader, parts: ServiceDep, ref: SearchRef, number: Number) -> Response:
    """Show an individual: genome, lineage, curves, requested and effective arguments, failures."""
    return answer(await parts.threads.read(views.individual_detail, parts.ledger, ref, number))


@routes.get(
    "/searches/{id}/best",
    response_model=BestConfiguration,
    responses={200: yaml_too("The configuration; as YAML a file for `evolve train --params`."), **problems(404)},
)
async def get_best(
    principal: Reader,
    parts: ServiceDep,
    request: Request,
    ref: SearchRef,
    form: Form = None,
    stock: Annotated[bool, Query(description="In YAML: only what stock Ultralytics knows.")] = False,
) -> Response:
    """Show the best configuration so far, as JSON or as YAML."""
    if not prefers_yaml(request, form):
        return answer(await parts.threads.read(views.best, parts.ledger, ref))
    search_id, text = await parts.threads.read(views.best_text, parts.ledger, ref, stock=stock)
    headers = {"Content-Disposition": attachment(f"best-{search_id}.yaml")}
    return Response(text, 200, headers, YAML_TYPE)


@routes.get("/searches/{id}/front", response_model=Front, responses=problems(404))
async def get_front(principal: Reader, parts: ServiceDep, ref: SearchRef) -> Response:
    """Show the individuals that no other one beats in all objectives of the search."""
    return answer(await parts.threads.heavy(views.front, parts.ledger, ref))


@routes.get(
    "/searches/{id}/best/weights",
    response_class=FileResponse,
    responses={
        200: {"description": "A checkpoint.", "content": {"application/octet-stream": {}}},
        **problems(404),
    },
)
async def get_best_weights(principal: Reader, parts: ServiceDep, ref: SearchRef) -> Response:
    """Download the weights of the best individual so far."""
    search_id, opened = await parts.threads.read(open_best_weights, parts.ledger, ref)
    return WeightsResponse(search_id, opened)


@routes.get(
    "/searches/{id}/report",
    response_class=Response,
    responses={200: {"description": "One HTML file.", "content": {"text/html": {}}}, **problems(404)},
)
async def get_report(principal: Reader, parts: ServiceDep, ref: SearchRef) -> Response:
    """Show the report of a search, a page that needs nothing else."""
    text = await parts.threads.heavy(views.report, parts.ledger, ref)
    return Response(text, 200, {"Content-Security-Policy": REPORT_POLICY}, "text/html; charset=utf-8")


@routes.get("/compare", response_model=Comparison, responses=problems(404))
async def compare_searches(
    principal: Reader,
    parts: ServiceDep,
    request: Request,
    ids: Annotated[str, Query(description="Ids of searches, with commas between.", min_length=1, max_length=2000)],
) -> Response:
    """Compare searches: their generations, their best, their failures, and where the best differ."""
    chosen, caller = _ids(ids), caller_of(principal, request)
    return answer(await parts.threads.compare_for(caller, views.comparison, parts.ledger, chosen))


def _ids(ids: str) -> list[str]:
    chosen = list(dict.fromkeys(part.strip() for part in ids.split(",") if part.strip()))
    if not 1 <= len(chosen) <= MOST_COMPARED:
        raise HTTPException(
            422, f"ids: must be 1 to {MOST_COMPARED} ids with commas between, but got {len(chosen)}"
        )
    return chosen
