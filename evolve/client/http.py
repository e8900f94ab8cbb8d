"""Requests of the client: tried again where that is safe, and answered or explained in one line."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from evolve.client.errors import TOO_MANY, TRY_AGAIN, away, content, passes, problem
from evolve.exceptions import InputError, SearchNotFound, ServiceError
from evolve.files import replacing
from evolve.formatting import clean

PREFIX = "/api/v1"
TIMEOUT_SECONDS = 30.0
"""For every single step of a request: to connect, to send, to wait for the next bytes."""
BACKOFF_SECONDS = (0.25, 5.0)
"""The pause before a second attempt, doubled before every further one up to the second."""
LONGEST_WAIT_SECONDS = 30.0
"""Most that a server can make the client wait with `Retry-After`."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Connection:
    """The way to one server.

    Args:
        url: Of the server, e.g. `http://127.0.0.1:8000`; the paths of the service are added.
        key: API key; none where the server asks for none.
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
        self.url = _base(url)
        self._retries = retries
        self._timeout = timeout
        self._ahead = 0.0
        headers = {"User-Agent": "evolve-client", **_authorization(key)}
        self._http = httpx.Client(base_url=self.url + PREFIX, headers=headers, timeout=timeout, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at a path; parameters that are None are left out."""
        return content(self.request("GET", path, params=params), self.url)

    def post(self, path: str, json: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The JSON that answers a `POST`; `options` as for `request`."""
        return content(self.request("POST", path, json=json, **options), self.url)

    def patch(self, path: str, json: Mapping[str, Any]) -> Any:
        """The JSON that answers a `PATCH`, which only ever sets values, so that it may be repeated."""
        return content(self.request("PATCH", path, json=json, repeatable=True), self.url)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        timeout: float | None = None,
    ) -> httpx.Response:
        """A response of the class 2xx.

        A request that never reached the server is tried again; any other one only if doing it twice is as good as
        doing it once.

        Args:
            method: HTTP method.
            path: Below the prefix of the service.
            json: Body.
            params: Of the query; those that are None are left out.
            headers: Beside the usual ones.
            repeatable: Whether a `POST` may be sent twice.
            timeout: Seconds to wait for the answer, where it may take long.

        Raises:
            ServiceAway: The server cannot be reached.
            InputError: It does not accept what was asked; `NotFound` where there is no such thing.
            ServiceError: The key does not suffice, or the server failed.
        """
        seconds = httpx.Timeout(self._timeout, read=timeout or self._timeout)
        request = self._http.build_request(
            method, path, json=json, params=_given(params), headers=headers, timeout=seconds
        )
        response, attempt = None, 0
        while response is None:
            response = self._attempt(request, attempt, repeatable)
            attempt += 1
        gone = method == "DELETE" and attempt > 1 and response.status_code == httpx.codes.NOT_FOUND
        if response.is_success or gone:  # a deletion that had to be repeated may well find nothing left
            return response
        raise problem(response, self.url)

    def _attempt(self, request: httpx.Request, attempt: int, repeatable: bool) -> httpx.Response | None:
        """The response, or None after a pause if the request is to be tried again."""
        repeatable = repeatable or request.method in _IDEMPOTENT
        last = attempt >= self._retries
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            if last or not (repeatable or isinstance(error, _NOT_SENT)):
                raise away(self.url, error) from None
            time.sleep(pause(attempt))
            return None
        self._note_time(response)
        again = response.status_code == TOO_MANY or (repeatable and response.status_code in TRY_AGAIN)
        if last or not again:
            return response
        time.sleep(max(pause(attempt), _retry_after(response)))
        return None

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float = TIMEOUT_SECONDS,
    ) -> Iterator[httpx.Response]:
        """A response of the class 2xx whose body is still to come; tried once.

        Args:
            path: Below the prefix of the service.
            params: Of the query; those that are None are left out.
            headers: Beside the usual ones.
            silence: Seconds without a byte after which the connection counts as broken.

        Raises:
            ServiceAway: The server cannot be reached, or the connection breaks while the body is read.
            EvolveError: as `request` does.
        """
        timeout = httpx.Timeout(self._timeout, read=silence)
        try:
            with self._http.stream(
                "GET", path, params=_given(params), headers=headers, timeout=timeout
            ) as response:
                self._note_time(response)
                if not response.is_success:
                    response.read()
                    raise problem(response, self.url)
                yield response
        except httpx.TransportError as error:
            raise away(self.url, error) from None

    def download(self, path: str, target: Path, what: str) -> Path:
        """Write what is at a path to a file, which appears whole or not at all.

        Raises:
            InputError: if the file cannot be written.
            EvolveError: as `request` and `stream` do.
        """
        attempt = 0
        while True:
            try:
                with replacing(target, what) as file, self.stream(path) as response, file.open("wb") as out:
                    for chunk in response.iter_bytes():
                        out.write(chunk)
            except ServiceError as error:
                if attempt >= self._retries or not passes(error):
                    raise
            else:
                return target
            time.sleep(pause(attempt))
            attempt += 1

    def server_time(self) -> float:
        """What time it is on the server (seconds since the epoch), as its last response told."""
        return time.time() + self._ahead

    def _note_time(self, response: httpx.Response) -> None:
        with suppress(TypeError, ValueError):  # a proxy may send a date that is none
            at = parsedate_to_datetime(response.headers.get("Date", ""))
            self._ahead = at.timestamp() - time.time()


def path_of(search_id: str) -> str:
    """The path of a search, whatever somebody gives as its id.

    Raises:
        SearchNotFound: if it cannot be one.
    """
    if not search_id.strip("."):
        raise SearchNotFound(f"search {search_id!r}: an id is needed; `evolve list` shows them")
    return f"/searches/{quote(search_id, safe='')}"


def pause(attempt: int) -> float:
    """Seconds before the next attempt; a little less at random, so that many clients do not come back together."""
    first, longest = BACKOFF_SECONDS
    return min(first * 2.0 ** min(attempt, 30), longest) * random.uniform(0.7, 1.0)  # noqa: S311 - no secret


def _base(url: str) -> str:
    text = url.strip().rstrip("/").removesuffix(PREFIX)
    try:
        parsed = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise InputError(
            f"--server: must be an address such as http://127.0.0.1:8000, but got {clean(url)!r}; correct it"
        )
    if parsed.userinfo:
        raise InputError("--server: must hold no name or password, but got one; give the key in EVOLVE_API_KEY")
    return text


def _authorization(key: str | None) -> dict[str, str]:
    key = (key or "").strip()
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(
            "key: must be what `evolve key create` printed, but it holds blanks or odd characters; copy it again"
        )
    return {"Authorization": f"Bearer {key}"}


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isdecimal() else 0.0
