"""Where blocking work runs, so that the event loop never does.

The ledger is synchronous. Looks into it take a fraction of a millisecond, but a writer may wait for the lock of
another process, and a database may be away. As measured, threads cost a fifth of the rate of calls on the event
loop itself, and in exchange one slow statement delays nobody else. Reads and writes have threads of their own, so
that reads never queue up behind a lock. Documents are judged in one thread only, as that is all computation and a
hostile one takes a second; what takes long for other reasons, such as a report, has two. What compares searches has
one of its own: it only adds up, but for as long as twenty looks, which those of all the others would wait for.

Where there is one thread, the callers take turns: whoever sends a lot waits for all of it, and the others for one
piece of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeAlias, TypeVar

from evolve.exceptions import EvolveError

READERS = 3
WRITERS = 4
HEAVY = 2
MOST_WAITING = 512
"""What may wait for a thread that there is only one of."""
MOST_WAITING_EACH = 128
"""The same of one caller."""
CLOSING_SECONDS = 3.0

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Work: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class Crowded(EvolveError):
    """So much waits for a thread that no more is taken now; it would wait for long, and others behind it."""


class _Turns:
    """One thread, and whoever waits for it; of those who do, each has one piece of work done at a turn.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: OrderedDict[str, deque[_Work]] = OrderedDict()
        self._amount = 0
        self._lock = threading.Lock()

    def submit(self, caller: str, function: Callable[[], _R]) -> Future[_R]:
        """Put work behind what the caller has here already.

        Raises:
            Crowded: if it would be too much.
        """
        future = Future[_R]()
        with self._lock:
            mine = self._waiting.get(caller, ())
            if len(mine) >= MOST_WAITING_EACH or self._amount >= MOST_WAITING:
                raise Crowded("too much waits to be worked on; wait a second and try again")
            self._pool.submit(self._next)
            self._waiting.setdefault(caller, deque()).append((future, function))
            self._amount += 1
        return future

    def _next(self) -> None:
        with self._lock:
            caller, works = self._waiting.popitem(last=False)
            work = works.popleft()
            if works:
                self._waiting[caller] = works  # behind all others
            self._amount -= 1
        _run(*work)

    def close(self) -> None:
        """Take no more work, and drop what waits."""
        with self._lock:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for works in self._waiting.values():
                for future, _ in works:
                    future.cancel()


def _run(future: Future[_R], function: Callable[[], _R]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # whatever it is, it belongs to whoever waits
        future.set_exception(error)


class Threads:
    """Small pools."""

    def __init__(self) -> None:
        self._read = ThreadPoolExecutor(READERS, thread_name_prefix="api-read")
        self._write = ThreadPoolExecutor(WRITERS, thread_name_prefix="api-write")
        self._judge = _Turns("api-judge")
        self._compare = _Turns("api-compare")
        self._heavy = asyncio.Semaphore(HEAVY)
        self._aside: set[Future[object]] = set()

    async def read(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run a quick look into the ledger."""
        return await asyncio.wrap_future(self._read.submit(function, *args, **options))

    async def write(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that may wait for a lock."""
        return await asyncio.wrap_future(self._write.submit(function, *args, **options))

    async def judge(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that reads a document, on an account that all share who have none.

        Raises:
            Crowded: as `judge_for`.
        """
        return await self.judge_for("", function, *args, **options)

    async def judge_for(self, caller: str, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that reads a document, on the account of a caller.

        Raises:
            Crowded: if too much waits for that, or too much of this caller.
        """
        return await asyncio.wrap_future(self._judge.submit(caller, partial(function, *args, **options)))

    async def compare_for(
        self, caller: str, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs
    ) -> _R:
        """Run something that looks into the ledger many times, on the account of a caller.

        Raises:
            Crowded: as `judge_for`.
        """
        return await asyncio.wrap_future(self._compare.submit(caller, partial(function, *args, **options)))

    async def heavy(self, function: Callable[_P, _R], *args: _P.args, **options: _P.kwargs) -> _R:
        """Run something that takes seconds or minutes; at most two at once, and nothing waits for it at the end."""
        await self._heavy.acquire()
        loop, future = asyncio.get_running_loop(), Future[_R]()

        def run() -> None:
            _run(future, partial(function, *args, **options))
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
        for pool in (self._read, self._write):
            pool.shutdown(wait=False, cancel_futures=True)
        for turns in (self._judge, self._compare):
            turns.close()
        wait(tuple(self._aside), CLOSING_SECONDS)
