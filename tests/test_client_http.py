"""What the client does when the network, the server or the user is at fault; over transports made up for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.client import http
from evolve.client.events import LONGEST, EventStream, StreamParser
from evolve.client.http import Connection
from evolve.exceptions import EvolveError, InputError, NotFound, ServiceAway, ServiceError, StateConflict

URL = "http://127.0.0.1:8000"
Step = int | Exception | httpx.Response | Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF_SECONDS", (0.001, 0.01))


class Script(httpx.BaseTransport):
    """Plays one step for each request; the last one for ever."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        if callable(step):
            return step(request)
        if isinstance(step, int):
            return httpx.Response(step, json={"detail": "the server's words"} if step >= 300 else {"ok": True})
        return step


def connect(*steps: Step, **options: Any) -> tuple[Connection, Script]:
    script = Script(*steps)
    return Connection(URL, transport=script, **options), script


BROKEN = [httpx.ReadError("reset"), httpx.RemoteProtocolError("hung up"), httpx.ReadTimeout("slow"), 502, 503, 504]
UNSENT = [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), 429]


@pytest.mark.parametrize("fault", [*BROKEN, *UNSENT])
def test_what_may_be_repeated_is_repeated(fault: Step) -> None:
    connection, script = connect(fault, fault, 200)
    assert connection.get("/searches") == {"ok": True}
    assert len(script.requests) == 3
    connection, script = connect(fault, fault, 200)
    assert connection.request("POST", "/searches", json={}, repeatable=True).is_success
    assert len({request.content for request in script.requests}) == 1


@pytest.mark.parametrize("fault", BROKEN)
def test_what_may_have_been_done_is_not_done_twice(fault: Step) -> None:
    connection, script = connect(fault, 200)
    with pytest.raises(ServiceError):
        connection.request("POST", "/searches/1/resume")
    assert len(script.requests) == 1


@pytest.mark.parametrize("fault", UNSENT)
def test_what_never_arrived_is_repeated_in_any_case(fault: Step) -> None:
    connection, _ = connect(fault, 200)
    assert connection.request("POST", "/searches/1/resume").is_success


def test_attempts_are_counted_and_pauses_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, script = connect(httpx.ConnectError("refused"), retries=3)
    with pytest.raises(ServiceAway, match="start it with `evolve serve`"):
        connection.get("/searches")
    assert len(script.requests) == 4
    monkeypatch.setattr(http, "BACKOFF_SECONDS", (0.25, 5.0))
    pauses = [http.pause(attempt) for attempt in range(2000)]
    assert max(pauses) <= 5
    assert pauses[0] <= 0.25


def test_a_server_that_asks_for_patience_gets_it() -> None:
    busy = httpx.Response(429, headers={"Retry-After": "1"}, json={"detail": "too many"})
    connection, _ = connect(busy, 200)
    began = time.monotonic()
    connection.get("/searches")
    assert time.monotonic() - began >= 1


def test_a_repeated_deletion_that_finds_nothing_has_done_its_work() -> None:
    connection, _ = connect(httpx.ReadError("reset"), 404)
    assert connection.request("DELETE", "/searches/1").status_code == 404
    connection, _ = connect(404)
    with pytest.raises(NotFound):
        connection.request("DELETE", "/searches/1")


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (401, ServiceError, "EVOLVE_API_KEY"),
        (403, ServiceError, "scope"),
        (404, NotFound, "the server's words"),
        (409, StateConflict, "the server's words"),
        (413, InputError, "the server's words"),
        (422, InputError, "the server's words"),
        (429, ServiceError, "the server's words"),
        (500, ServiceError, "answered 500: the server's words"),
        (httpx.Response(404, text="<html>nginx</html>"), ServiceError, "as none does"),
        (httpx.Response(302, headers={"Location": "http://x"}), ServiceError, "as none does"),
        (httpx.Response(200, text="<html>log in</html>"), ServiceError, "as none does"),
        (httpx.Response(200, content=b"\xff\xfe"), ServiceError, "as none does"),
        (httpx.Response(502, text="<html>bad gateway</html>"), ServiceError, "did not say why"),
        (httpx.Response(422, json={"detail": "two\nlines \x1b[31m"}), InputError, "two lines \ufffd["),
        (httpx.Response(422, json=["list"]), ServiceError, "as none does"),
        (httpx.ReadTimeout("x"), ServiceAway, "took too long"),
        (httpx.ReadError(""), ServiceAway, "hung up"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_says_what_to_do(answer: Step, kind: type[EvolveError], said: str) -> None:
    connection, _ = connect(answer, retries=1)
    with pytest.raises(kind) as caught:
        connection.get("/searches")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "localhost", "ftp://x", "http://", "http://a:b@x", "http://x?y", "x" * 9],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--server"):
        Connection(url)


@pytest.mark.parametrize("url", [URL, URL + "/", URL + "/api/v1", URL + "/api/v1/", f" {URL} "])
def test_an_address_may_be_written_in_several_ways(url: str) -> None:
    connection = Connection(url, transport=(script := Script(200)))
    connection.get("/searches", limit=1, name=None)
    assert str(script.requests[0].url) == f"{URL}/api/v1/searches?limit=1"


