"""What went wrong between client and server, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from evolve.exceptions import InputError, NotFound, ServiceAway, ServiceError, StateConflict
from evolve.formatting import clean

TRY_AGAIN = frozenset({502, 503, 504})
"""What a server answers that may be well again in a moment."""
TOO_MANY = 429

_SHOWN = 2000
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


def passes(error: ServiceError) -> bool:
    """Whether trying again later may help."""
    return isinstance(error, ServiceAway) or error.status in TRY_AGAIN or error.status == TOO_MANY


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
