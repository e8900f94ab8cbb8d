"""Where blocking work runs, so that the event loop never does.

The ledger is synchronous. Looks into it take a fraction of a millisecond, but a writer may wait for the lock of
another process, and a database may be away. As measured, threads cost a fifth of the rate of calls on the event
loop itself, and in exchange one slow statement delays nobody else. Reads and writes have threads of their own, so
that reads never queue up behind a lock. Documents are judged in one thread only, as that is all computation and a
hostile one takes a second; what takes long for other reasons, such as a report, has two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

READERS = 4
WRITERS = 4
HEAVY = 2

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Threads:
    """Small pools."""

    def __init__(self) -> None:
        self._read = ThreadPoolExecutor(READERS, thread_name_prefix="api-read")
        self._write = ThreadPoolExecutor(WRITERS, thread_name_prefix="api-write")
        self._judge = ThreadPoolExecutor(1, thread_name_prefix="api-judge")
        self._heavy = ThreadPoolExecutor(HEAVY, thread_name_prefix="api-heavy")

    async def read(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run a quick look into the ledger."""
        return await _run(self._read, function, *args, **options)

    async def write(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that may wait for a lock."""
        return await _run(self._write, function, *args, **options)

    async def judge(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that reads a document."""
        return await _run(self._judge, function, *args, **options)

    async def heavy(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that takes seconds; at most two at once."""
        return await _run(self._heavy, function, *args, **options)

    def aside(self, function: Callable[_P, object], *args: _P.args, **options: _P.kwargs) -> None:
        """Run something that writes, and that nobody waits for."""
        self._write.submit(function, *args, **options)

    def close(self) -> None:
        """Take no more work; what waits is dropped, what runs is left to end."""
        for pool in (self._read, self._write, self._judge, self._heavy):
            pool.shutdown(wait=False, cancel_futures=True)


async def _run(pool: ThreadPoolExecutor, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
    return await asyncio.wrap_future(pool.submit(function, *args, **options))
