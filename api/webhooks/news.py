"""What there is to tell to whom, found for all webhooks in one pass.

Most of what happens are epochs, which no webhook hears of. So new events are looked through once, however many
webhooks there are: that a search holds something for a webhook is noted in its `Standing`. Notes do not outlive the
process. The cursors of the webhooks do, and every webhook begins with a sweep, a look at all searches in which
its cursor is behind; sweeps also move these cursors over what it need not hear of, so that the next is short.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.webhooks.messages import kind_of, sources
from evolve.ledger.hooks import observer_of

if TYPE_CHECKING:
    from evolve.ledger import EventKind, EventRecord, Ledger
    from evolve.ledger.service_records import WebhookRecord

OBSERVER = "webhooks"
"""Whose cursors say up to where new events have been looked through."""
PAGE = 100
STORE_SECONDS = 60.0
"""How often the common cursor of a search is moved."""
SWEEP_SECONDS = 600.0
"""How often a webhook is swept, which also finds what another service on this ledger looked through and lost."""
STORES = 20
"""Cursors moved in one pass, but for those of deliveries: every one is a commit, which drivers would wait for."""

_ALL = 2**31 - 1  # a limit would let old searches that stay behind hide new ones


@dataclass
class Standing:
    """What this process knows of a webhook beside the ledger.

    Attributes:
        due: When to look again, on the monotonic clock.
        busy: Whether a thread delivers to it.
        failures: Deliveries in a row that failed, as this process has noted them in the ledger.
        troubled: Whether it was mentioned that its news cannot be read.
        sweep: When to sweep, on the monotonic clock.
        stirred: Searches that hold something for it, in the order of a dictionary.
    """

    due: float = 0.0
    busy: bool = False
    failures: int = 0
    troubled: bool = False
    sweep: float = 0.0
    stirred: dict[str, None] = field(default_factory=dict)


class News:
    """Looks through new events; belongs to one thread.

    Args:
        ledger: Read from, and cursors moved in.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: dict[str, int] | None = None
        self._stored: dict[str, float] = {}
        self._stores = 0

    def note(self, hooks: Collection[WebhookRecord], standings: Mapping[str, Standing]) -> None:
        """Look through what is new in all searches, and note for whom there is something."""
        self._stores = 0
        if not hooks:
            self._seen = None
            return
        kinds = sources({kind for hook in hooks for kind in hook.kinds})
        behind = self._ledger.searches_behind(OBSERVER, _ALL)
        seen: dict[str, int] = {}
        for search_id, cursor, head in behind:
            # in the first pass the sweeps, which all webhooks begin with after it, find what there is
            start = head if self._seen is None else max(cursor, self._seen.get(search_id, 0))
            seen[search_id] = start
            if start < head:
                found = self._ledger.events(search_id, after=start, limit=PAGE, kinds=kinds)
                _stir(search_id, found, hooks, standings)
                seen[search_id] = head if len(found) < PAGE else found[-1].sequence
        self._seen = seen
        self._store({search_id: cursor for search_id, cursor, _ in behind}, seen)

    def of(self, hook: WebhookRecord, standing: Standing) -> list[EventRecord]:
        """The oldest events that a webhook is to hear of, by search; not all, if there are many."""
        sweeping = standing.sweep <= time.monotonic()
        kinds = sources(hook.kinds)
        news: list[EventRecord] = []
        for search_id, cursor, head in self._behind(hook, standing, sweeping):
            wanted, whole = self._wanted(hook, search_id, cursor, head, kinds)
            if wanted or not whole:
                standing.stirred[search_id] = None
            else:
                standing.stirred.pop(search_id, None)
            news += wanted
            if len(news) >= PAGE:  # a sweep that ends here is repeated after the delivery
                return news
        if sweeping:
            # at random, so that not all are swept in the same pass
            standing.sweep = time.monotonic() + SWEEP_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return news

    def _behind(self, hook: WebhookRecord, standing: Standing, sweeping: bool) -> Iterator[tuple[str, int, int]]:
        observer = observer_of(hook.id)
        if sweeping:
            yield from self._ledger.searches_behind(observer, _ALL, search_id=hook.search_id)
            return
        for search_id in list(standing.stirred):
            found = self._ledger.searches_behind(observer, 1, search_id=search_id)
            if not found:  # all is delivered, or the search was deleted
                standing.stirred.pop(search_id, None)
            yield from found

    def _wanted(
        self, hook: WebhookRecord, search_id: str, cursor: int, head: int, kinds: Collection[EventKind]
    ) -> tuple[list[EventRecord], bool]:
        """What a webhook is to hear of in a search, and whether that is all."""
        found = self._ledger.events(search_id, after=cursor, limit=PAGE, kinds=kinds)
        wanted = [event for event in found if wants(hook, event)]
        whole = len(found) < PAGE
        if not wanted:
            # `head` was read before the events, so nothing up to it is missing from a page that is not full
            end = head if whole else found[-1].sequence
            if not whole or self._may_store():
                self._ledger.advance(observer_of(hook.id), search_id, end)
        return wanted, whole

    def _store(self, cursors: Mapping[str, int], seen: Mapping[str, int]) -> None:
        """Move common cursors now and then, so that the list of searches with something new stays short."""
        now = time.monotonic()
        self._stored = {search_id: self._stored.get(search_id, now) for search_id in seen}
        for search_id, position in seen.items():
            late = now - self._stored[search_id] >= STORE_SECONDS
            if position > cursors[search_id] and late and self._may_store():
                self._ledger.advance(OBSERVER, search_id, position)
                self._stored[search_id] = now

    def _may_store(self) -> bool:
        self._stores += 1
        return self._stores <= STORES


def wants(hook: WebhookRecord, event: EventRecord) -> bool:
    """Whether a webhook is to hear of an event."""
    kind = kind_of(event)
    return kind is not None and str(kind) in hook.kinds and hook.search_id in (None, event.search_id)


def _stir(
    search_id: str,
    found: Collection[EventRecord],
    hooks: Collection[WebhookRecord],
    standings: Mapping[str, Standing],
) -> None:
    for hook in hooks:
        if any(wants(hook, event) for event in found):
            standings[hook.id].stirred[search_id] = None
