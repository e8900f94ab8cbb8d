"""API keys: what one looks like, what it may do, and what the ledger keeps of it.

A key is `evk_<id>_<secret>`. The ledger holds the id and a digest of the secret; the secret itself is shown once,
when the key is made. Its 256 random bits are why a plain digest is enough at rest: nobody guesses them, so there is
nothing for a slow hash to slow down.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from typing import TypedDict

from evolve.exceptions import InputError

SCOPES = ("read", "submit", "admin")
"""What a key may do; each includes those before it."""

PREFIX = "evk"
MAX_NAME = 100
_KEY = re.compile(r"evk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class NewKey(TypedDict):
    """What `Registry.add_key` takes."""

    name: str
    digest: str
    scopes: tuple[str, ...]
    key_id: str


def make_key(name: str, scopes: Collection[str]) -> tuple[NewKey, str]:
    """A new key: what the ledger keeps of it, and the text that its owner gets.

    Args:
        name: Who or what it is for.
        scopes: Of `SCOPES`; the widest one counts.

    Raises:
        InputError: if the name or a scope cannot be used.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InputError(f"key: name: must be 1 to {MAX_NAME} printable characters, but got {name[:MAX_NAME]!r}")
    for scope in scopes:
        if scope not in SCOPES:
            raise InputError(f"key: scope: must be one of {', '.join(SCOPES)}, but got {scope[:MAX_NAME]!r}")
    if not scopes:
        raise InputError(f"key: scope: at least one of {', '.join(SCOPES)} is needed, but got none")
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    granted = tuple(scope for scope in SCOPES if scope in scopes)
    new = NewKey(name=name.strip(), digest=digest_of(secret), scopes=granted, key_id=key_id)
    return new, f"{PREFIX}_{key_id}_{secret}"


def digest_of(secret: str) -> str:
    """What the ledger keeps instead of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split_key(token: str) -> tuple[str, str] | None:
    """Id and digest of a key as its owner presents it; None if it does not even look like one."""
    found = _KEY.fullmatch(token)
    return (found[1], digest_of(found[2])) if found else None


def same_digest(one: str, other: str) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def allows(scopes: Collection[str], wanted: str) -> bool:
    """Whether these scopes include the wanted one."""
    return any(scope in scopes for scope in SCOPES[SCOPES.index(wanted) :])
