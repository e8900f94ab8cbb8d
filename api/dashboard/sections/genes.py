"""What the genes had to do with it: importance, all side by side, and each over the generations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from api.dashboard.charts.base import Options
from api.dashboard.charts.genes import choice_names, distribution_figure, importance_figure, parallel_figure
from api.dashboard.components import Chart, block, button, empty, text
from api.dashboard.facts import genes_of, metric_of
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from evolve.importance import Genes, Importance, importance

FEW = 12
"""Genes shown at first, the most important ones; all of them at a click."""

_SECONDS = 4.0
_REMEMBERED = 900.0
_SHARED_SECONDS = 20.0
_AXIS_WIDTH = 92


class GenesSection(Section):
    """Importance, parallel coordinates, distributions."""

    title = "Genes"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""
        self._snapshot = snapshot
        self._genes: Genes = genes_of(snapshot.record)
        self._all = len(self._genes) <= FEW
        self._drawn_at, self._drawn, self._judged, self._judging = 0.0, -1, -1, -1
        self._asked: asyncio.Future[Importance] | None = None
        self._shares: Mapping[str, float] = {}
        with block("section", "ev-card"):
            with block(classes="ev-card-head"):
                text("h2", "Importance")
                self._explained = text("p", "", "ev-caption")
            self._unclear = empty("Being computed …")
            self._bars = Chart("How much of the fitness each gene explains by itself", classes="ev-bars")
            self._bars.set_visibility(False)
        with block("section", "ev-card"):
            with block(classes="ev-card-head"):
                text("h2", "All genes together")
                text(
                    "p",
                    "A line is an individual, the stronger the fitter; drag on an axis to select.",
                    "ev-caption",
                )
            with block(
                classes="ev-scroll", tabindex=0, role="region", aria_label="Parallel coordinates"
            ) as self._wide:
                self._parallel = Chart("All genes and the fitness side by side, a line for each individual")
        with block("section", "ev-card"):
            with block(classes="ev-card-head"):
                text("h2", "Genes over generations")
                text("p", "A dot is an individual, the stronger the fitter; the line is the median.", "ev-caption")
            self._grid = block(classes="ev-multiples")
            self._figures: dict[str, Chart] = {}
            self._more = button(f"Show all {len(self._genes)} genes", self._show_all, "plain")
            self._more.set_visibility(not self._all)

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search; figures that cost more are not drawn at every change."""
        self._snapshot = snapshot
        over, evaluated = snapshot.record.state.is_over, snapshot.record.evaluated
        if evaluated != self._drawn:
            if self._drawn >= 0 and time.monotonic() - self._drawn_at < _SECONDS and not over:
                return False
            await self._draw()
            self._drawn, self._drawn_at = evaluated, time.monotonic()
        before = list(self._chosen())
        judged = self._judge(snapshot)
        if list(self._chosen()) != before:  # the most important ones come first
            await self._draw()
        return judged

    def _judge(self, snapshot: Snapshot) -> bool:
        """Show how important the genes are, as soon as that is known; nothing else of the page waits for it."""
        if self._asked is None:
            scored = sum(each.fitness is not None for each in snapshot.individuals)
            worth = scored if snapshot.record.state.is_over else milestone(scored)
            if worth == self._judged:
                return True
            key = ("importance", self.view.search_id, worth)
            answer = self.view.site.shared_heavy(key, _REMEMBERED, importance, self._genes, snapshot.individuals)
            self._asked, self._judging = asyncio.ensure_future(answer), worth
        if not self._asked.done():
            return False
        asked, self._asked = self._asked, None
        self._show_importance(asked.result())
        self._judged = self._judging
        return False  # more may have been scored meanwhile

    def _show_importance(self, found: Importance) -> None:
        self._shares = found.shares
        self._unclear.set_visibility(bool(found.problem))
        self._bars.set_visibility(not found.problem)
        if found.problem:
            self._unclear.clear()
            with self._unclear:
                text("p", "Nothing can be said yet", "ev-empty-title")
                text("p", found.problem)
            self._explained.text = ""
            return
        shown = dict(list(found.shares.items())[:FEW])
        self._bars.style(f"--height: {34 + 25 * len(shown)}px")
        self._bars.show(importance_figure(shown), shape=",".join(shown))
        self._explained.text = (
            f"fANOVA over {found.individuals} individuals. The genes predict {found.explained:.0%} of what differs "
            "between individuals; a bar is what a gene does by itself."
        )

    def _chosen(self) -> Genes:
        ranked = [name for name in self._shares if name in self._genes]
        names = [*ranked, *(name for name in self._genes if name not in ranked)]
        return {name: self._genes[name] for name in (names if self._all else names[:FEW])}

    async def _draw(self) -> None:
        genes, snapshot = self._chosen(), self._snapshot
        key = ("genes", snapshot.record.id, snapshot.record.evaluated, tuple(genes))
        parallel, small = await self.view.site.shared(key, _SHARED_SECONDS, _figures, genes, snapshot)
        self._parallel.style(f"min-width: {_AXIS_WIDTH * (len(genes) + 1)}px")
        self._parallel.show(parallel, shape=",".join(genes))
        if list(self._figures) != list(genes):
            self._grid.clear()
            self._figures = {}
            with self._grid:
                for name in genes:
                    self._figures[name] = self._small(name)
        for name, figure in self._figures.items():
            figure.show(small[name], shape=name)

    def _small(self, name: str) -> Chart:
        with block():
            text("h3", name, "mono")
            choices = choice_names(self._genes[name])
            if choices:
                with block("p", "ev-keys"):
                    for index, choice in enumerate(choices):
                        with block("span"):
                            block("span", "ev-key", aria_hidden="true").style(
                                f"background: var(--series{index % 8 + 1})"
                            )
                            text("span", choice)
            return Chart(f"Values of {name} over the generations", href=self.view.individuals, classes="ev-gene")

    async def _show_all(self) -> None:
        self._all = True
        self._more.set_visibility(False)
        await self._draw()


def milestone(scored: int) -> int:
    """The number of scored individuals, rounded down so that a look at importance is worth what it costs.

    One more of it comes with every 4 individuals, and later with every twentieth part of them.
    """
    reached = 0
    while (following := reached + max(4, reached // 20)) <= scored:
        reached = following
    return reached


def _figures(genes: Genes, snapshot: Snapshot) -> tuple[Options, dict[str, Options]]:
    """All genes together, and each over the generations."""
    individuals, best = snapshot.individuals, snapshot.record.best_individual
    parallel = parallel_figure(genes, individuals, metric_of(snapshot.record))
    return parallel, {name: distribution_figure(name, gene, individuals, best=best) for name, gene in genes.items()}
