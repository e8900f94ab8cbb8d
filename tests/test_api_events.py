"""Event streams over a real server: live, from where a listener was, to the end; and the hub behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api import events as streams
from api.events import EventHub, encode, ends_search
from api.options import Limits
from api.threads import Threads
from api_helpers import GENEROUS, Api, add_key, line_of, make_app
from evolve.exceptions import LedgerError
from evolve.ledger import EventKind, EventRecord, Ledger, SearchState
from ledger_fixtures import create, live, newborn

SOON = 20.0
"""Seconds that a loaded machine may need for what is immediate otherwise."""


class Served:
    """The service on a port of its own, over a ledger."""

    def __init__(self, ledger: Ledger, home: Path, limits: Limits = GENEROUS) -> None:
        self.ledger = ledger
        self.key = add_key(ledger, "admin")
        self.app = make_app(ledger, home, limits=limits)
        self.hub: EventHub = self.app.state.service.hub
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self) -> Served:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *error: object) -> None:
        self.hub.close()
        self._server.should_exit = True
        self._thread.join(SOON)
        assert not self._thread.is_alive()

    def listen(self, search_id: str, key: str | None = None, **options: Any) -> contextlib.AbstractContextManager:
        headers = {"Authorization": f"Bearer {key or self.key}", **options.pop("headers", {})}
        path = f"{self.url}/api/v1/searches/{search_id}/events"
        return httpx.stream("GET", path, headers=headers, timeout=SOON, **options)


def wait_until(condition) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream, as JSON; checks that their fields agree."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
            continue
        if "data" in fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["sequence"]), event["kind"])
            yield event
        fields = {}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger, Served(ledger, tmp_path) as service:
        yield service


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["sequence"] for event in events]


def test_a_listener_hears_what_was_and_what_comes(ledger_url: str, tmp_path: Path) -> None:
    with Ledger(ledger_url) as ledger, Served(ledger, tmp_path) as service:
        search = create(ledger)
        lease = ledger.acquire(search.id)
        with lease.transaction() as writing:
            writing.start(resumed=False)
        with service.listen(search.id) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            assert response.headers["X-Accel-Buffering"] == "no"
            events = parsed(response.iter_lines())
            heard = [next(events), next(events)]
            assert [event["kind"] for event in heard] == ["search_created", "search_started"]
            with lease.transaction() as writing:
                live(writing, search.id, 0)
            committed = time.monotonic()
            heard.append(next(events))
            assert time.monotonic() - committed < 2 + SOON / 10
            lease.release(SearchState.COMPLETED, "done")
            heard += list(events)  # the stream ends with the search
        assert numbers(heard) == list(range(1, len(heard) + 1))
        assert heard[-1]["kind"] == "search_finished"
        assert [event["data"] for event in heard] == [dict(event.data) for event in ledger.events(search.id)]
        with service.listen(search.id, headers={"Last-Event-ID": str(len(heard))}) as response:
            assert response.status_code == 204  # a browser asks no more
        with service.listen(search.id, headers={"Last-Event-ID": str(len(heard) - 1)}) as response:
            assert numbers(list(parsed(response.iter_lines()))) == [len(heard)]


def test_a_listener_goes_on_where_it_was(served: Served) -> None:
    search = create(served.ledger)
    lease = served.ledger.acquire(search.id)
    with lease.transaction() as writing:
        for number in range(3):
            live(writing, search.id, number)
    last = served.ledger.heads([search.id])[search.id]
    lease.release(SearchState.CANCELLED)
    for options in (
        {"headers": {"Last-Event-ID": "5"}},
        {"params": {"after": 5}},
        {"params": {"after": 2}, "headers": {"Last-Event-ID": "5"}},
    ):
        with served.listen(search.id, **options) as response:
            assert numbers(list(parsed(response.iter_lines()))) == list(range(6, last + 2))
    for bad in ("-1", "x", "9" * 30):
        with served.listen(search.id, headers={"Last-Event-ID": bad}) as response:
            response.read()
            assert "Last-Event-ID: must be" in line_of(response, 422)
    with served.listen("nothing") as response:
        response.read()
        line_of(response, 404)


def test_a_long_history_is_sent_whole_and_once(served: Served) -> None:
    search = create(served.ledger)
    lease = served.ledger.acquire(search.id)
    with lease.transaction() as writing:
        for number in range(1500):
            writing.propose(newborn(search.id, number))
    with served.listen(search.id) as response:
        events = parsed(response.iter_lines())
        heard = numbers([next(events) for _ in range(1000)])
        with lease.transaction() as writing:
            for number in range(1500, 2400):
                writing.propose(newborn(search.id, number))
        lease.release(SearchState.COMPLETED)
        heard += numbers(list(events))
    assert heard == list(range(1, 2403))


def test_many_listeners_cost_one_look(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    search = create(served.ledger)
    lease = served.ledger.acquire(search.id)
    looks: list[int] = []
    heads, amount = served.ledger.heads, 20
    monkeypatch.setattr(served.ledger, "heads", lambda ids: (looks.append(len(ids)), heads(ids))[1])
    heard: list[list[int]] = [[] for _ in range(amount)]

    def listen(index: int) -> None:
        with served.listen(search.id) as response:
            heard[index] = numbers(list(parsed(response.iter_lines())))

    threads = [threading.Thread(target=listen, args=(index,), daemon=True) for index in range(amount)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(served.hub._streams) == amount)
    looks.clear()
    started = time.monotonic()
    time.sleep(1.0)
    seconds = time.monotonic() - started
    assert set(looks) <= {1}
    assert len(looks) <= seconds / streams.POLL_SECONDS + 2
    with lease.transaction() as writing:
        live(writing, search.id, 0)
    lease.release(SearchState.COMPLETED)
    for thread in threads:
        thread.join(SOON)
    assert heard == [list(range(1, heard[0][-1] + 1))] * amount
    wait_until(lambda: not served.hub._streams)


def test_a_deleted_search_ends_its_streams(served: Served) -> None:
    search = create(served.ledger)
    with served.listen(search.id) as response:
        events = parsed(response.iter_lines())
        assert next(events)["kind"] == "search_created"
        served.ledger.delete_search(search.id)
        assert list(events) == []


def test_the_end_of_the_service_ends_every_stream(served: Served) -> None:
    search = create(served.ledger)
    began, ended = [], []

    def listen() -> None:
        with served.listen(search.id) as response:
            events = parsed(response.iter_lines())
            began.append(next(events))
            ended.append(list(events))

    threads = [threading.Thread(target=listen, daemon=True) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(began) == 20)
    started = time.monotonic()
    served.hub.close()
    for thread in threads:
        thread.join(SOON)
    assert time.monotonic() - started < 10
    assert ended == [[]] * 20
    assert httpx.get(f"{served.url}/readyz").status_code == 503


def test_streams_are_limited(tmp_path: Path) -> None:
    limits = GENEROUS.model_copy(update={"streams": 3, "streams_per_key": 2})
    with (
        Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger,
        Served(ledger, tmp_path, limits) as service,
        contextlib.ExitStack() as open_streams,
    ):
        search, other = create(ledger), add_key(ledger, "read")
        kept = []  # an iterator that is thrown away closes its stream
        for key in (None, None, other):
            response = open_streams.enter_context(service.listen(search.id, key))
            kept.append(response.iter_lines())
            next(kept[-1])
        for key in (None, other):
            with service.listen(search.id, key) as response:
                response.read()
                assert "too many event streams" in line_of(response, 429)


def test_a_listener_whose_key_is_revoked_is_sent_away(served: Served) -> None:
    search, key = create(served.ledger), add_key(served.ledger, "read")
    served.hub._heartbeat = 0.1
    with served.listen(search.id, key) as response:
        lines = response.iter_lines()
        assert any(line.startswith(": ") for line in lines)  # signs of life
        served.ledger.registry.revoke_key(key[4:12])
        served.app.state.service.doorkeeper.forget()
        for _ in lines:
            pass


@pytest.mark.parametrize(
    ("authorization", "keyless"), [("Bearer  {key}", False), ("bearer {key} ", False), ("Basic abc", True)]
)
def test_who_was_let_in_is_welcome_to_stay(tmp_path: Path, authorization: str, keyless: bool) -> None:
    """However a key is written, and whatever else is sent where none is needed."""
    heard: list[bytes] = []

    async def stream(search_id: str, after: int, owner: str, welcome, *, follow: bool) -> AsyncIterator[bytes]:
        heard.append(b"welcome" if await welcome() else b"sent away")
        yield heard[-1]

    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        api = Api(make_app(ledger, tmp_path))
        api.app.state.service.hub.stream = stream
        search = create(ledger)
        key = "" if keyless else add_key(ledger, "read")
        headers = {"Authorization": authorization.format(key=key)}
        assert api.get(f"/searches/{search.id}/events", headers=headers).status_code == 200
        api.close()
    assert heard == [b"welcome"]


def test_open_streams_are_counted(served: Served) -> None:
    def counted() -> str:
        headers = {"Authorization": f"Bearer {served.key}"}
        text = httpx.get(f"{served.url}/metrics", headers=headers, timeout=SOON).text
        return next(line for line in text.splitlines() if line.startswith("evolve_event_streams "))

    search = create(served.ledger)
    assert counted() == "evolve_event_streams 0.0"
    with served.listen(search.id) as one, served.listen(search.id) as other:
        lines = [response.iter_lines() for response in (one, other)]  # a stream is closed with its last reader
        assert [next(each) for each in lines] == ["retry: 2000"] * 2
        assert counted() == "evolve_event_streams 2.0"


def test_a_listener_that_went_away_is_forgotten(served: Served) -> None:
    search = create(served.ledger)
    served.hub._heartbeat = 0.1
    with served.listen(search.id) as response:
        lines = response.iter_lines()
        next(lines)
        assert len(served.hub._streams) == 1
    wait_until(lambda: not served.hub._streams)
    assert not served.hub._channels


async def yes() -> bool:
    return True


async def collected(stream: AsyncIterator[bytes], until: bytes) -> bytes:
    text = b""
    async for chunk in stream:
        text += chunk
        if until in text:
            break
    return text


def test_streams_outlive_a_ledger_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(streams, "POLL_SECONDS", 0.01)

    async def listen(ledger: Ledger, search_id: str, threads: Threads) -> bytes:
        stream = EventHub(ledger, threads).stream(search_id, 0, "me", yes)
        assert b"search_created" in await collected(stream, b"search_created")
        heads, failures = ledger.heads, iter(range(5))

        def away(ids: list[str]) -> dict[str, int]:
            if next(failures, None) is not None:
                raise LedgerError("away")
            return heads(ids)

        monkeypatch.setattr(ledger, "heads", away)
        await threads.write(ledger.requeue, search_id, "go on")
        text = await asyncio.wait_for(collected(stream, b"notice"), SOON)
        await stream.aclose()
        return text

    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        threads = Threads()
        search = create(ledger)

        async def both() -> bytes:
            # the generator is left at a break, so a second loop over it goes on
            return await listen(ledger, search.id, threads)

        assert b"go on" in asyncio.run(both())
        threads.close()


def test_a_search_that_ends_while_somebody_comes_is_not_waited_for(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        search = create(ledger)
        heads, ends = ledger.heads, iter([True])

        class Ending:
            """A ledger in which the search ends between two looks."""

            def heads(self, ids: list[str]) -> dict[str, int]:
                found = heads(ids)
                if next(ends, False):
                    ledger.acquire(search.id).release(SearchState.COMPLETED)
                return found

            def search(self, ref: str):
                return ledger.search(ref)

        assert streams.standing(Ending(), search.id) == (2, True)


@pytest.mark.parametrize(
    ("kind", "state", "over"),
    [
        (EventKind.SEARCH_FINISHED, "completed", True),
        (EventKind.SEARCH_FINISHED, "cancelled", True),
        (EventKind.SEARCH_FINISHED, "failed", False),
        (EventKind.SEARCH_FINISHED, "interrupted", False),
        (EventKind.SEARCH_FINISHED, None, False),
        (EventKind.NOTICE, "completed", False),
    ],
)
def test_which_events_are_the_last(kind: EventKind, state: str | None, over: bool) -> None:
    assert ends_search(EventRecord("a", 1, kind, 0.0, data={"state": state})) is over


def test_an_event_is_one_line_whatever_it_holds() -> None:
    text = "a\nb\r\nid: 7\x85\u2028 <script>"
    sent = encode(EventRecord("a", 3, EventKind.NOTICE, 1.0, data={"message": text}))
    assert sent.count(b"\n") == 4
    assert b"\r" not in sent
    (event,) = parsed(iter(sent.decode().split("\n")))
    assert event["data"]["message"] == text
