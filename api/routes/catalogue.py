"""What submissions may name: shipped search spaces, registered data sets."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Request, Response

from api import datasets, reach, views
from api.auth import Principal
from api.deps import Admin, DocumentDep, Reader, Service, ServiceDep, accepts
from api.documents import YAML_TYPE, Document
from api.routes.common import NEEDS_BODY, Form, answer, leads_to, prefers_yaml, problems, router, yaml_too
from api.schemas.answers import DatasetSummary, Page, SpaceSummary
from api.schemas.requests import NewDataset
from evolve.yaml_io import dump_yaml

routes = router("catalogue")

_Name = Annotated[str, Path(alias="name", description="Name of the space.", min_length=1, max_length=64)]
_DatasetId = Annotated[str, Path(alias="id", description="Id of the data set.", min_length=1, max_length=64)]


@routes.get("/spaces", response_model=Page[SpaceSummary])
async def list_spaces(principal: Reader, parts: ServiceDep) -> Response:
    """List the search spaces that are shipped."""
    return answer(await parts.threads.read(views.spaces))


@routes.get(
    "/spaces/{name}",
    response_model=dict[str, Any],
    responses={200: yaml_too("The document, with everything filled in."), **problems(404)},
)
async def get_space(
    principal: Reader, parts: ServiceDep, request: Request, name: _Name, form: Form = None
) -> Response:
    """Show a shipped search space, as JSON or as YAML."""
    document = await parts.threads.read(reach.shipped, name)
    if prefers_yaml(request, form):
        return Response(dump_yaml(document), media_type=YAML_TYPE)
    return answer(document)


@routes.get("/datasets", response_model=Page[DatasetSummary])
async def list_datasets(principal: Reader, parts: ServiceDep) -> Response:
    """List the data sets that a submission may name."""
    with_paths = principal.may("admin")
    return answer(await parts.threads.read(views.datasets, parts.ledger, with_paths=with_paths))


@routes.post(
    "/datasets",
    status_code=201,
    response_model=DatasetSummary,
    responses={201: {"description": "The data set.", **leads_to("id", "remove_dataset")}, **NEEDS_BODY},
    openapi_extra=accepts(NewDataset),
)
async def register_dataset(principal: Admin, parts: ServiceDep, document: DocumentDep) -> Response:
    """Register a data set of the service's machine: it is checked whole, which takes a while for a large one."""
    return answer(await parts.threads.heavy(_register, parts, document, principal), 201)


def _register(parts: Service, document: Document, principal: Principal) -> views.View:
    body = document.read(NewDataset)
    record = datasets.register_dataset(parts.ledger, parts.settings, body.id, body.path, principal)
    return views.dataset(record, with_path=True)


@routes.delete("/datasets/{id}", status_code=204, responses=problems(404))
async def remove_dataset(principal: Admin, parts: ServiceDep, dataset_id: _DatasetId) -> Response:
    """Forget a data set; its files, and the searches that use it, are left alone."""
    await parts.threads.write(parts.ledger.registry.remove_dataset, dataset_id)
    return Response(status_code=204)
