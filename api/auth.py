"""Who calls, and what they may do: API keys, checked against the ledger's digests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from evolve.exceptions import LedgerError
from evolve.keys import SCOPES, allows, make_key, same_digest, split_key

if TYPE_CHECKING:
    from evolve.ledger.service_records import KeyRecord

__all__ = ["LOCAL", "Doorkeeper", "Principal", "authenticate", "make_key"]

REMEMBERED_SECONDS = 5.0
"""How long a key that was good is not looked up again: so much longer lives one that another process revokes."""
OPEN_SECONDS = 1.0
"""How long the answer to whether there are keys at all is kept."""
TOUCH_SECONDS = 60.0
"""How exact the time of a key's last use is."""
_MOST_REMEMBERED = 4096


class Keys(Protocol):
    """What of `evolve.ledger.registry.Registry` is used here."""

    def key_by_digest(self, digest: str) -> KeyRecord | None:
        """The key with this digest, revoked or not."""
        ...

    def has_keys(self) -> bool:
        """Whether there is a key, revoked or not."""
        ...

    def touch_key(self, key_id: str) -> None:
        """Note that a key is used now."""
        ...


@dataclass(frozen=True)
class Principal:
    """Somebody who may come in.

    Attributes:
        key_id: Id of the key; None for whoever is at this machine while there are no keys.
        scopes: What the key was made for.
    """

    key_id: str | None
    scopes: tuple[str, ...]

    def may(self, scope: str) -> bool:
        """Whether this principal may do what needs `scope`."""
        return allows(self.scopes, scope)


LOCAL = Principal(None, SCOPES)
"""Whoever is at this machine while there are no keys."""


def authenticate(registry: Keys, token: str) -> Principal | None:
    """The principal behind a key; None for one that is malformed, unknown or revoked."""
    presented = split_key(token)
    if presented is None:
        return None
    key_id, digest = presented
    record = registry.key_by_digest(digest)
    if record is None or record.revoked_at is not None:
        return None
    if not (same_digest(record.digest, digest) and same_digest(record.id, key_id)):
        return None
    return Principal(record.id, tuple(record.scopes))


class Doorkeeper:
    """Lets callers in, and remembers for a few seconds whom it has seen. Safe to use from several threads.

    Args:
        registry: Knows the keys.
        local: Whether only this machine can reach the service, so that it may be used while there are no keys.
        clock: Seconds that never go back.
    """

    def __init__(self, registry: Keys, *, local: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._local = local
        self._clock = clock
        self._seen: dict[bytes, tuple[float, Principal]] = {}
        self._touched: dict[str, float] = {}
        self._open: tuple[float, bool] = (float("-inf"), False)

    def recall(self, token: str) -> Principal | None:
        """A principal that was seen a moment ago; needs no look into the ledger."""
        until, principal = self._seen.get(_fingerprint(token), (float("-inf"), None))
        return principal if until > self._clock() else None

    def admit(self, token: str | None) -> Principal | None:
        """The principal behind a key; without a key, `LOCAL` where that is allowed. Looks into the ledger."""
        if token is None:
            return LOCAL if self.is_open() else None
        known = self.recall(token)
        if known is not None:
            return known
        principal = authenticate(self._registry, token)
        if principal is not None:
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            self._seen[_fingerprint(token)] = (self._clock() + REMEMBERED_SECONDS, principal)
        return principal

    def recall_open(self) -> bool | None:
        """What `is_open` said a moment ago, or None; needs no look into the ledger."""
        if not self._local:
            return False
        until, answer = self._open
        return answer if until > self._clock() else None

    def is_open(self) -> bool:
        """Whether this machine's users come in without a key, because there is none yet."""
        known = self.recall_open()
        if known is not None:
            return known
        answer = not self._registry.has_keys()
        self._open = (self._clock() + OPEN_SECONDS, answer)
        return answer

    def needs_touch(self, principal: Principal) -> bool:
        """Whether the last use of a key is to be noted again; says so once a minute."""
        if principal.key_id is None:
            return False
        now = self._clock()
        if now - self._touched.get(principal.key_id, float("-inf")) < TOUCH_SECONDS:
            return False
        self._touched[principal.key_id] = now
        return True

    def touch(self, key_id: str) -> None:
        """Note in the ledger that a key is used now; nothing depends on it."""
        with suppress(LedgerError):
            self._registry.touch_key(key_id)

    def forget(self) -> None:
        """Look again at the next call; for when keys were made or revoked in this process."""
        self._seen.clear()
        self._open = (float("-inf"), False)


def _fingerprint(token: str) -> bytes:
    # secrets stay out of long-lived memory, and a lookup by digest tells nothing by how long it takes
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
