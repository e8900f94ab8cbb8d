"""Who has signed in at the dashboard: a signed cookie that names a key, and is of no use elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from api.auth import Principal
from evolve.exceptions import NotFound
from evolve.ledger.service_records import KeyRecord

log = logging.getLogger(__name__)

COOKIE = "evolve_session"
SECONDS = 30 * 24 * 3600
"""How long somebody stays signed in."""

REMEMBERED_SECONDS = 5.0
"""How long a key that was good is not looked up again."""
_SECRET_BYTES = 32
_COOKIE = re.compile(r"([0-9a-f]{1,32})\.(\d{1,12})\.([0-9a-f]{64})")


class Keys(Protocol):
    """What of `evolve.ledger.registry.Registry` is used here."""

    def key(self, key_id: str) -> KeyRecord:
        """The key of this id."""
        ...


class Sessions:
    """Signs cookies and reads them; a key that is revoked ends its sessions within seconds.

    Args:
        registry: Knows the keys.
        home: Keeps the secret that cookies are signed with, so that they outlive a restart.
        clock: Seconds since the epoch.
    """

    def __init__(self, registry: Keys, home: Path, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._path = home / "dashboard.secret"
        self._clock = clock
        self._secret: bytes | None = None
        self._seen: dict[str, tuple[float, Principal | None]] = {}

    def cookie(self, principal: Principal) -> str:
        """The cookie of somebody who has shown a key."""
        content = f"{principal.key_id}.{int(self._clock()) + SECONDS}"
        return f"{content}.{self._signature(content)}"

    def principal(self, cookie: str | None) -> Principal | None:
        """Whom a cookie names; None for one that is forged, too old, or of a key that was revoked."""
        found = _COOKIE.fullmatch(cookie or "")
        if found is None:
            return None
        key_id, until, signature = found.groups()
        if not hmac.compare_digest(signature, self._signature(f"{key_id}.{until}")):
            return None
        return self._known(key_id) if int(until) > self._clock() else None

    def _known(self, key_id: str) -> Principal | None:
        until, principal = self._seen.get(key_id, (0.0, None))
        now = time.monotonic()
        if until > now:
            return principal
        try:
            record = self._registry.key(key_id)
        except NotFound:
            principal = None
        else:
            principal = None if record.revoked_at is not None else Principal(record.id, tuple(record.scopes))
        self._seen[key_id] = (now + REMEMBERED_SECONDS, principal)
        return principal

    def _signature(self, content: str) -> str:
        if self._secret is None:
            self._secret = _kept_secret(self._path)
        return hmac.new(self._secret, content.encode(), hashlib.sha256).hexdigest()


def _kept_secret(path: Path) -> bytes:
    """The secret in a file that only its owner may read; made when there is none, and anew when it is not whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size != _SECRET_BYTES:
        # whoever knows that it is empty, as after a power cut, could sign for anybody
        log.warning("%s: not a whole secret; it is made anew, and everybody has to sign in again", path)
        path.unlink(missing_ok=True)
    if not path.exists():
        _make_secret(path)
    return path.read_bytes()


def _make_secret(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())  # or the file may be empty after a power cut, and its name there all the same
    try:
        os.link(draft, path)  # the first of several wins, and nobody reads half a secret
    except FileExistsError:
        pass
    finally:
        draft.unlink()
