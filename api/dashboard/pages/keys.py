"""API keys, for admins: make them, see when they were used, revoke them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

from nicegui import ui

from api import keyring
from api.auth import Principal
from api.dashboard.components import banner, block, button, confirmed, empty, text
from api.dashboard.components.text import attribute
from api.dashboard.following import attempt
from api.dashboard.frame import page, require
from api.dashboard.pages.searches import age
from api.dashboard.site import Site, site
from evolve.ledger.service_records import KeyRecord

_SCOPES = {
    "read": "read: look at everything",
    "submit": "submit: and enter searches, and steer one's own",
    "admin": "admin: and steer all, make keys, register data sets",
}


@page("/keys", "Keys", "admin")
async def keys_page(principal: Principal) -> None:
    """The keys."""
    await _Page(site(), principal).build()


class _Page:
    """The page while it is open."""

    def __init__(self, here: Site, principal: Principal) -> None:
        self._here = here
        self._principal = principal

    async def build(self) -> None:
        """Lay out the page."""
        text("h1", "Keys")
        if self._principal.key_id is None:
            banner(
                "There is no key yet, so everybody at this machine may do everything, and nobody else gets in. The "
                "first key must be an admin's; from then on everybody needs one, here too.",
                "warning",
            )
        with block("section", "ev-card"):
            text("h2", "Make a key")
            with block(classes="ev-fields"):
                self._name = ui.input("Name", placeholder="who or what it is for").props(
                    "outlined dense maxlength=100"
                )
                first = "admin" if self._principal.key_id is None else "submit"
                self._scope = ui.select(_SCOPES, value=first, label="Scope").props("outlined dense options-dense")
            with block(classes="ev-actions"):
                button("Make the key", self._make, "strong")
            self._made = block(aria_live="polite")
        with block("section", "ev-card"):
            text("h2", "All keys")
            self._list = block(classes="ev-panel")
        await self._refresh()

    async def _refresh(self) -> None:
        records = await self._here.run(self._here.ledger.registry.keys)
        self._list.clear()
        with self._list:
            if not records:
                empty("No key yet")
                return
            with (
                block(classes="ev-scroll", role="region", tabindex=0, aria_label="All keys"),
                block("table", "ev-table"),
            ):
                with block("thead"), block("tr"):
                    for heading in ("Name", "Id", "Scope", "Made", "Last used", ""):
                        text("th", heading, scope="col")
                with block("tbody"):
                    for record in records:
                        self._row(record)

    def _row(self, record: KeyRecord) -> None:
        now = time.time()
        with block("tr"):
            text("td", record.name)
            text("td", record.id, "mono")
            text("td", record.scopes[-1] if record.scopes else "")
            text("td", datetime.fromtimestamp(record.created_at, UTC).strftime("%Y-%m-%d"))
            text("td", f"{age(now - record.last_used_at)} ago" if record.last_used_at else "never")
            with block("td", "end"):
                if record.revoked_at is None:
                    revoke = button("Revoke", partial(self._revoke, record), "danger")
                    attribute(revoke, aria_label=f"Revoke {record.name}")
                else:
                    text("span", "revoked", "ev-mark")

    async def _make(self) -> None:
        async def act() -> str:
            await require("admin")
            registry = self._here.ledger.registry
            name, scope = str(self._name.value or ""), str(self._scope.value)
            record, token = await self._here.run(keyring.create_key, registry, name, scope)
            self._here.service.doorkeeper.forget()
            self._show_token(record, token)
            return ""

        if await attempt(act):
            self._name.value = ""
            await self._refresh()

    def _show_token(self, record: KeyRecord, token: str) -> None:
        self._made.clear()
        with self._made:
            banner(f"The key {record.name}. It is shown this once: copy it now.", "note")
            text("p", token, "ev-secret mono", tabindex=0)
            button("Copy", lambda: ui.clipboard.write(token))

    async def _revoke(self, record: KeyRecord) -> None:
        consequence = (
            "Whoever uses it is shut out within seconds. This cannot be taken back; another key can be made."
        )
        if not await confirmed(f"Revoke the key {record.name}?", consequence, "Revoke", danger=True):
            return

        async def act() -> str:
            principal = await require("admin")
            await self._here.run(keyring.revoke_key, self._here.ledger.registry, record.id, principal)
            self._here.service.doorkeeper.forget()
            return f"The key {record.name} is revoked"

        if await attempt(act):
            await self._refresh()
