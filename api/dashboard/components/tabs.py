"""Tabs, by the pattern of the ARIA authoring practices: arrow keys move between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from api.dashboard.components.text import block, text

_ARROWS = """(event) => {
    const tabs = [...event.currentTarget.querySelectorAll('[role=tab]')];
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const place = tabs.indexOf(document.activeElement);
    if (!step || place < 0) return;
    event.preventDefault();
    const next = tabs[(place + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
}"""


class Tabs:
    """A row of tabs and the panel below it.

    Args:
        label: What the tabs are about.
        titles: Their names.
        chosen: Which is chosen at first.
        on_choose: Called with the one that is chosen.
    """

    def __init__(self, label: str, titles: Sequence[str], chosen: str, on_choose: Callable[[str], Any]) -> None:
        self._on_choose = on_choose
        self._tabs: dict[str, ui.element] = {}
        row = block("div", "ev-tabs", role="tablist", aria_label=label)
        row.on("keydown", js_handler=_ARROWS)
        with row:
            for title in titles:
                tab = text("button", title, "ev-tab", type="button", role="tab")
                tab.on("click", lambda _, title=title: self._choose(title))
                self._tabs[title] = tab
        self.panel = block("div", "ev-panel", role="tabpanel", aria_label=chosen)
        self._mark(chosen)

    def _choose(self, title: str) -> Any:
        self._mark(title)
        return self._on_choose(title)

    def _mark(self, title: str) -> None:
        for name, tab in self._tabs.items():
            tab.props["aria-selected"] = "true" if name == title else "false"
            tab.props["tabindex"] = 0 if name == title else -1
        self.panel.props["aria-label"] = title
