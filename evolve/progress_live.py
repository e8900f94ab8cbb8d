"""The progress display of a terminal, redrawn in place."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolve.formatting import MISSING, clean, duration, gain_text, metric_label, number
from evolve.ledger.records import EventRecord, SearchRecord
from evolve.progress_state import ProgressState, RunningTrial
from evolve.progress_summary import failures_text, summary_lines

_WIDE = 100
_OTHER_LINES = 9


class LiveProgress:
    """Follows a search on a terminal; see `evolve.progress.make_progress`."""

    name = "progress"

    def __init__(
        self,
        total: int | None,
        metric: str,
        console: Console,
        *,
        tracking: str | None = None,
        since: float = 0.0,
        place: str | None = None,
    ) -> None:
        self._state = ProgressState(total, since)
        self._place = place
        self._metric = metric
        self._console = console
        self._tracking = tracking
        self._lock = threading.Lock()
        self._live: Live | None = None

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Take a batch of events into the display; the end of the search replaces it by a summary."""
        with self._lock:
            news = self._state.begin(search, events)
            for event in news:
                self._state.fold(event)
        if self._state.ends(news):
            self._stop()
            for line in summary_lines(search, self._metric, self._state, self._place):
                self._console.print(line)
        elif self._live is None and news and not self._state.finished:
            self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def close(self) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def __rich__(self) -> RenderableType:
        # Rich's refresh thread draws while the driver's thread folds events.
        with self._lock:
            return Group(*self._parts())

    def _parts(self) -> list[RenderableType]:
        state = self._state
        parts: list[RenderableType] = [self._headline(), self._overall(), self._best()]
        if state.running:
            parts.append(self._trials())
        elif not (state.paused or state.finished):
            parts.append(_line(("  the workers are starting", "dim")))
        for label, text, style in (
            ("paused", state.paused, "yellow"),
            ("failed", self._failures(), "red"),
            ("notice", state.notice, "yellow"),
        ):
            if text:
                parts.append(_line((f"{label}  ", style), clean(text)))
        parts.append(_line((self._where(), "dim")))
        return parts

    def _headline(self) -> Text:
        search = self._state.search
        if search is None:
            return Text()
        phase = f"generation {self._state.generation}" if self._state.finals is None else "finals"
        return _line((clean(search.name), "bold"), (f"  {search.id}  ", "dim"), phase)

    def _overall(self) -> Table:
        state = self._state
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        done, total, phase = state.evaluated, state.total, ""
        if state.finals is not None:
            done, total, phase = state.finals_done, state.finals, "finals "
        eta = MISSING if state.eta is None else duration(state.eta)
        figures = f"{phase}{done}/{MISSING if total is None else total}  {duration(state.elapsed)}  ETA {eta}"
        grid.add_row(_bar(done, total), Text(figures))
        return grid

    def _best(self) -> Text:
        state = self._state
        label = f"best {metric_label(self._metric)} "
        if state.best is None:
            return _line((label, "dim"), MISSING)
        individual, fitness = state.best
        gain = "the default configuration" if individual in state.defaults else f"individual {individual}"
        if individual not in state.defaults and state.default is not None:
            gain += f", {gain_text(fitness, state.default)} over the default"
        return _line((label, "dim"), (number(fitness), "bold green"), f"  {gain}")

    def _trials(self) -> Table:
        trials = sorted(self._state.running.values(), key=lambda trial: trial.individual)
        room = max(1, self._console.size.height - _OTHER_LINES)
        wide = self._console.width >= _WIDE
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        for _ in range(3):
            grid.add_column(no_wrap=True, justify="right")
        if wide:
            grid.add_column(no_wrap=True, max_width=24, overflow="ellipsis", style="dim")
        for trial in trials[:room]:
            cells = self._trial(trial)
            grid.add_row(*cells, *([Text(clean(trial.worker))] if wide else []))
        if len(trials) > room:
            grid.add_row(Text(f"  and {len(trials) - room} more", "dim"))
        return grid

    def _trial(self, trial: RunningTrial) -> list[RenderableType]:
        again = f" (attempt {trial.attempt})" if trial.attempt > 1 else ""
        epochs = f"epoch {trial.epoch}/{trial.epochs}" if trial.epochs else "starting"
        return [
            Text(f"  #{trial.individual}{again}"),
            _bar(trial.epoch, trial.epochs or None, "cyan"),
            Text(epochs),
            Text(number(trial.metrics.get(self._metric))),
            Text(duration(trial.elapsed)),
        ]

    def _failures(self) -> str:
        parts = [failures_text(self._state.failures)] if self._state.failures else []
        if self._state.retries:
            parts.append(f"{self._state.retries} retried")
        said = f"; the last one: {self._state.last_failure}" if self._state.last_failure else ""
        return ", ".join(parts) + said

    def _where(self) -> str:
        search = self._state.search
        if self._place:
            return f"look  {clean(self._place)}"
        places = [f"evolve show {search.id}"] if search is not None else []
        if self._tracking:
            places.append(f"MLflow: {clean(self._tracking)}")
        return "  ".join(["look", *places])


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _bar(done: int, total: int | None, style: str = "green") -> ProgressBar:
    return ProgressBar(
        total=total,
        completed=done,
        pulse=total is None,
        complete_style=style,
        finished_style=style,
        pulse_style=style,
    )