def test_the_key_travels_in_the_header_only() -> None:
    connection, script = connect(200, key="evk_1_secret\n")
    connection.get("/searches")
    assert script.requests[0].headers["Authorization"] == "Bearer evk_1_secret"
    assert "secret" not in str(script.requests[0].url)
    for bad in ("evk_1 secret", "evk_\x00", "schlüssel", "a\r\nHost: b"):
        with pytest.raises(InputError) as refused:
            Connection(URL, bad)
        assert bad not in str(refused.value)


def test_the_server_tells_the_time() -> None:
    dated = httpx.Response(200, headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, json={})
    connection, _ = connect(dated, httpx.Response(200, headers={"Date": "nonsense"}, json={}))
    connection.get("/searches")
    connection.get("/searches")
    assert connection.server_time() == pytest.approx(1767225600, abs=30)


# The event stream


def line(sequence: int, kind: str = "notice", **data: object) -> bytes:
    event = {"search_id": "1", "sequence": sequence, "kind": kind, "at": 0.0, "individual": None, "data": data}
    return f"id: {sequence}\nevent: {kind}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def stream(*chunks: bytes | Exception) -> Callable[[httpx.Request], httpx.Response]:
    def content() -> Iterator[bytes]:
        for chunk in chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    return lambda _: httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=content())


def state(name: str) -> httpx.Response:
    return httpx.Response(200, json={"id": "1", "state": name})


def sequences(connection: Connection, after: int = 0, **options: Any) -> list[int]:
    events = EventStream(connection, "/searches/1", after, **options)
    return [event["sequence"] for batch in events.batches() for event in batch]


def test_a_stream_goes_on_where_it_broke_off() -> None:
    connection, script = connect(
        stream(b"retry: 2000\n\n", line(1) + line(2), line(3)[:20], httpx.ReadError("reset")),
        httpx.ConnectError("refused"),
        503,
        stream(line(2) + line(3), b": still here\n\n"),  # a server that repeats itself, and is stopped in order
        state("running"),
        stream(line(4), line(5, "search_finished", state="completed")),
        state("completed"),
    )
    assert sequences(connection) == [1, 2, 3, 4, 5]
    asked = [each.headers["Last-Event-ID"] for each in script.requests if each.url.path.endswith("/events")]
    assert asked == ["0", "2", "2", "2", "3"]


def test_a_search_that_is_over_ends_the_stream_at_once() -> None:
    connection, script = connect(stream(b"retry: 2000\n\n"), state("cancelled"))
    assert sequences(connection, 7) == []
    assert len(script.requests) == 2


def test_a_history_is_whole_only_when_the_server_says_so() -> None:
    connection, script = connect(
        stream(line(1) + line(2)),  # a server that is stopped in order ends a stream like a whole one
        httpx.ConnectError("refused"),
        stream(line(3)),
        httpx.Response(204),
    )
    assert sequences(connection, follow=False) == [1, 2, 3]
    assert [each.headers["Last-Event-ID"] for each in script.requests] == ["0", "2", "2", "3"]
    assert {each.url.query for each in script.requests} == {b"follow=false"}


def test_a_history_that_never_gets_whole_is_an_error() -> None:
    connection, _ = connect(stream(line(1)), stream())
    with pytest.raises(ServiceAway, match="must tell all events, but ended after event 1"):
        sequences(connection, follow=False, patience=0.05)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_will_not_change_is_not_waited_for(status: int) -> None:
    connection, script = connect(stream(line(1)), state("running"), status)
    with pytest.raises(EvolveError):
        sequences(connection)
    assert len(script.requests) == 3


def test_patience_ends() -> None:
    connection, script = connect(stream(line(1)), httpx.ConnectError("refused"))
    began = time.monotonic()
    with pytest.raises(ServiceAway):
        sequences(connection, patience=0.2)
    assert 0.2 <= time.monotonic() - began < 10
    assert len(script.requests) > 3


def test_patience_begins_anew_with_every_event() -> None:
    broken = [stream(line(number), httpx.ReadError("reset")) for number in range(1, 60)]
    connection, _ = connect(*broken, stream(line(60)), state("completed"))
    assert sequences(connection, patience=0.0001) == list(range(1, 61))


@given(st.lists(st.integers(1, 40)), st.text(max_size=30))
def test_chunks_may_be_cut_anywhere(cuts: list[int], text: str) -> None:
    whole = b": hello\r\n\r\n" + b"".join(line(number, text=text + "\u2028\x85\r") for number in range(1, 5))
    whole = whole.replace(b"\n", b"\r\n") if len(cuts) % 2 else whole
    parser, events, start = StreamParser(), [], 0
    for cut in [*cuts, len(whole)]:
        events += parser.feed(whole[start : start + cut])
        start += cut
    assert [event.id for event in events] == ["1", "2", "3", "4"]
    assert {json.loads(event.data)["data"]["text"] for event in events} == {text + "\u2028\x85\r"}


def test_an_endless_line_is_no_event() -> None:
    parser = StreamParser()
    assert parser.feed(b"x" * LONGEST) == []
    with pytest.raises(ServiceError, match="too long"):
        parser.feed(b"x")


def test_what_is_no_event_of_a_search_is_passed_over() -> None:
    odd = b'data: hello\n\ndata: [1]\n\ndata: {}\n\nevent: x\n\nnonsense\n\ndata: {"sequence": "1", "kind": 1}\n\n'
    connection, _ = connect(stream(odd, line(1)), state("completed"))
    assert sequences(connection) == [1]
