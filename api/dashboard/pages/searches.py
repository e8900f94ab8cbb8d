"""The first page: all searches, how far they are, and what they found."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from api.auth import Principal
from api.dashboard.components import DataTable, block, busy, button, empty, link
from api.dashboard.components.pager import Pager
from api.dashboard.components.table import cell, column, row
from api.dashboard.components.text import text as written
from api.dashboard.components.tiles import Tiles
from api.dashboard.facts import (
    cost_of,
    metric_of,
    progress_of,
    remaining_of,
    state_words,
    total_of,
)
from api.dashboard.following import follow
from api.dashboard.frame import page
from api.dashboard.site import Site, site
from evolve.formatting import algorithm_label, clean, duration, gain, gain_text, number
from evolve.ledger.pages import SEARCH_ORDERS
from evolve.ledger.records import SearchRecord, SearchState

PAGE = 25
SECONDS = 1.5
MOST_COMPARED = 8
_MOST_TEXT = 100

FILTERS: dict[str, tuple[SearchState, ...] | None] = {
    "all": None,
    "unfinished": (SearchState.CREATED, SearchState.RUNNING, SearchState.PAUSED, SearchState.INTERRUPTED),
    **{state.value: (state,) for state in SearchState},
}

_COLUMNS = (
    column("Search", "name", wide=True),
    column("State", "state"),
    column("Progress", "evaluated"),
    column("To go", end=True, note="At the pace so far; a stop rule may end it earlier"),
    column("Best", "best", end=True),
    column("Gain over default", end=True),
    column("Cost", "gpu_seconds", end=True),
    column("Age", "created", end=True),
)


@dataclass(frozen=True)
class Wish:
    """What the list is to show."""

    text: str = ""
    state: str = "all"
    order: str = "-created"
    page: int = 0

    @property
    def address(self) -> str:
        """The page's address with this wish in it."""
        usual = Wish()
        entries = {"text": self.text, "state": self.state, "order": self.order, "page": self.page}
        changed = {key: value for key, value in entries.items() if value != getattr(usual, key)}
        return f"/?{urlencode(changed)}" if changed else "/"


@page("/", "Searches")
async def searches_page(
    principal: Principal,
    text: str = "",
    state: str = "all",
    order: str = "-created",
    page: int = 0,
) -> None:
    """The list, with what was filtered and sorted in the address."""
    known = order.removeprefix("-") in SEARCH_ORDERS
    wish = Wish(
        text[:_MOST_TEXT],
        state if state in FILTERS else "all",
        order if known else "-created",
        max(0, min(page, 10**6)),
    )
    await _List(site(), principal, wish).build()


