"""What stands at addresses where there is no page."""

from __future__ import annotations

from fastapi import Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, Response
from nicegui import app
from starlette.exceptions import HTTPException

from api.dashboard import theme

# nothing of the address is repeated: it may hold anything
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not found · Evolve</title>
<link rel="stylesheet" href="{stylesheet}">
</head>
<body>
<main class="ev-login">
<h1>There is no such page</h1>
<p class="ev-muted">It may have been moved, or its address is not complete.</p>
<p><a href="/">To the list of searches</a></p>
</main>
<script>if (matchMedia("(prefers-color-scheme: dark)").matches) document.body.classList.add("body--dark")</script>
</body>
</html>
"""


@app.exception_handler(404)
async def not_found(request: Request, error: Exception) -> Response:
    """A page that leads back; programs and scripts that ask for files get what they expect."""
    if isinstance(error, HTTPException) and "text/html" not in request.headers.get("accept", ""):
        return await http_exception_handler(request, error)
    return HTMLResponse(_PAGE.format(stylesheet=theme.stylesheet()), 404)
