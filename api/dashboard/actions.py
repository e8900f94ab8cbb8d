"""What can be done with a search: pause it, go on, end it, forget it, take its results away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from api import service, views
from api.auth import Principal
from api.dashboard.components import block, button, confirmed, link
from api.dashboard.facts import can_pause, can_resume, owns
from api.dashboard.following import attempt
from api.dashboard.frame import require
from api.dashboard.sections.base import View
from evolve.exceptions import NotFound
from evolve.ledger import Ledger
from evolve.ledger.records import SearchRecord
from evolve.searches import is_driven

Change = Callable[[Ledger, str, Principal], SearchRecord]


class Actions:
    """Buttons and links for one search; what its state or the reader's key does not allow is not there.

    Args:
        view: Who looks at which search.
        record: The search as it stands.
        on_change: Called when something was asked of the search.
    """

    def __init__(self, view: View, record: SearchRecord, on_change: Callable[[], Awaitable[None]]) -> None:
        self._view = view
        self._on_change = on_change
        self._own = owns(view.principal, record)
        with block(classes="ev-actions", role="group", aria_label="What to do with this search"):
            self._yaml = link("Best YAML", self._download("best.yaml"), "ev-button ev-button-link", download="")
            self._weights = link("Weights", self._download("weights"), "ev-button ev-button-link", download="")
            self._weights.set_visibility(False)
            link("Report", self._download("report"), "ev-button ev-button-link", new_tab=True)
            if view.site.mlflow_pages:
                link("MLflow", self._download("mlflow"), "ev-button ev-button-link", new_tab=True)
            if self._own:
                self._pause = button("Pause", self._ask_to_pause)
                self._resume = button("Resume", partial(self._do, service.resume, "The search goes on"), "strong")
                self._cancel = button("Cancel", self._ask_to_cancel, "danger")
                self._delete = button("Delete", self._ask_to_delete, "danger")
        self._shown: tuple[bool, ...] = ()
        self._best: int | None = None

    async def refresh(self, record: SearchRecord) -> None:
        """Offer what the state of the search allows, and what it has left."""
        self.show(record)
        if record.best_individual is not None and record.best_individual != self._best:
            self._weights.set_visibility(await self._view.site.run(_has_weights, self._view.site.ledger, record.id))
            self._best = record.best_individual

    def show(self, record: SearchRecord) -> None:
        """Offer what the state of the search allows."""
        over = record.state.is_over
        shown = (
            record.best_individual is not None,
            can_pause(record),
            can_resume(record),
            not over,
            not is_driven(record),
        )
        if shown == self._shown:
            return
        self._shown = shown
        best, pausable, resumable, cancellable, deletable = shown
        self._yaml.set_visibility(best)
        if self._own:
            self._pause.set_visibility(pausable)
            self._resume.set_visibility(resumable)
            self._cancel.set_visibility(cancellable)
            self._delete.set_visibility(deletable and over)

    def _download(self, what: str) -> str:
        return f"/searches/{self._view.search_id}/{what}"

    async def _ask_to_pause(self) -> None:
        consequence = "Trials that run go on to their end; nothing new starts until somebody resumes it."
        if await confirmed("Pause this search?", consequence, "Pause"):
            await self._do(service.pause, "The search pauses")

    async def _ask_to_cancel(self) -> None:
        consequence = "Its running trials are stopped, and it ends for good. What was found so far is kept."
        if await confirmed("Cancel this search?", consequence, "Cancel the search", danger=True):
            await self._do(service.cancel, "The search is being cancelled")

    async def _ask_to_delete(self) -> None:
        consequence = "Its record, its files and its weights are removed for good. MLflow keeps its runs."
        if await confirmed("Delete this search?", consequence, "Delete for good", danger=True):
            await attempt(self._forget)

    async def _do(self, change: Change, said: str) -> None:
        async def act() -> str:
            principal = await require("submit")
            site = self._view.site
            await site.run(change, site.ledger, self._view.search_id, principal)
            site.supervisor.poke()
            return said

        if await attempt(act):
            await self._on_change()

    async def _forget(self) -> str:
        principal = await require("submit")
        site = self._view.site
        await site.run(service.delete, site.ledger, self._view.search_id, principal)
        ui.navigate.to("/")
        return ""


def _has_weights(ledger: Ledger, search_id: str) -> bool:
    try:
        views.best_weights(ledger, search_id)
    except NotFound:  # what else goes wrong says nothing of the weights
        return False
    return True
