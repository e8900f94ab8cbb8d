"""How the search was asked to run: its space, its data, its options, and where it runs."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from api import service, views
from api.dashboard.components import block, button, text
from api.dashboard.components.text import preformatted
from api.dashboard.facts import owns
from api.dashboard.following import attempt
from api.dashboard.frame import require
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from evolve.exceptions import InputError
from evolve.formatting import MISSING, clean, compact
from evolve.ledger import SearchRecord
from evolve.yaml_io import dump_yaml

MOST_KNOWN = 10
"""Known configurations that are shown."""


class Settings(Section):
    """The document and everything around it."""

    title = "Settings"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements; nothing of this changes while a search runs, but its notes."""
        record = snapshot.record
        with block(classes="ev-split"):
            with block("section", "ev-card"):
                text("h2", "Search space")
                preformatted(_document(record))
            with block(classes="ev-panel"):
                with block("section", "ev-card"):
                    text("h2", "How it runs")
                    self._facts = block("dl", "ev-facts")
                    if owns(self.view.principal, record) and record.managed and not record.state.is_over:
                        with block(classes="ev-filters"):
                            self._priority = ui.number("Priority", value=record.priority, min=-100, max=100)
                            self._priority.props("outlined dense step=1").classes("ev-choice-field")
                            button("Change the priority", self._prioritise)
                with block("section", "ev-card"):
                    text("h2", "Versions and hardware")
                    with block("dl", "ev-facts"):
                        facts(dict(sorted(record.environment.items())))
        self._shown: dict[str, Any] = {}

    async def _prioritise(self) -> None:
        async def act() -> str:
            principal = await require("submit")
            site, wanted = self.view.site, self._priority.value
            if wanted is None or not -100 <= wanted <= 100:  # noqa: PLR2004 - as over the API
                raise InputError(f"priority: must be from -100 to 100, but got {wanted}")
            await site.run(service.prioritise, site.ledger, self.view.search_id, int(wanted), principal)
            site.supervisor.poke()
            return f"The priority is {int(wanted)} now"

        await attempt(act)

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search."""
        record = snapshot.record
        shown: dict[str, Any] = {
            "objective": record.objective,
            "submitted by": f"key {record.submitted_by}" if record.submitted_by else "this machine",
            "priority": record.priority,
            "data content": record.data_hash or "not known yet",
            **record.options,
        }
        if self.view.principal.may("admin"):
            shown |= {"files": record.directory, "driver": record.owner or "none"}
        if shown != self._shown:
            self._shown = shown
            self._facts.clear()
            with self._facts:
                facts(shown)
        return True


def _document(record: SearchRecord) -> str:
    """The search space as YAML, with a few of the known configurations only: writing a thousand takes seconds."""
    document = dict(views.search_detail(record)["document"])
    known = document.get("known")
    if not isinstance(known, list) or len(known) <= MOST_KNOWN:
        return dump_yaml(document)
    rest = len(known) - MOST_KNOWN
    return dump_yaml({**document, "known": known[:MOST_KNOWN]}) + f"# and {rest} more known configurations\n"


def facts(entries: dict[str, Any]) -> None:
    """Names and values, in a `dl`."""
    for name, value in entries.items():
        text("dt", name)
        text("dd", worded(value))


def worded(value: Any) -> str:
    """A value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {worded(item)}" for key, item in value.items()) or MISSING
    if isinstance(value, list | tuple):
        return ", ".join(map(worded, value)) or MISSING
    return MISSING if value is None or value == "" else clean(compact(value))
