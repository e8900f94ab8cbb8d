"""Who trained, how busy they were, and what it cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from api.dashboard.charts.workers import worker_figure, worker_use
from api.dashboard.components import Chart, DataTable, block, empty, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.components.tiles import Tiles
from api.dashboard.facts import HOUR
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from evolve.formatting import MISSING, duration, number
from evolve.ledger.times import TrialTimes
from evolve.overview import generations

_SECONDS = 3.0
_COST = (
    column("Gen.", end=True),
    column("Trials", end=True),
    column("Training", end=True),
    column("GPU-hours", end=True),
    column("So far", end=True),
    column("Best so far", end=True),
)


class Workers(Section):
    """Workers, GPU use and costs."""

    title = "Workers and cost"

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""
        self._read_at = 0.0
        self._tiles = Tiles("Workers and cost")
        self._nothing = empty("No trial has started yet")
        with block(classes="ev-panel") as self._content:
            with block("section", "ev-card"):
                with block(classes="ev-card-head"):
                    text("h2", "Trials by worker")
                    text("p", "A bar is a trial; click it for its individual.", "ev-caption")
                self._chart = Chart("Which worker trained which individual when", classes="ev-bars")
            with block(classes="ev-split"):
                with block("section", "ev-card"):
                    text("h2", "Use")
                    columns = (
                        column("Worker"),
                        column("Busy"),
                        column("Trials", end=True),
                        column("GPU-hours", end=True),
                    )
                    self._use = DataTable("Use of workers", columns)
                with block("section", "ev-card ev-limited"):
                    text("h2", "Cost by generation")
                    self._cost = DataTable("Cost by generation", _COST)

    async def refresh(self, snapshot: Snapshot) -> None:
        """Show a newer state of the search."""
        now = time.monotonic()
        if now - self._read_at < _SECONDS:
            return
        self._read_at = now
        site = self.view.site
        key = ("times", self.view.search_id)
        times = await site.shared(key, 1.0, site.ledger.trial_times, self.view.search_id)
        pool = await site.shared("pool", 1.0, site.supervisor.snapshot)
        use = worker_use(times, time.time())
        self._nothing.set_visibility(not use)
        self._content.set_visibility(bool(use))
        record = snapshot.record
        mine = next((each.workers for each in pool.drivers if each.search_id == record.id), None)
        each_trial = record.gpu_seconds / record.trained if record.trained else None
        self._tiles.show(
            [
                ("GPU-hours", f"{record.gpu_seconds / HOUR:.2f}", f"{duration(record.trial_seconds)} of training"),
                ("A trial takes", _mean(record.trial_seconds, record.trained), f"{duration(each_trial)} of GPU"),
                ("Workers", MISSING if mine is None else str(mine), f"pool: {pool.used} of {pool.slots} in use"),
                ("GPUs of the pool", f"{pool.gpus:g}", f"priority {record.priority}"),
            ]
        )
        if use:
            self._draw(times, snapshot)
            self._use.show(
                [
                    row(
                        each.worker,
                        [
                            cell(each.worker, mono=True, under=f"{each.failed} failed" if each.failed else ""),
                            cell(f"{each.share:.0%}", bar=each.share, note=duration(each.busy)),
                            cell(str(each.trials)),
                            cell(f"{each.gpu_seconds / HOUR:.2f}"),
                        ],
                    )
                    for each in use
                ]
            )
            self._cost.show(cost_rows(times, snapshot))

    def _draw(self, times: Sequence[TrialTimes], snapshot: Snapshot) -> None:
        workers = len({each.worker for each in times if each.worker})
        self._chart.style(f"--height: {70 + 30 * workers}px")
        self._chart.show(worker_figure(times, time.time(), self.view.individuals), shape=f"{workers} workers")


def cost_rows(times: Sequence[TrialTimes], snapshot: Snapshot) -> list[dict[str, Any]]:
    """A row for each generation, the newest first."""
    generation_of = {each.number: each.generation for each in snapshot.individuals}
    trials: defaultdict[int, int] = defaultdict(int)
    seconds: defaultdict[int, float] = defaultdict(float)
    gpu: defaultdict[int, float] = defaultdict(float)
    for each in times:
        generation = generation_of.get(each.individual, 0)
        trials[generation] += 1
        seconds[generation] += each.seconds
        gpu[generation] += each.gpu_seconds
    rows, total = [], 0.0
    for summary in generations(snapshot.individuals):
        at = summary.generation
        total += gpu[at]
        cells = (
            str(at),
            str(trials[at]),
            duration(seconds[at]),
            f"{gpu[at] / HOUR:.2f}",
            f"{total / HOUR:.2f}",
            number(summary.best_so_far),
        )
        rows.append(row(at, cells))
    return rows[::-1]


def _mean(seconds: float, amount: int) -> str:
    return duration(seconds / amount) if amount else duration(None)
