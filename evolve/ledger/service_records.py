"""What the ledger hands out of what a service needs: keys, data sets and webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolve.trial import Json


@dataclass(frozen=True)
class KeyRecord:
    """An API key; its secret is known to its owner only.

    Attributes:
        digest: SHA-256 of the secret, in hexadecimal digits.
        scopes: What it may do.
    """

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None
    last_used_at: float | None = None


@dataclass(frozen=True)
class DatasetRecord:
    """A data set that submitted searches may train on.

    Attributes:
        path: Its data YAML, on the machines that train.
        content_hash: Of labels and pictures, when it was registered.
        summary: What a person is shown of it, such as classes and numbers of pictures.
        registered_by: Id of a key.
    """

    id: str
    path: str
    content_hash: str
    summary: Mapping[str, Json]
    registered_by: str | None
    created_at: float


@dataclass(frozen=True)
class WebhookRecord:
    """An address that is told of events.

    Attributes:
        kinds: What it is told of.
        secret: Signs what it is sent.
        search_id: The one search that it hears of; None for all.
        created_by: Id of a key.
        failures: Deliveries that failed since the last one that did not.
        last_error: Of the last delivery, empty if it arrived.
        disabled_at: When it was given up.
    """

    id: str
    url: str
    kinds: tuple[str, ...]
    secret: str
    search_id: str | None
    created_by: str | None
    created_at: float
    failures: int = 0
    last_error: str = ""
    disabled_at: float | None = None
