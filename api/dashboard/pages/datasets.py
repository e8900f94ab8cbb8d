"""Data sets that submissions may name; admins register them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nicegui import ui

from api import datasets
from api.auth import Principal
from api.dashboard.components import block, busy, button, confirmed, empty, text
from api.dashboard.components.text import attribute
from api.dashboard.following import attempt
from api.dashboard.frame import page, require
from api.dashboard.site import Site, site
from evolve.formatting import count
from evolve.ledger.service_records import DatasetRecord
from evolve.trial import Json

_NAMES = 12


@page("/datasets", "Data sets")
async def datasets_page(principal: Principal) -> None:
    """The data sets."""
    await _Page(site(), principal).build()


class _Page:
    """The page while it is open."""

    def __init__(self, here: Site, principal: Principal) -> None:
        self._here = here
        self._admin = principal.may("admin")

    async def build(self) -> None:
        """Lay out the page."""
        text("h1", "Data sets")
        text("p", "A submission names a data set by its id. The set called demo is always there.", "ev-muted")
        if self._admin:
            with block("section", "ev-card"):
                text("h2", "Register a data set")
                with block(classes="ev-fields"):
                    self._id = ui.input("Id", placeholder="bottles").props("outlined dense maxlength=64")
                    self._path = ui.input("Path on the service's machine", placeholder="/data/bottles/data.yaml")
                    self._path.props("outlined dense maxlength=4096")
                with block(classes="ev-actions"):
                    self._register = button("Check and register", self._enter, "strong")
                self._working = busy("Checking every picture and label; a large set takes minutes …")
                self._working.set_visibility(False)
        self._list = block(classes="ev-panel")
        await self._refresh()

    async def _refresh(self) -> None:
        records = await self._here.run(self._here.ledger.registry.datasets)
        self._list.clear()
        with self._list:
            if not records:
                advice = "An admin registers folders of the service's machine here, or over the API."
                empty("No data set is registered", advice)
            for record in records:
                self._card(record)

    def _card(self, record: DatasetRecord) -> None:
        with block("section", "ev-card"):
            with block(classes="ev-card-head"):
                text("h2", record.id)
                if self._admin:
                    remove = button("Remove", partial(self._remove, record), "danger")
                    attribute(remove, aria_label=f"Remove {record.id}")
            with block("dl", "ev-facts"):
                if self._admin:
                    text("dt", "path")
                    text("dd", record.path, "mono")
                for name, value in _facts(record.summary).items():
                    text("dt", name)
                    text("dd", value)
                text("dt", "content")
                text("dd", record.content_hash[:16], "mono")

    async def _enter(self) -> None:
        async def act() -> str:
            principal = await require("admin")
            here = self._here
            record = await here.service.threads.heavy(
                datasets.register_dataset,
                here.ledger,
                here.settings,
                str(self._id.value or "").strip(),
                str(self._path.value or "").strip(),
                principal,
            )
            self._id.value = self._path.value = ""
            return f"The data set {record.id} is registered"

        self._register.disable()
        self._working.set_visibility(True)
        try:
            done = await attempt(act)
        finally:
            self._working.set_visibility(False)
            self._register.enable()
        if done:
            await self._refresh()

    async def _remove(self, record: DatasetRecord) -> None:
        consequence = (
            "New submissions cannot name it any more. Its files, and searches that use it, are left alone."
        )
        if not await confirmed(f"Remove the data set {record.id}?", consequence, "Remove", danger=True):
            return

        async def act() -> str:
            await require("admin")
            await self._here.run(self._here.ledger.registry.remove_dataset, record.id)
            return f"The data set {record.id} is removed"

        if await attempt(act):
            await self._refresh()


def _facts(summary: Mapping[str, Json]) -> dict[str, str]:
    """What its summary says, in words."""
    shown: dict[str, str] = {}
    for key, noun in (("images", "pictures"), ("boxes", "boxes")):
        amounts = summary.get(key)
        if isinstance(amounts, dict):
            shown[noun] = ", ".join(
                f"{split} {amount:,}" for split, amount in amounts.items() if isinstance(amount, int)
            )
    names = summary.get("names")
    if isinstance(names, list):
        listed = ", ".join(map(str, names[:_NAMES])) + (", …" if len(names) > _NAMES else "")
        shown[count(len(names), "class").replace("classs", "classes")] = listed
    warnings = summary.get("warnings")
    if isinstance(warnings, list) and warnings:
        shown["warnings"] = "; ".join(map(str, warnings[:3]))
    return shown
