"""Serves an application on a port until a signal, and is gone within fifteen seconds whatever is still open."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from types import FrameType
from typing import Any

import uvicorn

from api.options import is_loopback
from evolve.exceptions import InputError

log = logging.getLogger(__name__)

STREAM_SECONDS = 4.0
"""How long requests that are under way may take to end after a signal."""
LAST_SECONDS = 12.0
"""How long all may take that comes after a signal; what is not done then is left undone."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BACKLOG = 2048
_UVICORN = logging.getLogger("uvicorn.error")


def check_host(host: str, *, has_keys: bool) -> None:
    """Refuse to let other machines in as long as nobody needs a key.

    Raises:
        InputError: if it is not an address of this machine alone, and there is no key.
    """
    if not has_keys and not is_loopback(host):
        raise InputError(
            f"--host {host}: without a key, everybody who reaches the service could do everything, so it must be "
            "127.0.0.1; create one first: evolve key create NAME --scope admin"
        )


def listen(host: str, port: int, option: str = "--port") -> list[socket.socket]:
    """Take a port on every address of a host.

    Args:
        host: A name or an address of this machine.
        port: The port; 0 for any that is free.
        option: Which option it came from, for the message.

    Raises:
        InputError: if it is not to be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: must be an address of this machine, but got {error}") from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            taken = sockets[0].getsockname()[1] if sockets else port
            sockets.append(_bind(family, kind, protocol, (address[0], taken, *address[2:])))
    except OSError as error:
        for each in sockets:
            each.close()
        what = f"{option} {port}: must be free on {host}"
        raise InputError(f"{what}, but got {error.strerror or error}; choose another one") from error
    return sockets


def _bind(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
        opened.set_inheritable(False)
    except OSError:
        opened.close()
        raise
    return opened


def run(
    app: Any,
    sockets: Sequence[socket.socket],
    *,
    on_started: Callable[[], None],
    on_leaving: Callable[[], None],
) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C; the second one cuts short what the first lets end.

    Args:
        app: An ASGI application.
        sockets: From `listen`.
        on_started: Called when requests are answered.
        on_leaving: Called in the event loop after the first signal, to end what would never end by itself.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(STREAM_SECONDS),
        lifespan="on",
        ws_max_size=2**20,
    )
    _UVICORN.setLevel(logging.WARNING)
    _Server(config, on_started, on_leaving).run(sockets=list(sockets))


class _Server(uvicorn.Server):
    """Leaves in time, and returns to its caller instead of dying of the signal."""

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], None], on_leaving: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_leaving = on_leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is open."""
        _UVICORN.setLevel(logging.CRITICAL)  # it tells as errors whom it cuts short
        self._on_leaving()
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        threading.Thread(target=self._watch, name="last-call", daemon=True).start()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take signals until this process ends: what comes after serving is as quick, and must not be cut off."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self.handle_exit)
        yield

    def _watch(self) -> None:
        threading.Event().wait(LAST_SECONDS)
        log.warning("the end takes too long; what is still open is cut off")
        sys.stderr.flush()
        os._exit(0)
