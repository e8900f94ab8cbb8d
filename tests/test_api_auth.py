"""Who gets in: every route as each kind of caller, keys, the open mode on this machine, limits, headers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from api.auth import LOCAL, OPEN_SECONDS, REMEMBERED_SECONDS, Doorkeeper, Principal, authenticate
from api.deps import Scope, Unguarded
from api.limits import RateLimit
from api.options import Limits, ServiceOptions, is_loopback
from api_helpers import GENEROUS, Api, add_key, line_of, make_app, opened
from evolve.exceptions import InputError, LedgerError
from evolve.keys import SCOPES, allows, digest_of, make_key, split_key
from evolve.ledger import Ledger

Serve: TypeAlias = Callable[..., Api]

CALLERS = ("no key", "bad", "revoked", "read", "submit", "admin")
BAD = f"evk_0123abcd_{'x' * 43}"

DECLARED = {
    ("POST", "/api/v1/searches"): "submit",
    ("GET", "/api/v1/searches"): "read",
    ("GET", "/api/v1/searches/{id}"): "read",
    ("PATCH", "/api/v1/searches/{id}"): "submit",
    ("DELETE", "/api/v1/searches/{id}"): "submit",
    ("POST", "/api/v1/searches/{id}/pause"): "submit",
    ("POST", "/api/v1/searches/{id}/resume"): "submit",
    ("POST", "/api/v1/searches/{id}/cancel"): "submit",
    ("GET", "/api/v1/searches/{id}/generations"): "read",
    ("GET", "/api/v1/searches/{id}/individuals"): "read",
    ("GET", "/api/v1/searches/{id}/individuals/{number}"): "read",
    ("GET", "/api/v1/searches/{id}/best"): "read",
    ("GET", "/api/v1/searches/{id}/best/weights"): "read",
    ("GET", "/api/v1/searches/{id}/front"): "read",
    ("GET", "/api/v1/searches/{id}/report"): "read",
    ("GET", "/api/v1/searches/{id}/events"): "read",
    ("GET", "/api/v1/compare"): "read",
    ("GET", "/api/v1/spaces"): "read",
    ("GET", "/api/v1/spaces/{name}"): "read",
    ("POST", "/api/v1/check"): "read",
    ("GET", "/api/v1/datasets"): "read",
    ("POST", "/api/v1/datasets"): "admin",
    ("DELETE", "/api/v1/datasets/{id}"): "admin",
    ("GET", "/api/v1/keys"): "admin",
    ("POST", "/api/v1/keys"): "admin",
    ("DELETE", "/api/v1/keys/{id}"): "admin",
    ("GET", "/api/v1/webhooks"): "admin",
    ("POST", "/api/v1/webhooks"): "admin",
    ("GET", "/api/v1/webhooks/{id}"): "admin",
    ("DELETE", "/api/v1/webhooks/{id}"): "admin",
    ("POST", "/api/v1/webhooks/{id}/test"): "admin",
    ("GET", "/healthz"): "public",
    ("GET", "/readyz"): "public",
    ("GET", "/metrics"): "read",
    ("GET", "/docs"): "public",
    ("GET", "/openapi.json"): "public",
}
"""What each route needs. A new one is entered here by a person who has thought about it."""


def scopes_of(app: FastAPI) -> dict[tuple[str, str], list[str]]:
    """What the routes of an application declare."""
    return {
        (method, str(context.path)): _declared(context)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }


def _declared(context: RouteContext) -> list[str]:
    calls = [each.call for each in context.dependant.dependencies]
    return [call.name for call in calls if isinstance(call, Scope | Unguarded)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened_ledger:
        yield opened_ledger


@pytest.fixture
def serve(ledger: Ledger, tmp_path: Path) -> Iterator[Serve]:
    """Makes applications over the ledger."""
    with ExitStack() as opened_apis:

        def make(**options: object) -> Api:
            api = Api(make_app(ledger, tmp_path, **options))
            opened_apis.callback(api.close)
            return api

        yield make


def test_every_route_declares_one_scope(ledger: Ledger, tmp_path: Path) -> None:
    found = scopes_of(make_app(ledger, tmp_path))
    assert {route: names[0] for route, names in found.items() if len(names) == 1} == DECLARED
    assert all(len(names) == 1 for names in found.values())


def test_a_route_without_a_scope_would_be_noticed(ledger: Ledger, tmp_path: Path) -> None:
    app, router = make_app(ledger, tmp_path), APIRouter(prefix="/api/v1")

    @router.get("/forgotten")
    async def forgotten() -> None: ...

    app.include_router(router)
    assert scopes_of(app)["GET", "/api/v1/forgotten"] == []


def test_every_route_is_open_to_whom_it_says(ledger_url: str, tmp_path: Path) -> None:
    with opened(ledger_url, tmp_path) as (api, ledger):
        keys = {scope: add_key(ledger, scope) for scope in SCOPES} | {"no key": "", "bad": BAD}
        keys["revoked"] = add_key(ledger, "admin", "gone")
        ledger.registry.revoke_key(split_key(keys["revoked"])[0])
        api.key = None
        for (method, path), scope in DECLARED.items():
            for caller in CALLERS:
                where = path.format(id="0123abcd", number=0, name="demo")
                response = api.call(method, where, key=keys[caller], params={"ids": "0123abcd"})
                status = response.status_code
                if scope == "public":
                    assert status == 200, (method, path, caller)
                elif caller in ("no key", "bad", "revoked"):
                    assert "API key: " in line_of(response, 401), (method, path, caller)
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                elif not allows([caller], scope):
                    assert f"the scope {scope} is needed" in line_of(response, 403), (method, path, caller)
                else:
                    assert status in (200, 201, 204, 404, 409, 422), (method, path, caller, response.text)


def test_what_may_not_come_in_is_not_even_read(ledger: Ledger, serve: Serve) -> None:
    reader, api = add_key(ledger, "read"), serve()
    for key, status in (("", 401), (reader, 403)):
        line_of(api.post("/searches", key=key, content=b"\xff{", headers={"Content-Type": "text/odd"}), status)


def test_a_key_says_nothing_about_itself(ledger: Ledger) -> None:
    new, token = make_key("ann", ["submit"])
    ledger.registry.add_key(**new)
    secret = token.rpartition("_")[2] if "_" not in token.split("_", 2)[2] else token.split("_", 2)[2]
    stored = ledger.registry.key(new["key_id"])
    assert secret not in repr(stored)
    assert stored.digest == digest_of(secret)
    assert authenticate(ledger.registry, token) == Principal(new["key_id"], ("submit",))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace(token[4:12], "00000000"),
        lambda token: token + "x",
        lambda token: token.upper(),
        lambda token: token + "\n",
        lambda token: "",
        lambda token: "evk__",
        lambda token: "\ud800" * 56,
    ],
)
def test_nothing_but_the_key_itself_opens(ledger: Ledger, change) -> None:
    token = add_key(ledger, "admin")
    assert authenticate(ledger.registry, token) is not None
    assert authenticate(ledger.registry, change(token)) is None


@pytest.mark.parametrize(
    ("name", "scopes"), [("", ["read"]), ("a\nb", ["read"]), ("a" * 101, ["read"]), ("a", ["root"]), ("a", [])]
)
def test_keys_that_cannot_be_made(name: str, scopes: list[str]) -> None:
    with pytest.raises(InputError, match=r"^key: "):
        make_key(name, scopes)


def test_scopes_include_those_before_them() -> None:
    assert [allows(["submit"], scope) for scope in SCOPES] == [True, True, False]


class CountingRegistry:
    """The keys of a ledger; counts the looks."""

    def __init__(self, ledger: Ledger) -> None:
        self._registry = ledger.registry
        self.looks = 0

    def key_by_digest(self, digest: str):
        self.looks += 1
        return self._registry.key_by_digest(digest)

    def has_keys(self) -> bool:
        self.looks += 1
        return self._registry.has_keys()

    def touch_key(self, key_id: str) -> None:
        raise LedgerError("away")


def test_the_doorkeeper_remembers_for_a_moment(ledger: Ledger) -> None:
    now = [0.0]
    registry = CountingRegistry(ledger)
    door = Doorkeeper(registry, local=True, clock=lambda: now[0])
    token = add_key(ledger, "read")
    principal = door.admit(token)
    assert principal is not None
    ledger.registry.revoke_key(principal.key_id)
    assert (door.admit(token), door.recall(token), registry.looks) == (principal, principal, 1)
    now[0] += REMEMBERED_SECONDS + 0.1
    assert (door.recall(token), door.admit(token)) == (None, None)
    door.touch(principal.key_id)  # a ledger that is away harms nobody


def test_the_doorkeeper_looks_again_after_a_change(ledger: Ledger) -> None:
    door = Doorkeeper(ledger.registry, local=True)
    token = add_key(ledger, "read")
    assert door.admit(token) is not None
    ledger.registry.revoke_key(split_key(token)[0])
    door.forget()
    assert door.admit(token) is None


def test_the_last_use_is_noted_once_a_minute(ledger: Ledger) -> None:
    now = [0.0]
    door = Doorkeeper(ledger.registry, local=True, clock=lambda: now[0])
    token = add_key(ledger, "read")
    principal = door.admit(token)
    assert [door.needs_touch(principal), door.needs_touch(principal), door.needs_touch(LOCAL)] == [
        True,
        False,
        False,
    ]
    now[0] += 61
    assert door.needs_touch(principal)
    door.touch(principal.key_id)
    assert ledger.registry.key(principal.key_id).last_used_at is not None


def test_without_keys_this_machine_comes_in(ledger: Ledger) -> None:
    now = [0.0]
    local = Doorkeeper(ledger.registry, local=True, clock=lambda: now[0])
    assert local.admit(None) is LOCAL
    assert Doorkeeper(ledger.registry, local=False).admit(None) is None
    token = add_key(ledger, "admin")
    now[0] += OPEN_SECONDS + 0.1
    assert local.admit(None) is None
    ledger.registry.revoke_key(split_key(token)[0])
    assert Doorkeeper(ledger.registry, local=False).admit(None) is None


def test_the_first_key_closes_the_door(serve: Serve) -> None:
    api = serve()
    assert api.get("/searches").status_code == 200
    assert "the first key must have the scope admin" in line_of(
        api.post("/keys", json={"name": "a", "scope": "read"}), 409
    )
    created = api.post("/keys", json={"name": "a", "scope": "admin"})
    assert created.status_code == 201
    line_of(api.get("/searches"), 401)
    api.key = created.json()["key"]
    assert api.get("/searches").status_code == 200
    listed = api.get("/keys").json()
    assert listed["count"] == 1
    assert "key" not in listed["data"][0]
    assert "digest" not in listed["data"][0]


def test_a_key_that_is_revoked_opens_nothing_at_once(ledger: Ledger, serve: Serve) -> None:
    api = serve()
    api.key = add_key(ledger, "admin")
    other = api.post("/keys", json={"name": "b", "scope": "read"}).json()
    assert api.get("/searches", key=other["key"]).status_code == 200
    assert api.delete(f"/keys/{other['id']}").status_code == 204
    line_of(api.get("/searches", key=other["key"]), 401)
    line_of(api.delete("/keys/nobody"), 404)
    own = split_key(api.key)[0]
    assert "must not be the one that asks" in line_of(api.delete(f"/keys/{own}"), 409)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "", "10.0.0.1"]
)
def test_without_keys_only_names_of_this_machine_are_answered_to(serve: Serve, host: str) -> None:
    api = serve()
    assert "Host: " in line_of(api.get("/searches", headers={"Host": host}), 421)
    assert "Host: " in line_of(api.get("/healthz", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "here.example"])
def test_names_of_this_machine_are_answered_to(serve: Serve, host: str) -> None:
    limits = GENEROUS.model_copy(update={"allowed_hosts": " Here.example:443 , other.example"})
    api = serve(limits=limits)
    assert api.get("/searches", headers={"Host": host}).status_code == 200


def test_a_service_with_keys_answers_to_any_name_unless_told(ledger: Ledger, serve: Serve) -> None:
    key = add_key(ledger, "read")
    named = GENEROUS.model_copy(update={"allowed_hosts": "here.example"})
    for limits, status in ((GENEROUS, 200), (named, 421)):
        api = serve(limits=limits, host="0.0.0.0")
        assert api.get("/searches", key=key, headers={"Host": "team.example"}).status_code == status


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "Via", "X-Real-IP"]
)
def test_without_keys_nothing_comes_through_a_proxy(ledger: Ledger, serve: Serve, header: str) -> None:
    api = serve()
    assert "proxy" in line_of(api.get("/searches", headers={header: "203.0.113.1"}), 403)
    api.key = add_key(ledger, "read")
    api.app.state.service.doorkeeper.forget()
    assert api.get("/searches", headers={header: "203.0.113.1"}).status_code == 200


def test_without_keys_nothing_comes_in_the_http_of_proxies_that_say_nothing(ledger: Ledger, serve: Serve) -> None:
    api = serve()

    async def older(scope, receive, send) -> None:
        await api.app({**scope, "http_version": "1.0"}, receive, send)

    older.state = api.app.state
    with closing(Api(older)) as through:
        assert "HTTP/1.0" in line_of(through.get("/searches"), 403)
        through.key = add_key(ledger, "read")
        api.app.state.service.doorkeeper.forget()
        assert through.get("/searches").status_code == 200


@pytest.mark.parametrize("origin", [b"http://[", b"http://[::1", b"null", b"http://evil.example", b"\xff"])
def test_a_socket_that_another_site_opens_is_closed(serve: Serve, origin: bytes) -> None:
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost:8000"), (b"origin", origin)]
    scope = {"type": "websocket", "path": "/_nicegui_ws/", "headers": headers, "client": ("127.0.0.1", 1)}
    asyncio.run(serve().app(scope, receive, send))
    assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1008)]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://["},
        {"Origin": "http://[localhost:8000"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "method": "POST"},
    ],
)
def test_other_sites_get_nothing_done(serve: Serve, headers: dict[str, str]) -> None:
    api = serve()
    method = headers.get("method", "GET")
    given = {name: value for name, value in headers.items() if name != "method"}
    refused = api.call(method, "/searches", headers=given)
    assert "other sites" in line_of(refused, 403)
    assert not [name for name in refused.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_our_own_pages_and_links_are_welcome(serve: Serve, headers: dict[str, str]) -> None:
    assert serve().get("/searches", headers=headers).status_code == 200


def test_a_program_with_a_key_may_come_from_anywhere(ledger: Ledger, serve: Serve) -> None:
    api = serve()
    api.key = add_key(ledger, "read")
    assert api.get("/searches", headers={"Origin": "http://evil.example"}).status_code == 200
    preflight = api.call("OPTIONS", "/searches", key="", headers={"Origin": "http://evil.example"})
    assert preflight.status_code == 403


def test_a_key_that_asks_too_often_waits_and_others_do_not(ledger: Ledger, serve: Serve) -> None:
    limits = GENEROUS.model_copy(update={"requests_per_second": 0.01, "request_burst": 3})
    api = serve(limits=limits)
    one, other = add_key(ledger, "read"), add_key(ledger, "read")
    assert [api.get("/searches", key=one).status_code for _ in range(4)] == [200, 200, 200, 429]
    late = api.get("/searches", key=one)
    assert "too many requests" in line_of(late, 429)
    assert int(late.headers["Retry-After"]) >= 1
    assert api.get("/searches", key=other).status_code == 200


def test_whoever_guesses_keys_is_slowed_down_and_nobody_else(ledger: Ledger, serve: Serve) -> None:
    limits = GENEROUS.model_copy(update={"failures_per_second": 0.01, "failure_burst": 2})
    good = add_key(ledger, "read")
    api = serve(limits=limits)
    assert [api.get("/searches", key=BAD).status_code for _ in range(3)] == [401, 401, 429]
    assert api.get("/searches", key=good).status_code == 200  # from the same address, and seen for the first time
    late = api.get("/searches", key="")
    assert "too many keys that do not work" in line_of(late, 429)
    assert int(late.headers["Retry-After"]) >= 1
    with closing(Api(api.app, BAD, address="192.0.2.7")) as elsewhere:
        assert elsewhere.get("/searches").status_code == 401


def test_a_bucket_fills_steadily() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 3.0, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] += 0.5
    assert [limit.wait("a"), limit.take("a"), limit.take("a")] == [0, 0, 0.5]
    now[0] += 1e9
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("b") == 0


def test_answers_have_headers_that_keep_browsers_careful(serve: Serve) -> None:
    api = serve()
    for path in ("/searches", "/nothing", "/healthz", "/docs"):
        headers = api.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] in ("DENY", "SAMEORIGIN")
        assert "frame-ancestors" in headers["Content-Security-Policy"]
    assert api.get("/searches").headers["Cache-Control"] == "no-store"


def test_the_documentation_loads_nothing_from_elsewhere(serve: Serve) -> None:
    api = serve()
    page = api.get("/docs").text
    assert "<script" not in page
    assert "http://" not in page.replace("http://localhost", "")
    assert "https://" not in page
    assert "/api/v1/searches/{id}/events" in page
    paths = api.get("/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == {
        route for route in DECLARED if route[1] not in ("/docs", "/openapi.json")
    }


def test_metrics_count_by_route_and_not_by_what_is_asked_for(serve: Serve) -> None:
    api = serve()
    for path in ("/searches/aaaaaaaa", "/searches/bbbbbbbb", "/searches", "/odd/path"):
        api.get(path)
    text = api.get("/metrics").text
    assert 'evolve_http_requests_total{method="GET",route="/api/v1/searches/{id}",status="404"} 2.0' in text
    assert "aaaaaaaa" not in text
    assert 'route="unmatched"' in text
    assert 'evolve_searches{state="created"} 0.0' in text
    assert "evolve_pool_slots 4.0" in text


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.8.8", True), ("0.0.0.0", False), ("", False)],
)
def test_which_addresses_are_this_machine_alone(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    assert ServiceOptions(host=host, limits=GENEROUS).is_local is local


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVE_REQUESTS_PER_SECOND", "7")
    assert Limits().requests_per_second == 7
    monkeypatch.setenv("EVOLVE_REQUESTS_PER_SECOND", "fast")
    with pytest.raises(InputError, match=r"^EVOLVE_REQUESTS_PER_SECOND: "):
        Limits()
