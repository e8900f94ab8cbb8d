"""What all pages of one service share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from nicegui import context

from api.dashboard.live import LiveSearches
from api.dashboard.session import Sessions
from api.options import ServiceOptions
from evolve.tracking.store import is_server

if TYPE_CHECKING:
    from api.deps import Service, SupervisorLike
    from evolve.ledger import Ledger
    from evolve.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

SCOPE_KEY = "evolve.dashboard"
_THREADS = 4


class Site:
    """The parts that pages are built from.

    Attributes:
        ledger: Where everything is recorded.
        settings: Where things are kept.
        supervisor: Drives the searches.
        options: How the service was started.
        service: The parts of the API, which knows whether somebody needs a key at all.
        sessions: Who has signed in.
        searches: The searches that somebody is looking at.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        supervisor: SupervisorLike,
        options: ServiceOptions,
        service: Service,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.supervisor = supervisor
        self.options = options
        self.service = service
        self.sessions = Sessions(ledger.registry, settings.home)
        self.searches = LiveSearches(ledger)
        # threads of its own: however many pages are open, no more than these ask the database at once
        self._shared: dict[object, tuple[float, asyncio.Future[Any]]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dashboard")

    async def run(self, function: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
        """Call something that waits for the database or the disk, without anybody else waiting for it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *args, **keywords))

    async def shared(
        self, key: object, seconds: float, function: Callable[P, T], *args: P.args, **keywords: P.kwargs
    ) -> T:
        """As `run`, but one answer for all who ask the same within some seconds.

        Args:
            key: Names what is asked.
            seconds: For how long an answer is good.
            function: Gives the answer.
            args: Of the function.
            keywords: Of the function.
        """
        return await self._once(key, seconds, partial(self.run, function, *args, **keywords))

    async def shared_heavy(
        self, key: object, seconds: float, function: Callable[P, T], *args: P.args, **keywords: P.kwargs
    ) -> T:
        """As `shared`, for what takes seconds, and is not to keep a thread from all other pages meanwhile."""
        return await self._once(key, seconds, partial(self.service.threads.heavy, function, *args, **keywords))

    async def _once(self, key: object, seconds: float, ask: Callable[[], Awaitable[T]]) -> T:
        now = time.monotonic()
        until, answer = self._shared.get(key, (0.0, None))
        if answer is None or (answer.done() and now > until):
            for old in [old for old, (end, known) in self._shared.items() if known.done() and now > end]:
                del self._shared[old]
            answer = asyncio.ensure_future(ask())
            self._shared[key] = (now + seconds, answer)
            answer.add_done_callback(partial(self._forget_failure, key))
        # one who leaves does not take the answer away from the others
        return cast("T", await asyncio.shield(answer))

    def _forget_failure(self, key: object, answer: asyncio.Future[Any]) -> None:
        failed = answer.cancelled() or answer.exception() is not None
        if failed and self._shared.get(key, (0.0, None))[1] is answer:
            del self._shared[key]  # whoever asks next may have more luck

    @property
    def mlflow_pages(self) -> str:
        """Where a browser finds MLflow's pages; empty if nowhere."""
        if self.settings.mlflow_url:
            return self.settings.mlflow_url.rstrip("/")
        if self.options.mlflow_port is not None:
            return f"http://127.0.0.1:{self.options.mlflow_port}"
        server = self.settings.tracking_uri
        # a name without a dot, as in a network of containers, means nothing to a browser elsewhere
        host = (urlsplit(server).hostname or "") if is_server(server) else ""
        return server.rstrip("/") if "." in host or ":" in host or host == "localhost" else ""

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def site() -> Site:
    """The site that the page being built, or the event being handled, belongs to."""
    return cast("Site", context.client.request.scope[SCOPE_KEY])