class _List:
    """The page while it is open."""

    def __init__(self, here: Site, principal: Principal, wish: Wish) -> None:
        self._here = here
        self._principal = principal
        self._wish = wish
        self._chosen: list[str] = []
        self._empty: bool | None = None

    async def build(self) -> None:
        """Lay out the page, which fills itself once the browser has it."""
        with block(classes="ev-title-row"):
            written("h1", "Searches")
            with block(classes="ev-actions"):
                self._compare = button("Compare", self._open_comparison, title="Tick two searches or more first")
                self._compare.disable()
                if self._principal.may("submit"):
                    link("Submit a search", "/submit", "ev-button ev-strong ev-button-link")
        self._tiles = Tiles("The pool")
        self._filters()
        self._problem = block()
        with block("section", aria_label="All searches") as self._place:
            self._waiting = busy("Reading the searches …")
        self._table: DataTable | None = None
        self._follower = follow(SECONDS, self._refresh, self._problem)

    def _filters(self) -> None:
        with block(classes="ev-filters", role="search"):
            sought = ui.input("Search by name or id", value=self._wish.text).props(
                "outlined dense clearable debounce=250"
            )
            sought.classes("ev-grow")
            sought.on_value_change(lambda event: self._change(text=str(event.value or "")[:_MOST_TEXT], page=0))
            names = {key: "All states" if key == "all" else key for key in FILTERS}
            states = ui.select(names, value=self._wish.state, label="State").props("outlined dense options-dense")
            states.classes("ev-choice-field")
            states.on_value_change(lambda event: self._change(state=str(event.value), page=0))

    async def _change(self, **wish: Any) -> None:
        self._wish = replace(self._wish, **wish)
        ui.navigate.history.replace(self._wish.address)
        await self._follower.now()

    async def _refresh(self) -> None:
        wish = self._wish
        found, amount = await self._here.shared(("searches", wish), SECONDS / 2, self._read, wish)
        pool = await self._here.shared("pool", 1.0, self._here.supervisor.snapshot)
        counts = await self._here.shared("states", 1.0, self._here.ledger.state_counts)
        if wish != self._wish:
            return  # somebody typed on meanwhile; the next answer counts
        self._tiles.show(
            [
                ("Workers in use", f"{pool.used} of {pool.slots}", _gpus(pool.gpus)),
                ("Running", str(counts.get("running", 0)), f"{len(pool.drivers)} driven now"),
                ("Queued", str(pool.queued), "waiting for workers"),
                ("Completed", str(counts.get("completed", 0)), f"{counts.get('failed', 0)} failed"),
            ]
        )
        if not sum(counts.values()):
            self._show_empty()
            return
        self._show_table(found, amount)

    def _read(self, wish: Wish) -> tuple[list[SearchRecord], int]:
        return self._here.ledger.search_page(
            states=FILTERS[wish.state],
            text=wish.text.strip() or None,
            order=wish.order,
            limit=PAGE,
            offset=wish.page * PAGE,
        )

    def _show_empty(self) -> None:
        if self._empty:
            return
        self._empty, self._table = True, None
        self._place.clear()
        with self._place:
            advice = (
                "It appears here as soon as it is submitted, from this page, with `evolve submit`, or over the API."
            )
            with empty("No search yet", advice):
                if self._principal.may("submit"):
                    link("Submit the first one", "/submit", "ev-button ev-strong ev-button-link")

    def _show_table(self, found: list[SearchRecord], amount: int) -> None:
        if self._table is None:
            self._empty = False
            self._place.clear()
            with self._place:
                self._table = DataTable(
                    "All searches",
                    _COLUMNS,
                    sort=self._wish.order,
                    on_sort=lambda order: self._change(order=order, page=0),
                    on_choose=self._choose,
                    stacked=True,
                )
                self._nothing = empty("No search matches", "Change the filters above to see others.")
                self._pager = Pager("searches", PAGE, lambda number: self._change(page=number))
        now = time.time()
        self._table.show([self._row(each, now) for each in found])
        self._table.set_visibility(bool(found))
        self._nothing.set_visibility(not found)
        self._pager.show(self._wish.page, amount)

    def _row(self, search: SearchRecord, now: float) -> dict[str, Any]:
        total, progress = total_of(search), progress_of(search)
        improvement = gain(search.best_fitness, search.default_fitness)
        # finals come after all others
        done = f"{search.evaluated}" if total is None else f"{min(search.evaluated, total)}/{total}"
        words = state_words(search)
        best: dict[str, Any] = cell(number(search.best_fitness), note=metric_of(search))
        if search.best_individual is not None:
            best |= {"href": f"/searches/{search.id}/individuals/{search.best_individual}"}
        return row(
            search.id,
            [
                cell(
                    search.name,
                    f"/searches/{search.id}",
                    under=" ".join((search.id, algorithm_label(search.document))),
                ),
                cell(words, mark=words, note=clean(search.reason)),
                cell(done, bar=progress or 0.0, tone="bad" if search.state is SearchState.FAILED else "plain"),
                cell(duration(remaining_of(search))),
                best,
                cell(
                    gain_text(search.best_fitness, search.default_fitness),
                    tone="good" if improvement is not None and improvement > 0 else "muted",
                ),
                cell(cost_of(search)),
                cell(age(now - search.created_at)),
            ],
            chosen=search.id in self._chosen,
        )

    def _choose(self, search_id: str, chosen: bool) -> None:
        self._chosen = [each for each in self._chosen if each != search_id]
        if chosen:
            self._chosen = [*self._chosen, search_id][-MOST_COMPARED:]
        amount = len(self._chosen)
        self._compare.set_text(f"Compare {amount}" if amount else "Compare")
        self._compare.set_enabled(amount > 1)

    def _open_comparison(self) -> None:
        ui.navigate.to(f"/compare?{urlencode({'ids': ','.join(self._chosen)})}")


def age(seconds: float) -> str:
    """The largest unit of a time span."""
    if seconds < 0:
        return "0 s"
    return " ".join(duration(seconds).split()[:2])


def _gpus(amount: float) -> str:
    return f"{amount:g} GPUs" if amount else "no GPU"
