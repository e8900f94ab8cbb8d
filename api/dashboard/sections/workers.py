"""Who trained, how busy they were, and what it cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.dashboard.charts.base import Options
from api.dashboard.charts.workers import WorkerUse, worker_figure, worker_use
from api.dashboard.components import Chart, DataTable, block, empty, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.components.tiles import Tiles
from api.dashboard.facts import HOUR
from api.dashboard.live import Snapshot
from api.dashboard.sections.base import Section
from api.supervisor.status import PoolStatus
from evolve.formatting import MISSING, duration, number
from evolve.ledger.records import SearchRecord
from evolve.ledger.times import TrialTimes
from evolve.overview import generations

if TYPE_CHECKING:
    from evolve.ledger import Ledger

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

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search."""
        if time.monotonic() - self._read_at < _SECONDS:
            return False
        site = self.view.site
        key = ("workers", self.view.search_id, snapshot.version)
        account = await site.shared(key, 1.0, _account, site.ledger, snapshot, self.view.individuals)
        pool = await site.shared("pool", 1.0, site.supervisor.snapshot)
        self._show_tiles(snapshot.record, pool)
        self._nothing.set_visibility(not account.use)
        self._content.set_visibility(bool(account.use))
        if account.use:
            workers = len(account.use)
            self._chart.style(f"--height: {70 + 30 * workers}px")
            self._chart.show(account.figure, shape=f"{workers} workers")
            self._use.show([_use_row(each) for each in account.use])
            self._cost.show(account.costs)
        self._read_at = time.monotonic()
        return True

    def _show_tiles(self, record: SearchRecord, pool: PoolStatus) -> None:
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


@dataclass(frozen=True)
class _Account:
    """What the workers of a search did so far."""

    use: Sequence[WorkerUse]
    figure: Options
    costs: list[dict[str, Any]]


def _account(ledger: Ledger, snapshot: Snapshot, href: str) -> _Account:
    """Reads and sums up; takes a while for a long search."""
    times, now = ledger.trial_times(snapshot.record.id), time.time()
    return _Account(worker_use(times, now), worker_figure(times, now, href), cost_rows(times, snapshot))


def _use_row(use: WorkerUse) -> dict[str, Any]:
    cells = [
        cell(use.worker, mono=True, under=f"{use.failed} failed" if use.failed else ""),
        cell(f"{use.share:.0%}", bar=use.share, note=duration(use.busy)),
        cell(str(use.trials)),
        cell(f"{use.gpu_seconds / HOUR:.2f}"),
    ]
    return row(use.worker, cells)


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
