"""Requests of the client: tried again where that is safe, and answered or explained in one line."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from evolve.exceptions import InputError, NotFound, ServiceAway, ServiceError, StateConflict
from evolve.formatting import clean

PREFIX = "/api/v1"
TIMEOUT_SECONDS = 30.0
"""For every single step of a request: to connect, to send, to wait for the next bytes."""
BACKOFF_SECONDS = (0.25, 5.0)
"""The pause before a second attempt, doubled before every further one up to the second."""
LONGEST_WAIT_SECONDS = 30.0
"""Most that a server can make the client wait with `Retry-After`."""

_SHOWN = 2000
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_TRY_AGAIN = frozenset({502, 503, 504})
_KINDS: Mapping[int, type[InputError]] = {
    400: InputError,
    404: NotFound,
    409: StateConflict,
    413: InputError,
    415: InputError,
    422: InputError,
}
_ADVICE: Mapping[int, str] = {
    401: "a valid key is needed ({}); set EVOLVE_API_KEY to one that `evolve key create` made",
    403: "the key is not allowed to do this ({}); use one with the scope it takes",
}
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

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
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

        Raises:
            ServiceAway: The server cannot be reached.
            InputError: It does not accept what was asked; `NotFound` where there is no such thing.
            ServiceError: The key does not suffice, or the server failed.
        """
        request = self._http.build_request(method, path, json=json, params=_given(params), headers=headers)
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
        again = response.status_code == httpx.codes.TOO_MANY_REQUESTS or (
            repeatable and response.status_code in _TRY_AGAIN
        )
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

    def server_time(self) -> float:
        """What time it is on the server (seconds since the epoch), as its last response told."""
        return time.time() + self._ahead

    def _note_time(self, response: httpx.Response) -> None:
        with suppress(TypeError, ValueError):  # a proxy may send a date that is none
            at = parsedate_to_datetime(response.headers.get("Date", ""))
            self._ahead = at.timestamp() - time.time()


def pause(attempt: int) -> float:
    """Seconds before the next attempt; a little less at random, so that many clients do not come back together."""
    first, longest = BACKOFF_SECONDS
    return min(first * 2.0 ** min(attempt, 30), longest) * random.uniform(0.7, 1.0)  # noqa: S311 - no secret


def away(url: str, error: Exception) -> ServiceAway:
    """The error for a server that does not answer."""
    reason = "it took too long" if isinstance(error, httpx.TimeoutException) else clean(str(error)) or "it hung up"
    return ServiceAway(
        f"{url}: the server must answer, but cannot be reached ({reason}); start it with `evolve serve`, or "
        "correct --server or EVOLVE_SERVER"
    )


def problem(response: httpx.Response, url: str) -> Exception:
    """The error for a response that is none of the class 2xx: what the server says, and what to do."""
    status = response.status_code
    said = _detail(response)
    if said is None and status < httpx.codes.INTERNAL_SERVER_ERROR:
        return _stranger(url, status)
    text = said or "it did not say why"
    if kind := _KINDS.get(status):
        return kind(text)
    if advice := _ADVICE.get(status):
        return ServiceError(f"{url}: {advice.format(text)}", status)
    return ServiceError(f"{url}: the server answered {status}: {text}; try again later", status)


def content(response: httpx.Response, url: str) -> Any:
    """The JSON in a response.

    Raises:
        ServiceError: if there is none, so that it is no answer of a service.
    """
    try:
        return response.json()
    except ValueError:
        raise _stranger(url, response.status_code) from None


def _stranger(url: str, status: int) -> ServiceError:
    return ServiceError(
        f"{url}: must be a server started with `evolve serve`, but it answered {status} as none does; "
        "correct --server or EVOLVE_SERVER",
        status,
    )


def _detail(response: httpx.Response) -> str | None:
    """What the service says is wrong; None if this is no answer of the service."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return None
    return clean(str(detail))[:_SHOWN]


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
