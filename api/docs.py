"""The documentation at `/docs`, made of the OpenAPI document: one page that needs no other server and no script."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, PackageLoader

from api.deps import Public
from api.documents import to_json

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def add_docs(app: FastAPI) -> None:
    """Add `/docs` and `/openapi.json`."""

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(public: Public, request: Request) -> Response:
        """The OpenAPI document."""
        return Response(to_json(request.app.openapi()), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs(public: Public, request: Request) -> Response:
        """The same, for people."""
        page = render(request.app.openapi())
        return Response(page, headers={"Content-Security-Policy": _POLICY}, media_type="text/html; charset=utf-8")


def render(document: dict[str, Any]) -> str:
    """The page."""
    environment = Environment(loader=PackageLoader("api", "templates"), autoescape=True, trim_blocks=True)
    return environment.get_template("docs.html").render(
        info=document["info"],
        operations=_operations(document),
        schemas={name: _shown(schema) for name, schema in sorted(document["components"]["schemas"].items())},
    )


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "method": method.upper(),
            "path": path,
            "tag": operation["tags"][0],
            "id": operation["operationId"],
            "description": operation.get("description", ""),
            "parameters": operation.get("parameters", ()),
            "body": _schema_name(operation.get("requestBody", {})),
            "answers": [
                {"status": status, "description": answer["description"], "schema": _schema_name(answer)}
                for status, answer in sorted(operation["responses"].items())
            ],
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def _schema_name(part: dict[str, Any]) -> str:
    for content in part.get("content", {}).values():
        reference: str = content.get("schema", {}).get("$ref", "")
        if reference:
            return reference.rpartition("/")[2]
    return ""


def _shown(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
