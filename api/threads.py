"""Where blocking work runs, so that the event loop never does.

The ledger is synchronous. Looks into it take a fraction of a millisecond, but a writer may wait for the lock of
another process, and a database may be away. As measured, threads cost a fifth of the rate of calls on the event
loop itself, and in exchange one slow statement delays nobody else. Reads and writes have threads of their own, so
that reads never queue up behind a lock. Documents are judged in one thread only, as that is all computation and a
hostile one takes a second; what takes long for other reasons, such as a report, has two.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import ParamSpec, TypeVar

READERS = 3
WRITERS = 4
HEAVY = 2
CLOSING_SECONDS = 3.0

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Threads:
    """Small pools."""

    def __init__(self) -> None:
        self._read = ThreadPoolExecutor(READERS, thread_name_prefix="api-read")
        self._write = ThreadPoolExecutor(WRITERS, thread_name_prefix="api-write")
        self._judge = ThreadPoolExecutor(1, thread_name_prefix="api-judge")
        self._heavy = asyncio.Semaphore(HEAVY)
        self._aside: set[Future[object]] = set()

    async def read(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run a quick look into the ledger."""
        return await asyncio.wrap_future(self._read.submit(function, *args, **options))

    async def write(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that may wait for a lock."""
        return await asyncio.wrap_future(self._write.submit(function, *args, **options))

    async def judge(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that reads a document."""
        return await asyncio.wrap_future(self._judge.submit(function, *args, **options))

    async def heavy(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that takes seconds or minutes; at most two at once, and nothing waits for it at the end."""
        await self._heavy.acquire()
        loop, future = asyncio.get_running_loop(), Future[_R]()

        def run() -> None:
            try:
                future.set_result(function(*args, **options))
            except BaseException as error:  # whatever it is, it belongs to whoever waits
                future.set_exception(error)
            with suppress(RuntimeError):  # the loop may have ended before
                loop.call_soon_threadsafe(self._heavy.release)

        threading.Thread(target=run, name="api-heavy", daemon=True).start()
        return await asyncio.shield(asyncio.wrap_future(future))

    def aside(self, function: Callable[_P, object], *args: _P.args, **options: _P.kwargs) -> None:
        """Run something that writes, and that nobody waits for."""
        future: Future[object] = self._write.submit(function, *args, **options)
        self._aside.add(future)
        future.add_done_callback(self._aside.discard)

    def close(self) -> None:
        """Take no more work; what waits is dropped, and what writes has some seconds to end."""
        for pool in (self._read, self._write, self._judge):
            pool.shutdown(wait=False, cancel_futures=True)
        wait(tuple(self._aside), CLOSING_SECONDS)
