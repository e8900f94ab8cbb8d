"""How a receiver knows that a delivery is genuine, fresh and unchanged.

The header `X-Evolve-Signature: t=<seconds>,v1=<hex>` holds the time of sending and the HMAC-SHA256, with the
webhook's secret, of that time, a full stop and the body as it was sent.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time

HEADER = "X-Evolve-Signature"
TOLERANCE_SECONDS = 300

_SIGNATURE = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")


def make_secret() -> str:
    """A new secret; whoever registers the webhook sees it once."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def sign(secret: str, body: bytes, at: int) -> str:
    """The value of the header for a body that is sent at a time (whole seconds since the epoch)."""
    return f"t={at},v1={_digest(secret, body, at)}"


def verify(secret: str, body: bytes, header: str, *, now: float | None = None) -> bool:
    """Whether a header belongs to this body, made with this secret, within the last five minutes.

    For receivers in Python; docs/webhooks.md has the same in five lines for all others.
    """
    found = _SIGNATURE.fullmatch(header.strip())
    if found is None:
        return False
    at = int(found[1])
    fresh = abs((time.time() if now is None else now) - at) <= TOLERANCE_SECONDS
    return hmac.compare_digest(found[2], _digest(secret, body, at)) and fresh


def _digest(secret: str, body: bytes, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
