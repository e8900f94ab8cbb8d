"""One delivery over HTTP: to the address that was checked, within a time, and nothing followed or believed.

httpcore is used without httpx around it: it follows no redirects, knows no proxies (which would resolve the name
themselves), keeps no cookies and unpacks nothing.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import httpcore

from api.webhooks.addresses import AddressGuard, check_url, port_of
from api.webhooks.messages import Message
from api.webhooks.signing import HEADER, sign
from evolve.exceptions import InputError
from evolve.formatting import clean

SECONDS = 10.0
"""For the whole delivery, from the name's resolution to the answer."""
MAX_ANSWER = 4096

_SHOWN = 200


@dataclass(frozen=True)
class Delivery:
    """How a delivery went.

    Attributes:
        status: The receiver's HTTP status; None if it gave none.
        error: One line; empty if the receiver took the message.
        seconds: How long it took.
    """

    status: int | None
    error: str
    seconds: float


def deliver(
    url: str,
    secret: str,
    message: Message,
    guard: AddressGuard,
    *,
    seconds: float = SECONDS,
    context: ssl.SSLContext | None = None,
) -> Delivery:
    """Send a message once.

    Args:
        url: The webhook's.
        secret: What to sign with.
        message: What to send.
        guard: Which addresses may be connected to.
        seconds: How long the whole of it may take.
        context: Whose certificates to trust; the usual authorities unless given.

    Returns:
        How it went; nothing is raised for what the far side or the network does.
    """
    began = time.monotonic()
    status: int | None = None
    try:
        status = _post(url, secret, message, GuardedBackend(guard, began + seconds), context)
        error = "" if status // 100 == 2 else _refusal(status)  # noqa: PLR2004 - the class of success
    except InputError as refused:
        error = str(refused)
    except httpcore.TimeoutException:
        error = f"the receiver must answer within {seconds:g} s, but did not"
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as failed:
        error = f"the receiver cannot be reached: {clean(str(failed)) or type(failed).__name__}"
    return Delivery(status, error[: 2 * _SHOWN], time.monotonic() - began)


def _refusal(status: int) -> str:
    redirect = "; redirects are not followed, so register the address itself" if status // 100 == 3 else ""  # noqa: PLR2004
    return f"the receiver must answer 2xx, but answered {status}{redirect}"


def _post(url: str, secret: str, message: Message, backend: GuardedBackend, context: ssl.SSLContext | None) -> int:
    parsed = check_url(url)
    body = message.body()
    headers = {
        "Host": parsed.netloc.decode("ascii"),
        "User-Agent": "evolve-webhook",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Evolve-Kind": str(message.kind),
        "X-Evolve-Delivery": message.id,
        HEADER: sign(secret, body, int(time.time())),
        "Connection": "close",
    }
    target = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=port_of(parsed), target=parsed.raw_path
    )
    with (
        httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
        pool.stream("POST", target, headers=list(headers.items()), content=body) as answer,
    ):
        with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
            _read_a_little(answer)
        return answer.status


def _read_a_little(answer: httpcore.Response) -> None:
    """Let a receiver that writes a few words do so; they are nobody's business, and so not kept."""
    read = 0
    for chunk in answer.iter_stream():
        read += len(chunk)
        if read >= MAX_ANSWER:
            return


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to addresses that the guard has just admitted, and ends everything at a deadline.

    The name is resolved here and nowhere else, and it is the result that is connected to, so a name that answers
    differently the next time gains nothing.
    """

    def __init__(self, guard: AddressGuard, deadline: float) -> None:
        self._guard = guard
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            InputError: if the guard refuses the host.
        """
        addresses = self._guard.addresses(host, port, remaining(self._deadline, httpcore.ConnectTimeout))
        failure: Exception = httpcore.ConnectError("no address")
        for tried, address in enumerate(addresses):
            share = remaining(self._deadline, httpcore.ConnectTimeout) / (len(addresses) - tried)
            try:
                stream = self._backend.connect_tcp(address, port, share, local_address, socket_options)
                return DeadlineStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Refuse: a webhook has no business with sockets of this machine."""
        raise httpcore.ConnectError("a webhook is not delivered to a socket file")


class DeadlineStream(httpcore.NetworkStream):
    """A stream whose every operation ends at one deadline, however the far side doles out its bytes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what comes before the deadline."""
        return self._stream.read(max_bytes, remaining(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write before the deadline."""
        self._stream.write(buffer, remaining(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Shake hands before the deadline; the certificate is checked against the name in the URL."""
        left = remaining(self._deadline, httpcore.ConnectTimeout)
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> object:
        """Pass on what httpcore asks about the connection."""
        return self._stream.get_extra_info(info)


def remaining(deadline: float, timeout: type[httpcore.TimeoutException]) -> float:
    """Seconds until a deadline on the monotonic clock.

    Raises:
        TimeoutException: of the class given, once it has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise timeout("the delivery took too long")
    return left
