"""What surrounds every page: who may see it, header, navigation, and the place for its content."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_type_hints
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import context, ui

from api.auth import LOCAL, Principal
from api.dashboard import theme
from api.dashboard.components import banner, block, link, text
from api.dashboard.components.text import attribute
from api.dashboard.session import COOKIE
from api.dashboard.site import Site, site
from evolve.exceptions import EvolveError, Forbidden

_BUILD_SECONDS = 60.0

_NAVIGATION = (("Searches", "/", "read"), ("Submit", "/submit", "submit"), ("Data sets", "/datasets", "read"))
_ADMINISTRATION = (("Keys", "/keys", "admin"),)

Builder = Callable[..., Awaitable[None]]


def page(path: str, title: str, scope: str = "read") -> Callable[[Builder], Builder]:
    """Make an async function the builder of a page that needs a scope.

    The function gets `principal` first, then the parameters of its path. Whoever has not signed in is sent to
    do so; whoever may not see the page is told so.

    Args:
        path: As for `ui.page`.
        title: Of the browser's window.
        scope: `read`, `submit` or `admin`.
    """

    def decorate(builder: Builder) -> Builder:
        @functools.wraps(builder)
        async def guarded(request: Request, **parameters: Any) -> Response | None:
            here = site()
            principal = await here.run(principal_of, here, request)
            if principal is None:
                return led_on(f"/login?next={quote(address_within(request), safe='/')}")
            with _frame(principal, path):
                if not principal.may(scope):
                    context.client.status_code = 403
                    banner(f"This page needs a key with the scope {scope}; sign in with one.")
                else:
                    await _built(builder, principal, parameters)
            return None

        types = get_type_hints(builder)
        taken = list(inspect.signature(builder).parameters.values())[1:]
        parameters = [each.replace(annotation=types[each.name]) for each in taken]
        own = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
        guarded.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
        guarded.__annotations__ = {**types, "request": Request}
        ui.page(path, title=f"{title} · Evolve", response_timeout=_BUILD_SECONDS)(guarded)
        return builder

    return decorate


def address_within(request: Request) -> str:
    """What was asked for, as an address within the service."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def led_on(target: str) -> Response:
    """Send a browser elsewhere, and keep nothing of the page that it asked for."""
    context.client.delete()  # which would wait a minute for the browser otherwise
    return RedirectResponse(target, 303)


async def _built(builder: Builder, principal: Principal, parameters: dict[str, Any]) -> None:
    """Build a page; what it cannot find or do is one line on it."""
    try:
        await builder(principal, **parameters)
    except EvolveError as error:
        context.client.status_code = 404
        banner(str(error))
        link("Back to all searches", "/", "ev-link")


def principal_of(here: Site, request: Request) -> Principal | None:
    """Who asks: whoever signed in, or anybody at this machine while there are no keys. Waits for the database."""
    known = here.sessions.principal(request.cookies.get(COOKIE))
    if known is not None:
        return known
    return LOCAL if here.service.doorkeeper.is_open() else None


async def require(scope: str) -> Principal:
    """Who is behind an event of the page, again, as keys may have been revoked since the page was built.

    Raises:
        Forbidden: They may not do what needs `scope`.
    """
    here = site()
    principal = await here.run(principal_of, here, context.client.request)
    if principal is None or not principal.may(scope):
        raise Forbidden(f"this needs a key with the scope {scope}, which you are not signed in with any more")
    return principal


@contextmanager
def _frame(principal: Principal, path: str) -> Iterator[None]:
    switch = theme.apply()
    with block("header", "ev-header"), block(classes="ev-header-inner"):
        with link("", "/", "ev-brand", aria_label="Evolve, all searches"):
            block("span", "ev-brand-mark", aria_hidden="true")
            text("span", "Evolve")
        with block("nav", "ev-nav", aria_label="Pages"):
            for label, target, scope in (*_NAVIGATION, *_ADMINISTRATION):
                if principal.may(scope):
                    entry = link(label, target, "ev-nav-link")
                    if target == path:
                        attribute(entry, aria_current="page")
        with block(classes="ev-header-end"):
            _theme_choice(switch)
            _signed_in(principal)
    with block("main", "ev-main") as main:
        yield
    ui.skip_link("Skip to the content", target=main)


def _theme_choice(switch: theme.ThemeSwitch) -> None:
    with block("label", "ev-theme"):
        text("span", "Theme", "ev-hidden")
        choice = block("select", "ev-select", aria_label="Theme")
        with choice:
            for name in ("auto", "light", "dark"):
                option = text("option", name, value=name)
                if name == switch.chosen:
                    attribute(option, selected=True)
    choice.on("change", lambda event: switch.choose(str(event.args)), js_handler="(e) => emit(e.target.value)")


def _signed_in(principal: Principal) -> None:
    if principal.key_id is None:
        text(
            "span", "local", "ev-who", title="The service has no keys: whoever is at this machine may do everything"
        )
        return
    with block("form", "ev-logout", method="post", action="/logout"):
        text("span", principal.scopes[-1] if principal.scopes else "", "ev-who", title=f"key {principal.key_id}")
        text("button", "Sign out", "ev-linklike", type="submit")
