"""The page of one search, which follows it while it runs."""

from __future__ import annotations

from datetime import UTC, datetime

from nicegui import ui

from api import service
from api.auth import Principal
from api.dashboard.actions import Actions
from api.dashboard.components import banner, block, busy, link, text
from api.dashboard.components.tabs import Tabs
from api.dashboard.facts import state_words, what_of
from api.dashboard.following import follow
from api.dashboard.frame import page
from api.dashboard.live import Snapshot
from api.dashboard.sections import Section, View
from api.dashboard.sections.failures import Failures
from api.dashboard.sections.genes import GenesSection
from api.dashboard.sections.lineage import Lineage
from api.dashboard.sections.overview import Overview
from api.dashboard.sections.population import Population
from api.dashboard.sections.settings import Settings
from api.dashboard.sections.workers import Workers
from api.dashboard.site import site
from evolve.formatting import algorithm_label, clean
from evolve.ledger.records import SearchRecord, SearchState

SECONDS = 1.0

_SECTIONS: tuple[type[Section], ...] = (Population, GenesSection, Lineage, Failures, Workers, Settings)
_BY_KEY = {kind.__name__.lower().removesuffix("section"): kind for kind in _SECTIONS}
_BY_TITLE = {kind.title: key for key, kind in _BY_KEY.items()}


@page("/searches/{search_id}", "Search")
async def search_page(principal: Principal, search_id: str, tab: str = "population") -> None:
    """One search: how it goes, its individuals, its genes, what it costs."""
    here = site()
    record = await here.run(service.search, here.ledger, search_id)
    ui.page_title(f"{clean(record.name)} · Evolve")
    await _Page(View(here, principal, record.id), tab if tab in _BY_KEY else "population").build(record)


class _Page:
    """The page while it is open."""

    def __init__(self, view: View, tab: str) -> None:
        self._view = view
        self._tab = tab
        self._snapshot: Snapshot | None = None
        self._fresh = self._stale = False
        self._overview = Overview(view)
        self._section: Section | None = None

    async def build(self, record: SearchRecord) -> None:
        """Lay out what is known at once; the rest follows when the browser has the page."""
        with block("nav", "ev-crumbs", aria_label="Where you are"):
            link("Searches", "/")
            text("span", "/", aria_hidden="true")
            text("span", record.name)
        self._head(record)
        self._problem = block()
        self._reason = block()
        with block(classes="ev-panel") as self._content:
            busy("Reading the search …")
        self._said = ""
        self._reason_said: tuple[str, str] = ("", "")
        self._show_state(record)
        self._follower = follow(SECONDS, self._refresh, self._problem)

    def _head(self, record: SearchRecord) -> None:
        with block(classes="ev-title-row"):
            with block():
                with block(classes="ev-meta"):
                    text("h1", record.name)
                    self._mark = text("span", "", "ev-mark")
                with block(classes="ev-meta"):
                    text("span", record.id, "mono")
                    text("span", what_of(record))
                    text("span", f"submitted {_moment(record.created_at)}")
                    if algorithm := algorithm_label(record.document):
                        text("span", f"searched by {algorithm}")
                    if record.priority:
                        text("span", f"priority {record.priority}")
            self._actions = Actions(self._view, record, self._refresh_now)
        self._spoken = text("p", "", "ev-hidden", role="status", aria_live="polite")

    async def _refresh_now(self) -> None:
        self._fresh = True
        await self._follower.now()

    async def _refresh(self) -> None:
        site, search_id = self._view.site, self._view.search_id
        fresh, self._fresh = self._fresh, False
        snapshot = await site.run(site.searches.snapshot, search_id, fresh=fresh)
        if snapshot is not self._snapshot:
            first = self._snapshot is None
            self._snapshot = snapshot
            if first:
                self._lay_out(snapshot)
        elif not self._stale and not snapshot.running:
            return  # nothing has changed, not even the time that trials take
        self._stale = True  # until every part shows it
        self._show_state(snapshot.record)
        await self._actions.refresh(snapshot.record)
        section = self._section
        shown = await self._overview.refresh(snapshot)
        shown &= section is None or await section.refresh(snapshot)
        if section is self._section and snapshot is self._snapshot:  # another part may have been chosen meanwhile
            self._stale = not shown

    def _lay_out(self, snapshot: Snapshot) -> None:
        self._content.clear()
        with self._content:
            self._overview.build(snapshot)
            titles = [kind.title for kind in _SECTIONS]
            self._tabs = Tabs("Parts of this search", titles, _BY_KEY[self._tab].title, self._choose)
        self._build_section(snapshot)

    def _build_section(self, snapshot: Snapshot) -> None:
        self._tabs.panel.clear()
        self._section = _BY_KEY[self._tab](self._view)
        with self._tabs.panel:
            self._section.build(snapshot)

    async def _choose(self, title: str) -> None:
        self._tab = _BY_TITLE[title]
        ui.navigate.history.replace(f"/searches/{self._view.search_id}?tab={self._tab}")
        if self._snapshot is not None:
            self._build_section(self._snapshot)
            self._stale = True
            await self._follower.now()

    def _show_state(self, record: SearchRecord) -> None:
        words = state_words(record)
        if words != self._said:
            self._said = words
            self._mark.text = words
            self._mark.classes(replace=f"ev-mark mark-{words}")
            self._spoken.text = f"The search is {words}"
        self._actions.show(record)
        reason = (record.state.value, record.reason)
        if reason != self._reason_said:
            self._reason_said = reason
            self._reason.clear()
            if record.reason:
                with self._reason:
                    banner(record.reason, "error" if record.state is SearchState.FAILED else "note")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
