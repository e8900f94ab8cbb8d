"""Signing in with an API key, and out again."""

from __future__ import annotations

import re
from typing import cast
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import app, ui

from api.auth import authenticate
from api.dashboard import theme
from api.dashboard.components import banner, block, text
from api.dashboard.components.text import attribute
from api.dashboard.frame import led_on, principal_of
from api.dashboard.session import COOKIE, SECONDS
from api.dashboard.site import SCOPE_KEY, Site, site
from api.deps import address_of

_LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\]*")
_MOST_BYTES = 4096
_REFUSALS = {
    "key": "That key is not known here, or was revoked.",
    "often": "Too many keys that do not work in a short time; wait a minute.",
}


@ui.page("/login", title="Sign in · Evolve")
async def login_page(request: Request, next: str = "/", failed: str = "") -> Response | None:
    """The form; whoever needs no key, or has shown one already, is led on at once."""
    here = site()
    target = _local(next)
    if await here.run(principal_of, here, request) is not None and not failed:
        return led_on(target)
    theme.apply()
    with block("main", "ev-login"):
        with block("div", "ev-brand"):
            block("span", "ev-brand-mark", aria_hidden="true")
            text("span", "Evolve")
        text("h1", "Sign in")
        if failed:
            banner(_REFUSALS.get(failed, _REFUSALS["key"]))
        with block("form", "ev-form", method="post", action="/login"):
            attribute(block("input"), type="hidden", name="next", value=target)
            text("label", "API key", for_="key")
            attribute(
                block("input", "ev-input"), id="key", name="key", type="password", required=True, autofocus=True,
                autocomplete="current-password", spellcheck="false", placeholder="evk_…",
            )  # fmt: skip
            text("button", "Sign in", "ev-submit", type="submit")
        text("p", "An admin makes keys: on the page Keys, or with `evolve key create`.", "ev-muted")
    return None


@app.post("/login", include_in_schema=False)
async def sign_in(request: Request) -> Response:
    """Take a key, and give the browser a cookie in its place."""
    here = cast("Site", request.scope[SCOPE_KEY])
    form = await request.form(max_files=0, max_fields=4, max_part_size=_MOST_BYTES)
    key, target = str(form.get("key", "")).strip(), _local(str(form.get("next", "/")))
    address = address_of(request)
    # a key is looked up in any case: others at the same address, and their mistakes, keep nobody out who has one
    principal = await here.run(authenticate, here.ledger.registry, key[:_MOST_BYTES])
    if principal is None:
        return _refused("often" if here.service.failures.take(address) else "key", target)
    answer = RedirectResponse(target, 303)
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    cookie = await here.run(here.sessions.cookie, principal)
    answer.set_cookie(COOKIE, cookie, max_age=SECONDS, path="/", secure=secure, httponly=True, samesite="lax")
    return answer


@app.post("/logout", include_in_schema=False)
async def sign_out() -> Response:
    """Take the cookie back."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return answer


def _refused(reason: str, target: str) -> Response:
    return RedirectResponse(f"/login?{urlencode({'failed': reason, 'next': target})}", 303)


def _local(target: str) -> str:
    """Where to go after signing in: only ever a page of ours."""
    return target if _LOCAL_PATH.fullmatch(target) else "/"
