"""What a webhook is told: a few kinds of events, each as one JSON object."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evolve.formatting import finite
from evolve.ledger import EventKind, EventRecord, SearchRecord, SearchState
from evolve.trial import Json


class WebhookKind(StrEnum):
    """What a webhook can be registered for."""

    SEARCH_FINISHED = "search_finished"  # completed or cancelled: nothing is left to do
    SEARCH_FAILED = "search_failed"
    NEW_BEST = "new_best"


PING = "ping"
"""The kind of a test delivery."""

_ENDINGS: dict[str, WebhookKind] = {
    SearchState.COMPLETED: WebhookKind.SEARCH_FINISHED,
    SearchState.CANCELLED: WebhookKind.SEARCH_FINISHED,
    SearchState.FAILED: WebhookKind.SEARCH_FAILED,
}
_SOURCES = {
    WebhookKind.SEARCH_FINISHED: EventKind.SEARCH_FINISHED,
    WebhookKind.SEARCH_FAILED: EventKind.SEARCH_FINISHED,
    WebhookKind.NEW_BEST: EventKind.NEW_BEST,
}


@dataclass(frozen=True)
class Message:
    """One delivery.

    Attributes:
        id: The same for every attempt, so that a receiver can tell what it has seen.
        kind: A `WebhookKind`, or `ping`.
        search: `id` and `name` of the search; None for a ping.
        data: What happened.
        at: When it happened, in seconds since the epoch.
    """

    id: str
    kind: str
    search: Mapping[str, Json] | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
    at: float = 0.0

    def body(self) -> bytes:
        """The JSON that is sent and signed."""
        content: dict[str, Any] = {
            "id": self.id,
            "kind": str(self.kind),
            "search": self.search,
            "data": self.data,
            "at": self.at,
        }
        return json.dumps(finite(content), allow_nan=False, separators=(",", ":")).encode()


def sources(kinds: Collection[str]) -> set[EventKind]:
    """The events in which these kinds are to be found; kinds of another version are in none."""
    return {source for kind, source in _SOURCES.items() if str(kind) in kinds}


def kind_of(event: EventRecord) -> WebhookKind | None:
    """What an event is to a webhook, if anything.

    A driver that merely let go of its search (`interrupted`) is no news: the search goes on. Nor is a state that
    another version knows.
    """
    if event.kind is EventKind.NEW_BEST:
        return WebhookKind.NEW_BEST
    if event.kind is EventKind.SEARCH_FINISHED:
        return _ENDINGS.get(str(event.data.get("state")))
    return None


def message_of(event: EventRecord, kind: WebhookKind, search: SearchRecord) -> Message:
    """The delivery for an event.

    Args:
        event: What happened.
        kind: What `kind_of` says of it.
        search: The search as it stands now.
    """
    data = dict(event.data)
    if kind is WebhookKind.NEW_BEST:
        data["individual"] = event.individual
    else:
        names = ("best_individual", "best_fitness", "default_fitness", "evaluated", "failed", "gpu_seconds")
        data |= {name: getattr(search, name) for name in names}
        data["answer"] = None if search.answer is None else search.answer.get("text")
    about: dict[str, Json] = {"id": search.id, "name": search.name}
    return Message(f"{event.search_id}-{event.sequence}", kind, about, data, event.at)


def ping() -> Message:
    """A test delivery."""
    return Message(f"ping-{secrets.token_hex(8)}", PING, at=time.time())
