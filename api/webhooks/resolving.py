"""What a name resolves to, within a time.

The system's resolver knows no deadline and cannot be called off: with name servers that are away it takes a minute.
So it is asked in a thread that can be left behind, and only so many of these may be under way.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future

MOST = 32
"""Names that are asked for at once, those that nobody waits for any more among them."""

_slots = threading.BoundedSemaphore(MOST)


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host, best first, each once.

    Raises:
        OSError: if it has none; `TimeoutError` if none was found in time.
        UnicodeError: if it cannot be a name.
    """
    until = time.monotonic() + seconds
    late = TimeoutError(f"no answer came within {round(seconds, 1):g} s")
    if not _slots.acquire(timeout=max(0.0, seconds)):
        raise late
    found: Future[list[str]] = Future()
    try:
        threading.Thread(target=_run, args=(found, host, port), name="webhook-name", daemon=True).start()
    except RuntimeError:
        _slots.release()
        raise
    try:
        return found.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        raise late from None


def _run(found: Future[list[str]], host: str, port: int) -> None:
    try:
        # A zone (`fe80::1%eth0`) stays in the text, so that it is judged and refused with its address.
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
    except BaseException as error:  # whatever it is, it belongs to whoever waits
        found.set_exception(error)
    finally:
        _slots.release()
