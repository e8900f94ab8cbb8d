"""Those who look at a search from outside: they follow the ledger, and nothing ever waits for them.

A `Follower` is a thread that hands the events of one search to one `Observer`, in order and in batches, from
the observer's own cursor. The cursor moves only after a batch was handled, so delivery is at least once: an
observer may be away for an hour, or be killed in the middle of a batch, and misses nothing; in return it must
bear to be told the same thing twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock, Timeout

from evolve.ledger.records import EventRecord, SearchRecord

if TYPE_CHECKING:
    from evolve.ledger import Ledger

logger = logging.getLogger(__name__)

BATCH = 200
"""Most events that are handed over at once: few enough for a slow observer to be done before it is closed."""
POLL_SECONDS = (0.1, 1.0)
"""The pause between two looks at the ledger: the first while a search is busy, growing to the second."""
BACKOFF_SECONDS = (0.5, 60.0)
"""The pause after a failure: the first, doubled by every further one up to the second."""


class Observer(Protocol):
    """Whoever wants to hear what happens to a search. All calls come from one thread.

    Attributes:
        name: Names the cursor, so it must stay the same for the same audience, e.g. `mlflow`.
    """

    name: str

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Take a batch of events, oldest first.

        Args:
            search: The search as it stands now, which may be ahead of `events`.
            events: At least one; some may have been handed over before.

        Raises:
            Exception: any; the same batch comes again after a while.
        """
        ...

    def close(self) -> None:
        """Free what is held; nothing is handed over afterwards."""
        ...


class Follower:
    """Keeps one observer informed about one search, in a daemon thread of its own.

    Args:
        ledger: Read from, and for a durable cursor written to, by that thread.
        search_id: The search to follow.
        observer: Gets the events; closed when the follower closes.
        durable: Whether the cursor lives in the ledger. Otherwise every follower begins with the first event,
            which is what a progress bar wants.
        locks: Folder of the lock files that keep two processes from following one search for the same durable
            observer; None if the caller knows that there is no other.
    """

    def __init__(
        self,
        ledger: Ledger,
        search_id: str,
        observer: Observer,
        *,
        durable: bool = True,
        locks: Path | None = None,
    ) -> None:
        self._ledger = ledger
        self._search_id = search_id
        self._observer = observer
        self._durable = durable
        self._position = 0
        self._lock = FileLock(locks / f"{observer.name}-{search_id}.lock") if locks and durable else None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._draining = threading.Event()
        self._drained = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{observer.name}-{search_id}", daemon=True)
        self._idle = POLL_SECONDS[0]
        self._failures = 0

    def start(self) -> Follower:
        """Begin to follow; returns itself."""
        self._thread.start()
        return self

    @property
    def is_failing(self) -> bool:
        """Whether the observer could not be reached when last tried."""
        return self._failures > 0

    def drain(self, timeout: float) -> bool:
        """Wait until the observer has heard of all that was recorded before this call.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it has; if not, a later follower delivers the rest from the stored cursor.
        """
        self._drained.clear()
        self._draining.set()
        self._wake.set()
        return self._drained.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Stop following and close the observer.

        Args:
            timeout: Seconds to wait for a batch that is being handled; a slower one is left to its thread.
        """
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                pause = self._attempt()
                self._wake.wait(pause)
                self._wake.clear()
        finally:
            self._observer.close()
            if self._lock is not None:
                self._lock.release()

    def _attempt(self) -> float:
        """Deliver what there is; returns the seconds to pause afterwards."""
        try:
            pause = self._deliver()
        except Exception as error:  # whatever is wrong on the observer's far side, the search goes on
            return self._back_off(error)
        if self._failures:
            logger.info("%s follows search %s again", self._observer.name, self._search_id)
            self._failures = 0
        return pause

    def _deliver(self) -> float:
        draining = self._draining.is_set()
        cursor = self._cursor()
        events = self._ledger.events(self._search_id, after=cursor, limit=BATCH)
        if not events:
            if draining:
                self._draining.clear()
                self._drained.set()
            self._idle = min(2 * self._idle, POLL_SECONDS[1])
            return self._idle
        if not self._claim():
            return POLL_SECONDS[1]
        if self._cursor() != cursor:
            return 0.0  # another process delivered these before it let go
        self._observer.handle(self._ledger.search(self._search_id), events)
        self._advance(events[-1].sequence)
        self._idle = POLL_SECONDS[0]
        return 0.0 if draining or len(events) == BATCH else self._idle

    def _cursor(self) -> int:
        if self._durable:
            return self._ledger.cursor(self._observer.name, self._search_id)
        return self._position

    def _advance(self, sequence: int) -> None:
        if self._durable:
            self._ledger.advance(self._observer.name, self._search_id, sequence)
        self._position = sequence

    def _claim(self) -> bool:
        """Whether this follower, and none in another process, serves the observer."""
        if self._lock is None or self._lock.is_locked:
            return True
        Path(self._lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _back_off(self, error: Exception) -> float:
        if not (self._failures or self._closing.is_set()):
            logger.warning(
                "%s cannot follow search %s (%s: %s); the search goes on, and the rest is delivered later",
                self._observer.name,
                self._search_id,
                type(error).__name__,
                str(error).strip().split("\n", 1)[0],
            )
        first, longest = BACKOFF_SECONDS
        self._failures += 1
        return min(first * 2.0 ** min(self._failures - 1, 16), longest)
