"""How the search was asked to run: its space, its data, its options, and where it runs."""

from __future__ import annotations

from typing import Any

from api.dashboard.components import block, text
from api.dashboard.components.text import preformatted
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from evolve.formatting import MISSING, clean, compact
from evolve.yaml_io import dump_yaml


class Settings(Section):
    """The document and everything around it."""

    title = "Settings"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements; nothing of this changes while a search runs, but its notes."""
        record = snapshot.record
        with block(classes="ev-split"):
            with block("section", "ev-card", aria_label="The search space"):
                text("h2", "Search space")
                preformatted(dump_yaml(dict(record.document)))
            with block(classes="ev-panel"):
                with block("section", "ev-card", aria_label="How it runs"):
                    text("h2", "How it runs")
                    self._facts = block("dl", "ev-facts")
                with block("section", "ev-card", aria_label="Versions and hardware"):
                    text("h2", "Versions and hardware")
                    with block("dl", "ev-facts"):
                        facts(dict(sorted(record.environment.items())))
        self._shown: dict[str, Any] = {}

    async def refresh(self, snapshot: Snapshot) -> None:
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
        if shown == self._shown:
            return
        self._shown = shown
        self._facts.clear()
        with self._facts:
            facts(shown)


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
