"""API keys: who may use a service, and for what."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import or_, select, update

from evolve.exceptions import LedgerError
from evolve.ledger import queries
from evolve.ledger.creation import new_id
from evolve.ledger.dialect import DatabaseTime
from evolve.ledger.entries import Entries, enter, require
from evolve.ledger.models import api_keys
from evolve.ledger.service_records import KeyRecord

_TOUCH_SECONDS = 60.0


class Keys(Entries):
    """The part of `Registry` that knows the keys."""

    def add_key(self, name: str, digest: str, scopes: Collection[str], key_id: str | None = None) -> KeyRecord:
        """Enter a key; of its secret only the digest is kept.

        Raises:
            LedgerError: The id or the digest is taken.
        """
        values = {"id": key_id or new_id(), "name": name, "digest": digest, "scopes": list(scopes)}
        with self._database.writing() as connection:
            if connection.scalar(select(api_keys.c.id).where(api_keys.c.digest == digest)) is not None:
                raise LedgerError(f"key {values['id']}: its secret must be new, but it is taken; make another")
            return _key_record(enter(connection, api_keys, "key", values))

    def keys(self) -> list[KeyRecord]:
        """Every key, the oldest first, those that were revoked too."""
        with self._database.reading() as connection:
            query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
            return [_key_record(row) for row in queries.rows(connection, query)]

    def key(self, key_id: str) -> KeyRecord:
        """One key.

        Raises:
            NotFound: There is none of this id.
        """
        return _key_record(self._get(api_keys, "key", key_id))

    def key_by_digest(self, digest: str) -> KeyRecord | None:
        """The key with this digest, even if it was revoked."""
        with self._database.reading() as connection:
            found = queries.rows(connection, select(api_keys).where(api_keys.c.digest == digest))
        return _key_record(found[0]) if found else None

    def revoke_key(self, key_id: str) -> None:
        """Let a key open nothing from now on; once is enough.

        Raises:
            NotFound: There is none of this id.
        """
        with self._database.writing() as connection:
            require(connection, api_keys, "key", key_id)
            change = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            connection.execute(change.values(revoked_at=DatabaseTime()))

    def touch_key(self, key_id: str) -> None:
        """Note that a key was used just now, to the minute, so that most calls write nothing."""
        stale = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < DatabaseTime() - _TOUCH_SECONDS)
        with self._database.reading() as connection:
            if connection.scalar(select(api_keys.c.id).where(api_keys.c.id == key_id, stale)) is None:
                return
        with self._database.writing() as connection:
            change = update(api_keys).where(api_keys.c.id == key_id, stale)
            connection.execute(change.values(last_used_at=DatabaseTime()))

    def has_keys(self) -> bool:
        """Whether there ever was a key: revoking the last one must not open a service to everybody."""
        with self._database.reading() as connection:
            return connection.scalar(select(api_keys.c.id).limit(1)) is not None


def _key_record(row: dict[str, Any]) -> KeyRecord:
    return KeyRecord(**{**row, "scopes": tuple(row["scopes"])})
