"""Server-sent events: what happens to a search, as it happens, to any number of listeners.

One task asks the ledger for all searches that anybody listens to, in one query, and reads new events once however
many listen. A listener is a position in the sequence of events: what it has missed, since its `Last-Event-ID` or
because it is slow, it reads from the ledger, so nothing is ever dropped and nobody waits for anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from api.documents import to_json
from api.service import search
from api.threads import Threads
from evolve.ledger import EventKind, EventRecord, Ledger, SearchState

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
"""How often a quiet stream says that it lives; proxies close those that are silent for a minute."""
BATCH = 500
RETRY_SECONDS = 1.0
"""The pause after the ledger could not be read."""
KEPT = 512
"""Events of a search that stay at hand for listeners that are nearly up to date."""
FIRST_LINE = b"retry: 2000\n\n"
HEARTBEAT = b": still here\n\n"

_OVER = frozenset(state for state in SearchState if state.is_over)


def encode(event: EventRecord) -> bytes:
    """An event as a listener gets it; the JSON is one line."""
    data = {
        "search_id": event.search_id,
        "sequence": event.sequence,
        "kind": event.kind,
        "at": event.at,
        "individual": event.individual,
        "data": event.data,
    }
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, event.kind.encode(), to_json(data))


def ends_search(event: EventRecord) -> bool:
    """Whether nothing can come after this event."""
    return event.kind is EventKind.SEARCH_FINISHED and event.data.get("state") in _OVER


def standing(ledger: Ledger, search_id: str) -> tuple[int, bool]:
    """The last event of a search, and whether it is the last for ever.

    Raises:
        SearchNotFound: There is no search of this id.
    """
    head = ledger.heads([search_id]).get(search_id, 0)
    over = search(ledger, search_id).state.is_over
    # what ends a search comes with its last event; so that was read too early if the search is over by now
    return (ledger.heads([search_id]).get(search_id, 0), True) if over else (head, False)


class _Channel:
    """What all listeners to one search share."""

    def __init__(self, head: int, over: bool) -> None:
        self.head = head
        self.over = over
        self.gone = False
        self.listeners = 0
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._changed = asyncio.Event()

    def add(self, events: Sequence[EventRecord] | None) -> None:
        """Take new events and wake everybody; None where the search was deleted."""
        if events is None:
            self.gone = True
            self.wake()
        if not events:
            return
        self._recent.extend((event.sequence, encode(event)) for event in events)
        self.head = events[-1].sequence
        self.over = ends_search(events[-1])
        self.wake()

    def since(self, position: int) -> bytes | None:
        """All events after a position; None where they are not at hand any more."""
        if not self._recent or self._recent[0][0] > position + 1:
            return None
        return b"".join(chunk for sequence, chunk in self._recent if sequence > position)

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, timeout: float) -> bool:
        """Wait for something new; False when there was nothing."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return False
        return True


class EventHub:
    """Everybody who listens. All methods but `close` belong to the event loop.

    Args:
        ledger: Where events come from.
        threads: Where the ledger is asked.
        most: Streams at the same time.
        most_each: The same for one owner.
        heartbeat: Seconds between signs of life on a quiet stream.
    """

    def __init__(
        self,
        ledger: Ledger,
        threads: Threads,
        *,
        most: int = 1000,
        most_each: int = 100,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._threads = threads
        self._most = most
        self._most_each = most_each
        self._streams: list[str] = []
        self._heartbeat = heartbeat
        self._channels: dict[str, _Channel] = {}
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closing = False

    @property
    def open_streams(self) -> int:
        """How many are open now."""
        return len(self._streams)

    def is_full(self, owner: str) -> bool:
        """Whether another stream would be one too many."""
        return len(self._streams) >= self._most or self._streams.count(owner) >= self._most_each

    async def stream(
        self,
        search_id: str,
        after: int,
        owner: str,
        welcome: Callable[[], Awaitable[bool]],
        *,
        follow: bool = True,
    ) -> AsyncIterator[bytes]:
        """The events of a search after a position, until it is over, is deleted, or the service ends.

        Args:
            search_id: Its id.
            after: The last event that the listener knows; 0 for none.
            owner: On whose account the stream is.
            welcome: Asked now and then whether the listener may go on listening.
            follow: Whether to wait for more after what there is.
        """
        self._streams.append(owner)
        try:
            channel = await self._join(search_id)
            try:
                async for chunk in self._chunks(channel, search_id, after, welcome, follow):
                    yield chunk
            finally:
                self._leave(search_id, channel)
        finally:
            self._streams.remove(owner)

    async def _chunks(
        self,
        channel: _Channel,
        search_id: str,
        after: int,
        welcome: Callable[[], Awaitable[bool]],
        follow: bool,
    ) -> AsyncIterator[bytes]:
        position = min(after, channel.head)
        clock = asyncio.get_running_loop().time
        asked = clock()
        yield FIRST_LINE
        while not (self.closing or channel.gone):
            if position < channel.head:
                chunk, position = await self._missed(channel, search_id, position)
                yield chunk
            elif channel.over or not follow:
                return
            elif not await channel.change(self._heartbeat):
                yield HEARTBEAT
            if clock() - asked > self._heartbeat:
                if not await welcome():
                    return
                asked = clock()

    def close(self) -> None:
        """End every stream, so that a server that waits for them can end; may be called from any thread."""
        self.closing = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for channel in self._channels.values():
            channel.wake()

    async def _join(self, search_id: str) -> _Channel:
        if search_id not in self._channels:
            head, over = await self._threads.read(standing, self._ledger, search_id)
            self._channels.setdefault(search_id, _Channel(head, over))
        channel = self._channels[search_id]
        channel.listeners += 1
        if self._poller is None or self._poller.done():
            self._loop = asyncio.get_running_loop()
            self._poller = self._loop.create_task(self._poll())
        return channel

    def _leave(self, search_id: str, channel: _Channel) -> None:
        channel.listeners -= 1
        if channel.listeners == 0 and self._channels.get(search_id) is channel:
            del self._channels[search_id]

    async def _missed(self, channel: _Channel, search_id: str, position: int) -> tuple[bytes, int]:
        """What a listener at a position has not heard yet, or the beginning of it."""
        head = channel.head
        recent = channel.since(position)
        if recent is not None:
            return recent, head
        events = await self._threads.read(self._ledger.events, search_id, position, BATCH)
        if not events:  # the search was deleted meanwhile
            return b"", head
        return b"".join(map(encode, events)), events[-1].sequence

    async def _poll(self) -> None:
        while self._channels and not self.closing:
            await asyncio.sleep(POLL_SECONDS)
            watched = dict(self._channels)
            known = {search_id: channel.head for search_id, channel in watched.items()}
            try:
                news = await self._threads.read(_news, self._ledger, known)
            except Exception as error:  # whatever it is, the streams go on when it is over
                log.warning("events: the ledger cannot be read (%s); the streams wait", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for search_id, channel in watched.items():
                channel.add(news.get(search_id))


def _news(ledger: Ledger, known: Mapping[str, int]) -> dict[str, list[EventRecord]]:
    """Events after the known ones, for every search that still exists."""
    heads = ledger.heads(list(known))
    return {
        search_id: ledger.events(search_id, known[search_id], BATCH) if head > known[search_id] else []
        for search_id, head in heads.items()
    }
