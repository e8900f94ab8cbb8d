"""Making and revoking keys, for the API and the dashboard alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolve.exceptions import StateConflict
from evolve.keys import make_key

if TYPE_CHECKING:
    from api.auth import Principal
    from evolve.ledger.registry import Registry
    from evolve.ledger.service_records import KeyRecord


def create_key(registry: Registry, name: str, scope: str) -> tuple[KeyRecord, str]:
    """Make a key.

    Args:
        registry: Where it is kept.
        name: Who or what it is for.
        scope: `read`, `submit` or `admin`.

    Returns:
        What is kept of it, and the key itself, which nobody is ever shown again.

    Raises:
        InputError: if the name or the scope cannot be used.
        StateConflict: if it would be the first key, and not an admin's.
    """
    if scope != "admin" and not registry.has_keys():
        raise StateConflict(
            f"scope: the first key must have the scope admin, since nobody gets in without a key from then on, "
            f"but got {scope}; make an admin's key first"
        )
    new, token = make_key(name, [scope])
    return registry.add_key(**new), token


def revoke_key(registry: Registry, key_id: str, principal: Principal) -> None:
    """Revoke a key; it opens nothing from now on. A key cannot revoke itself, so that one admin is left.

    Args:
        registry: Where it is kept.
        key_id: Its id.
        principal: Who asks.

    Raises:
        NotFound: if there is none of this id.
        StateConflict: if it is the key of whoever asks.
    """
    if key_id == principal.key_id:
        raise StateConflict(
            f"key {key_id}: must not be the one that asks, but it is; use another admin's key, "
            f"or `evolve key revoke {key_id}`"
        )
    registry.revoke_key(key_id)
