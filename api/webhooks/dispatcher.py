"""Follows the ledger for all webhooks and delivers: at least once, in order within a search, nothing missed.

The events are the outbox. Every webhook has a cursor in each search, `webhook:<id>`, which moves on after a
delivery; so a receiver may be away, and the service may be killed, and the rest follows later. One thread looks
for news; a delivery, which may take ten seconds, has a thread of its own, one for a webhook at a time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from api.webhooks.messages import kind_of, message_of
from api.webhooks.news import News, Standing
from api.webhooks.sending import deliver
from evolve.ledger.hooks import observer_of

if TYPE_CHECKING:
    from api.webhooks.addresses import AddressGuard
    from evolve.ledger import EventRecord, Ledger
    from evolve.ledger.service_records import WebhookRecord

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""The pause between two looks at the ledger."""
BACKOFF_SECONDS = (1.0, 3600.0)
"""The pause after a failure: the first, doubled by every further one up to the second."""
DISABLE_AFTER = 72
"""Failures in a row after which a webhook is left alone; with the pauses above, two and a half days."""
SENDERS = 8
"""Webhooks that are delivered to at once."""


class WebhookDispatcher:
    """Delivers to all webhooks until it is stopped.

    Args:
        ledger: Read from, and cursors and outcomes written to.
        guard: Which addresses may be connected to.
        locks: Folder of the lock that keeps two services with one home from delivering twice.
    """

    def __init__(self, ledger: Ledger, guard: AddressGuard, locks: Path | None = None) -> None:
        self._ledger = ledger
        self._guard = guard
        self._news = News(ledger)
        self._lock = FileLock(locks / "webhooks.lock") if locks else None
        self._standings: dict[str, Standing] = {}
        self._senders: list[threading.Thread] = []
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._failing = False

    def start(self) -> WebhookDispatcher:
        """Begin to deliver; returns itself."""
        self._thread.start()
        return self

    def stop(self, timeout: float = 5.0) -> None:
        """Begin no further delivery, and wait a little for those that are under way.

        One that takes longer is left to its thread, which ends with the process; it comes again after the next
        start.
        """
        self._closing.set()
        self._wake.set()
        until = time.monotonic() + timeout
        for thread in (self._thread, *self._senders):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._wake.clear()
                self._attempt()
                self._wake.wait(POLL_SECONDS)
        finally:
            if self._lock is not None:
                self._lock.release()

    def _attempt(self) -> None:
        try:
            if self._claim():
                self._look()
            self._failing = False
        except Exception as error:  # a ledger that is away comes back; the thread must be there then
            if not self._failing:
                logger.warning("webhooks wait: %s", str(error).split("\n", 1)[0])
            self._failing = True

    def _claim(self) -> bool:
        """Whether this process, and no other with the same home, delivers."""
        if self._lock is None or self._lock.is_locked:
            return True
        Path(self._lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _look(self) -> None:
        """Hand every webhook that is due, and for which there is news, to a thread."""
        self._senders = [thread for thread in self._senders if thread.is_alive()]
        failing = {hook_id for hook_id, standing in self._standings.items() if standing.failures}
        hooks = {hook.id: hook for hook in self._ledger.registry.webhooks()}
        self._standings = {hook_id: self._standings.get(hook_id, Standing()) for hook_id in hooks}
        for hook_id in failing & hooks.keys():
            if hooks[hook_id].failures == 0:  # a test has succeeded: what waits for its turn goes on now
                self._standings[hook_id].failures = 0
                self._standings[hook_id].due = 0.0
        self._news.note(hooks.values(), self._standings)
        waiting = sorted(self._standings, key=lambda hook_id: self._standings[hook_id].due)
        for hook_id in waiting:
            hook, standing = hooks[hook_id], self._standings[hook_id]
            if standing.busy or hook.disabled_at is not None or standing.due > time.monotonic():
                continue
            if len(self._senders) >= SENDERS or self._closing.is_set():
                return
            news = self._news_of(hook, standing)
            if news:
                self._send_in_thread(hook, standing, news)

    def _send_in_thread(self, hook: WebhookRecord, standing: Standing, news: Sequence[EventRecord]) -> None:
        standing.busy = True
        name = f"webhook-{hook.id}"
        sender = threading.Thread(target=self._serve, args=(hook, standing, news), name=name, daemon=True)
        self._senders.append(sender)
        sender.start()

    def _news_of(self, hook: WebhookRecord, standing: Standing) -> list[EventRecord]:
        """What there is for a webhook; trouble with it delays nobody else."""
        try:
            news = self._news.of(hook, standing)
        except Exception as error:
            if not standing.troubled:
                logger.warning("webhook %s waits: %s", hook.id, str(error).split("\n", 1)[0])
            standing.troubled = True
            standing.due = time.monotonic() + BACKOFF_SECONDS[0]
            return []
        standing.troubled = False
        return news

    def _serve(self, hook: WebhookRecord, standing: Standing, news: Sequence[EventRecord]) -> None:
        """Deliver, oldest first, until something fails."""
        failures = hook.failures
        try:
            for event in news:
                if self._closing.is_set():
                    return
                error = self._deliver(hook, event)
                if error:
                    self._failed(hook, standing, error, failures + 1)
                    return
                self._ledger.advance(observer_of(hook.id), event.search_id, event.sequence)
                if failures:
                    self._ledger.registry.note_delivery(hook.id, "")
                failures = standing.failures = 0
            standing.due = time.monotonic()
        except Exception as error:  # the ledger, or a webhook or search that was removed meanwhile
            logger.warning("webhook %s waits: %s", hook.id, str(error).split("\n", 1)[0])
            standing.due = time.monotonic() + BACKOFF_SECONDS[0]
        finally:
            standing.busy = False
            self._wake.set()

    def _deliver(self, hook: WebhookRecord, event: EventRecord) -> str:
        kind = kind_of(event)
        if kind is None:  # cannot be: `News` has left it out
            return ""
        message = message_of(event, kind, self._ledger.search(event.search_id))
        return deliver(hook.url, hook.secret, message, self._guard).error

    def _failed(self, hook: WebhookRecord, standing: Standing, error: str, failures: int) -> None:
        if failures >= DISABLE_AFTER:
            error = f"disabled after {failures} failures in a row; test it to enable it again. The last: {error}"
            self._ledger.registry.note_delivery(hook.id, error)
            self._ledger.registry.disable_webhook(hook.id)
        else:
            self._ledger.registry.note_delivery(hook.id, error)
        # after the ledger knows of it: a count that is zero there was taken back
        standing.failures = failures
        if failures in (1, DISABLE_AFTER):
            logger.warning("webhook %s: %s", hook.id, error)
        standing.due = time.monotonic() + backoff(failures)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row; a little less at random, so that crowds disperse."""
    first, longest = BACKOFF_SECONDS
    pause = min(first * 2.0 ** min(failures - 1, 30), longest)
    return pause * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
