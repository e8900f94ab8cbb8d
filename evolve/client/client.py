"""Searches of a service: submit, look, steer, follow."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from evolve.client.admin import Administration
from evolve.client.errors import passes
from evolve.client.events import PATIENCE_SECONDS, EventStream
from evolve.client.http import TIMEOUT_SECONDS, Connection, path_of
from evolve.client.reading import Page, read, read_page
from evolve.client.records import CheckedSubmission, Event, Search, SearchDetail
from evolve.client.results import Results
from evolve.client.submission import submission
from evolve.exceptions import ServiceError
from evolve.space import SearchSpace
from evolve.trial import Json

WAIT_SECONDS = 2.0
"""How often `Client.wait` asks."""


class Client(Results, Administration):
    """A service, over HTTP; may be used from several threads.

    Args:
        url: Where it is, e.g. `http://127.0.0.1:8000`.
        key: API key; not needed on the machine of a service that has none.
        timeout: Seconds that a single step of a request may take.
        retries: How often a request is tried again at most.
        transport: How requests travel; over the network unless given.

    Raises:
        InputError: if the URL or the key cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(url, key, timeout=timeout, retries=retries, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._connection.url

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def server_time(self) -> float:
        """What time it is on the server, as its last response told; seconds since the epoch."""
        return self._connection.server_time()

    def page(self, search_id: str) -> str:
        """The address at which a browser shows a search."""
        return self.url + path_of(search_id)

    # searches

    def searches(
        self,
        *,
        states: Collection[str] | None = None,
        name: str | None = None,
        text: str | None = None,
        order: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> Page[Search]:
        """A page of searches, the newest first unless `order` says otherwise.

        Args:
            states: Only those in one of these.
            name: Only those of exactly this name.
            text: Only those with this in their name, or at the beginning of their id.
            order: As the service knows it, e.g. `-created` or `best`.
            limit: Length of the page.
            offset: How many to skip.
        """
        given = {"state": list(states) if states else None, "name": name, "text": text, "order": order}
        return read_page(Search, self._connection.get("/searches", **given, limit=limit, offset=offset))

    def search(self, ref: str) -> SearchDetail:
        """The search with this id, else the newest of this name, else with this unique beginning of an id.

        What only looks at a search takes any of these; what changes one takes its id.

        Raises:
            NotFound: There is none, or several ids begin like this.
        """
        return read(SearchDetail, self._connection.get(path_of(ref)))

    def submit(
        self,
        space: str | Path | Mapping[str, Json] | SearchSpace,
        *,
        idempotency_key: str | None = None,
        warm_start: Sequence[str | Path] = (),
        told: Callable[[str], object] | None = None,
        **options: Any,
    ) -> Search:
        """Submit a search, exactly once however often the connection breaks.

        Args:
            space: Path of a YAML file, name of a space that is shipped, a document, or a checked space.
            idempotency_key: Names this submission; a second one of the same name, by the same API key, gets the
                search of the first. A new one unless given, so that only this call can repeat it.
            warm_start: What to begin with: searches of the service (id, beginning of one, or name), and files of
                this machine, as for `evolve.run_search`.
            told: Hears, in a line for each file, what came of it; the notes of the search say it of searches.
            options: As for `evolve.client.submission.submission`: `data`, `name`, `overrides`, `priority`, `hours`,
                `gpu_hours`, `evaluations`, `objective`.

        Raises:
            InputError: if the service does not accept it.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        body = self._submission(space, warm_start, told, options)
        return read(Search, self._connection.post("/searches", body, headers=headers, repeatable=True))

    def check(
        self,
        space: str | Path | Mapping[str, Json] | SearchSpace,
        *,
        warm_start: Sequence[str | Path] = (),
        told: Callable[[str], object] | None = None,
        **options: Any,
    ) -> CheckedSubmission:
        """Let the service judge what `submit` would be given, and submit nothing.

        Raises:
            InputError: if the service would not accept it.
        """
        body = self._submission(space, warm_start, told, options)
        return read(CheckedSubmission, self._connection.post("/check", body, repeatable=True))

    def _submission(
        self,
        space: str | Path | Mapping[str, Json] | SearchSpace,
        warm_start: Sequence[str | Path],
        told: Callable[[str], object] | None,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        body = submission(space, **options)
        if not warm_start:
            return body
        from evolve.client.warming import warmed

        body, notes = warmed(body, warm_start, self.space)
        for note in notes:
            if told is not None:
                told(note)
        return body

    def pause(self, search_id: str) -> Search:
        """Start no further trials of a search until it is resumed."""
        return self._ask(search_id, "pause")

    def resume(self, search_id: str) -> Search:
        """Go on with a search that is paused, was interrupted or has failed."""
        return self._ask(search_id, "resume")

    def cancel(self, search_id: str) -> Search:
        """End a search for good; what is finished stays."""
        return self._ask(search_id, "cancel")

    def prioritise(self, search_id: str, priority: int) -> Search:
        """Give a search another place in the queue: those of a higher priority go first."""
        body = {"priority": priority}
        return read(Search, self._connection.patch(path_of(search_id), body))

    def delete(self, search_id: str) -> None:
        """Forget a search that nobody drives, with its files."""
        self._connection.request("DELETE", path_of(search_id))

    def _ask(self, search_id: str, what: str) -> Search:
        return read(Search, self._connection.post(f"{path_of(search_id)}/{what}"))

    # what happens to a search

    def events(
        self, ref: str, after: int = 0, *, follow: bool = True, patience: float = PATIENCE_SECONDS
    ) -> Iterator[Event]:
        """The history of a search, and then what happens as it happens, until the search is over.

        A search that failed may be resumed, so its events do not end; stop reading where you see fit.

        Args:
            ref: The search, as for `search`.
            after: Begin after the event with this sequence number.
            follow: Whether to wait for more after what there is.
            patience: Seconds that the server may be away; the iterator goes on where it was.
        """
        for batch in self.event_batches(ref, after, follow=follow, patience=patience):
            yield from batch

    def event_batches(
        self, ref: str, after: int = 0, *, follow: bool = True, patience: float = PATIENCE_SECONDS
    ) -> Iterator[list[Event]]:
        """The same in batches, as they arrive."""
        stream = EventStream(self._connection, path_of(ref), after, follow=follow, patience=patience)
        for batch in stream.batches():
            yield [read(Event, event) for event in batch]

    def wait(self, ref: str, timeout: float | None = None, *, patience: float = PATIENCE_SECONDS) -> SearchDetail:
        """Wait until a search is completed, cancelled or has failed.

        Args:
            ref: The search, as for `search`.
            timeout: Seconds to wait at most; for ever unless given. The search is then returned as it stands.
            patience: Seconds that the server may be away.
        """
        until = None if timeout is None else time.monotonic() + timeout
        seen = time.monotonic()
        while True:
            try:
                search = self.search(ref)
            except ServiceError as error:
                if not passes(error) or time.monotonic() - seen > patience:
                    raise
            else:
                seen = time.monotonic()
                if search.has_ended or (until is not None and seen >= until):
                    return search
            left = WAIT_SECONDS if until is None else min(WAIT_SECONDS, until - time.monotonic())
            time.sleep(max(0.0, left))
