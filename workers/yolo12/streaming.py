"""Turns a blocking call that reports as it goes into a generator.

Ultralytics owns its training loop: one method of two hundred lines, without a seam between two epochs that would
leave its state (accumulated gradients, warm-up, data loaders) as it was. So the call runs in a thread of its own,
which stands still while the consumer holds a report: at any time only one of the two threads runs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

CLOSE_SECONDS = 5.0
"""How long closing waits for the call; one that is in a single long operation ends soon after, on its own, and the
next call in this process waits for that."""

_leaving: deque[threading.Thread] = deque()
"""Calls that had not ended when closing gave up on them."""

Report = TypeVar("Report")
Result = TypeVar("Result")


class Cancelled(BaseException):
    """Unwinds the call after its generator was closed; no `except Exception` on the way can swallow it."""


class Channel(Generic[Report]):
    """The call's side of the generator."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Report | None] = SimpleQueue()  # None: the call is over
        self._resume = threading.Semaphore(0)
        self._closed = threading.Event()

    def send(self, report: Report) -> None:
        """Yield `report` and wait until the consumer asks for the next one.

        Raises:
            Cancelled: if the generator was closed meanwhile.
        """
        self._items.put(report)
        self._resume.acquire()
        self.check()

    def check(self) -> None:
        """Leave the call if the generator was closed; to be called often.

        Raises:
            Cancelled: if the generator was closed.
        """
        if self._closed.is_set():
            raise Cancelled


def stream(call: Callable[[Channel[Report]], Result]) -> Generator[Report, None, Result]:
    """Run `call` in a thread and yield what it sends.

    Closing the generator makes the next `send` or `check` of the call raise, and waits for its end, but no longer
    than `CLOSE_SECONDS`.

    Args:
        call: Gets the channel; its return value is the generator's.

    Raises:
        BaseException: whatever `call` raises.
    """
    channel: Channel[Report] = Channel()
    outcome: Future[Result] = Future()
    thread = threading.Thread(target=_run, args=(call, channel, outcome), name="training", daemon=True)
    thread.start()
    try:
        while (report := channel._items.get()) is not None:
            yield report
            channel._resume.release()
    finally:
        channel._closed.set()
        channel._resume.release()
        thread.join(CLOSE_SECONDS)
        if thread.is_alive():
            _leaving.append(thread)
    return outcome.result()


def _run(call: Callable[[Channel[Report]], Result], channel: Channel[Report], outcome: Future[Result]) -> None:
    while _leaving:  # one call at a time has the memory, and the global state of torch
        _leaving.popleft().join()
    try:
        outcome.set_result(call(channel))
    except BaseException as error:  # all of it belongs to the consumer, for whom it is raised again
        outcome.set_exception(error)
    channel._items.put(None)
