"""The event stream of a search, read so that a broken connection loses nothing and repeats nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from evolve.client.errors import passes
from evolve.client.http import pause
from evolve.exceptions import ServiceAway, ServiceError

if TYPE_CHECKING:
    from evolve.client.http import Connection

PATIENCE_SECONDS = 300.0
"""How long a server may be away before the stream is given up: long enough for it to be restarted."""
SILENCE_SECONDS = 60.0
"""How long a connection may say nothing, not even that it is alive, before it is taken for dead."""

LONGEST = 4 * 2**20
_OVER = frozenset({"completed", "cancelled"})


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream, as it came; `id` stays what it was where an event brings none."""

    id: str
    event: str
    data: str


class StreamParser:
    """Takes a `text/event-stream` apart, however it was cut into chunks."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that are complete with this chunk.

        Raises:
            ServiceError: if an event is too long to be one.
        """
        # `str.splitlines` would also split at characters that JSON may hold
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST:
            raise ServiceError("the server's event stream holds a line that is too long to be an event")
        events = (self._line(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines)
        return [event for event in events if event is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            return self._dispatch()
        if field == "id" and "\0" not in value:
            self._id = value
        elif field == "event":
            self._kind = value
        elif field == "data":
            self._data.append(value)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        kind, data = self._kind, self._data
        self._kind, self._data = "", []
        return ServerSentEvent(self._id, kind or "message", "\n".join(data)) if data else None


class EventStream:
    """The events of one search, as JSON objects; goes on where it was when it is cut off.

    Args:
        connection: To the server.
        path: Of the search.
        after: Begin after the event with this sequence number.
        follow: Whether to wait for more after what there is.
        patience: Seconds that the server may be away.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        after: int = 0,
        *,
        follow: bool = True,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection = connection
        self._path = path
        self._patience = patience
        self._follow = follow
        self.position = after

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """What there is and, if it is followed, what comes, until nothing can happen to the search any more.

        Raises:
            ServiceAway: The server was away for too long.
            EvolveError: There is no such search, or the key does not suffice.
        """
        attempt, lost = 0, None
        while True:
            before = self.position
            error: ServiceError | None = None
            try:
                told_all = yield from self._read()
                if told_all or (self._follow and self._is_over()):
                    return
                error = self._cut_short()
                if error is not None and self.position > before:
                    attempt, lost = 0, None
                    continue
            except ServiceError as failure:
                error = failure
                if not passes(failure):
                    raise
            if self.position > before:
                attempt, lost = 0, None
            now = time.monotonic()
            lost = now if lost is None else lost
            if error is not None and now - lost >= self._patience:
                raise error
            time.sleep(pause(attempt))
            attempt += 1

    def _read(self) -> Generator[list[dict[str, Any]], None, bool]:
        """Read one stream to its end; whether the server has said that there is nothing more to tell."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.position)}
        params = None if self._follow else {"follow": False}
        with self._connection.stream(
            f"{self._path}/events", params=params, headers=headers, silence=SILENCE_SECONDS
        ) as response:
            parser = StreamParser()
            for chunk in response.iter_bytes():
                batch = [event for event in map(_content, parser.feed(chunk)) if event is not None]
                fresh = [event for event in batch if event["sequence"] > self.position]
                if fresh:
                    self.position = fresh[-1]["sequence"]
                    yield fresh
            return response.status_code == httpx.codes.NO_CONTENT

    def _cut_short(self) -> ServiceError | None:
        """What is wrong with a stream that ended in order before all was told; nothing if more is waited for.

        A server that is being stopped ends its streams like this, and is hopefully started again. That a stream was
        whole, only the answer to the next request tells.
        """
        if self._follow:
            return None
        return ServiceAway(
            f"{self._connection.url}: the server must tell all events, but ended after event {self.position}; "
            "try again when it is up"
        )

    def _is_over(self) -> bool:
        return self._connection.get(self._path)["state"] in _OVER


def _content(sent: ServerSentEvent) -> dict[str, Any] | None:
    """The event of a search in an event of the stream; None if that is the server's word about something else."""
    try:
        event = json.loads(sent.data)
    except ValueError:
        return None
    known = isinstance(event, dict) and isinstance(event.get("sequence"), int) and "kind" in event
    return event if known else None
