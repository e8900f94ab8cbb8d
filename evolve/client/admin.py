"""The part of the client that is about what searches need and who may do what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from evolve.client.http import Connection
from evolve.client.reading import Page, read, read_page
from evolve.trial import Json

REGISTER_SECONDS = 3600.0
"""A data set is checked whole while the request waits."""


@dataclass(frozen=True)
class Space:
    """A search space that is shipped."""

    name: str
    model: str
    genes: int
    population: int
    generations: int
    individuals: int


@dataclass(frozen=True)
class Dataset:
    """A data set that submissions may name; `path` is shown to admins only."""

    id: str
    built_in: bool
    path: str | None
    content_hash: str
    names: tuple[str, ...]
    images: Mapping[str, int]
    boxes: Mapping[str, int]
    warnings: tuple[str, ...]
    registered_by: str | None
    created_at: float | None


@dataclass(frozen=True)
class Key:
    """An API key; `key` is the key itself, of one that was just made."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: float
    revoked_at: float | None
    last_used_at: float | None
    key: str = ""


@dataclass(frozen=True)
class Webhook:
    """An address that is told of events; `secret` signs them, of one that was just made."""

    id: str
    url: str
    kinds: tuple[str, ...]
    search_id: str | None
    created_by: str | None
    created_at: float
    failures: int
    last_error: str
    disabled_at: float | None
    secret: str = ""


@dataclass(frozen=True)
class WebhookTest:
    """How a test delivery went; `error` is empty if the receiver took it."""

    delivered: bool
    status: int | None
    error: str
    seconds: float


class Administration:
    """Spaces, data sets, keys and webhooks of a service; see `evolve.client.Client`."""

    _connection: Connection

    def spaces(self) -> Page[Space]:
        """The search spaces that are shipped."""
        return read_page(Space, self._connection.get("/spaces"))

    def space(self, name: str) -> Mapping[str, Json]:
        """The document of a search space that is shipped, with everything filled in."""
        return read(dict[str, Any], self._connection.get(f"/spaces/{quote(name, safe='')}", format="json"))

    def datasets(self) -> Page[Dataset]:
        """The data sets that submissions may name."""
        return read_page(Dataset, self._connection.get("/datasets"))

    def register_dataset(self, dataset_id: str, path: str) -> Dataset:
        """Let submissions name a data set; needs the scope admin. This may take long, as the data are checked.

        Args:
            dataset_id: What they call it; one of the same id is replaced.
            path: Absolute path, on the server's machine, of its YAML or of the folder that holds it.
        """
        body = {"id": dataset_id, "path": path}
        return read(Dataset, self._connection.post("/datasets", body, repeatable=True, timeout=REGISTER_SECONDS))

    def remove_dataset(self, dataset_id: str) -> None:
        """Forget a data set; its files, and searches on it, are left alone. Needs the scope admin."""
        self._remove("datasets", dataset_id)

    def keys(self) -> Page[Key]:
        """All API keys, without the keys themselves. Needs the scope admin."""
        return read_page(Key, self._connection.get("/keys"))

    def create_key(self, name: str, scope: str = "read") -> Key:
        """Make an API key; `Key.key` is shown only now. Needs the scope admin."""
        return read(Key, self._connection.post("/keys", {"name": name, "scope": scope}))

    def revoke_key(self, key_id: str) -> None:
        """Let a key do nothing any more. Needs the scope admin."""
        self._remove("keys", key_id)

    def webhooks(self) -> Page[Webhook]:
        """All webhooks. Needs the scope admin, as all that follows."""
        return read_page(Webhook, self._connection.get("/webhooks"))

    def add_webhook(self, url: str, kinds: Collection[str], search_id: str | None = None) -> Webhook:
        """Let an address hear of what happens from now on; `Webhook.secret` is shown only now.

        Args:
            url: Where to post to; must lead to a public address, or to one that the service was told to allow.
            kinds: Of `search_finished`, `search_failed`, `new_best`.
            search_id: Id of the one search that it is to hear of; all unless given.
        """
        body = {"url": url, "kinds": list(kinds), "search_id": search_id}
        return read(Webhook, self._connection.post("/webhooks", body))

    def test_webhook(self, webhook_id: str) -> WebhookTest:
        """Send a `ping` to a webhook now; if it arrives, a webhook that was disabled is enabled again."""
        return read(WebhookTest, self._connection.post(f"/webhooks/{quote(webhook_id, safe='')}/test"))

    def remove_webhook(self, webhook_id: str) -> None:
        """Deliver nothing to a webhook any more."""
        self._remove("webhooks", webhook_id)

    def _remove(self, what: str, which: str) -> None:
        self._connection.request("DELETE", f"/{what}/{quote(which, safe='')}")
