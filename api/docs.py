"""The documentation at `/docs`, made of the OpenAPI document: one page that needs no other server and no script."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from api.deps import SCOPE, Public
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
    environment.filters["code"] = _code
    return environment.get_template("docs.html").render(
        info=document["info"],
        groups=_groups(document),
        schemas={name: _shown(schema) for name, schema in sorted(document["components"]["schemas"].items())},
    )


def _code(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _groups(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations by their tags, in the order in which they were declared."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
    return groups


def _operation(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": method.upper(),
        "path": path,
        "id": operation["operationId"],
        "scope": operation[SCOPE],
        "description": operation.get("description", ""),
        "parameters": operation.get("parameters", ()),
        "body": _schema_name(operation.get("requestBody", {})),
        "answers": [
            {"status": status, "description": answer["description"], "schema": _schema_name(answer)}
            for status, answer in sorted(operation["responses"].items())
        ],
    }


def _schema_name(part: dict[str, Any]) -> str:
    for content in part.get("content", {}).values():
        reference: str = content.get("schema", {}).get("$ref", "")
        if reference:
            return reference.rpartition("/")[2]
    return ""


def _shown(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
