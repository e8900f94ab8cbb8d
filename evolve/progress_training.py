"""How a training without a search looks while it runs: in place on a terminal, as lines in a log, or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import IO, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolve.fitness import DEFAULT_METRIC
from evolve.formatting import MISSING, duration, finite, metric_label, number
from evolve.trial import EpochReport

MEASURED = (
    ("P", "metrics/precision(B)"),
    ("R", "metrics/recall(B)"),
    ("mAP50", "metrics/mAP50(B)"),
    ("mAP50-95", DEFAULT_METRIC),
)
_LOSS = "train/"
_HEADER_EVERY = 25
_WIDTHS = {"epoch": 9, "mAP50-95": 10, "time": 12}
_WIDTH = 8
"""Of all other columns; with three losses, a row fits into 80."""


class TrainingProgress(Protocol):
    """Shows a training."""

    def begin(self, title: str, epochs: int | None) -> None:
        """Show that it starts."""
        ...

    def epoch(self, report: EpochReport) -> None:
        """Show an epoch."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


class TrainingState:
    """What is known of a training from its reports so far.

    Attributes:
        former: Epochs of an interrupted attempt that it may go on from.
        last: The newest epoch.
        best: Number and fitness of the best epoch.
        seconds: What the newest epoch took.
    """

    def __init__(self) -> None:
        self.former: Sequence[EpochReport] = ()
        self._first: EpochReport | None = None
        self.last: EpochReport | None = None
        self.best: tuple[int, float] | None = None
        self.seconds = 0.0

    def fold(self, report: EpochReport) -> None:
        """Take an epoch into account."""
        if self._first is None:
            self._first = report
            for each in self.former:
                if each.epoch < report.epoch:
                    self._compare(each)
        self.seconds = report.seconds - (self.last.seconds if self.last else 0.0)
        self._compare(report)
        self.last = report

    def _compare(self, report: EpochReport) -> None:
        value = report.metrics.get(DEFAULT_METRIC)
        # of equal epochs the later one: its weights are kept
        if value is not None and (self.best is None or value >= self.best[1]):
            self.best = (report.epoch, value)

    @property
    def eta(self) -> float | None:
        """Seconds to go; None before the first epoch.

        The first one also loaded data and warmed up, so it counts only while it is the only one.
        """
        if self._first is None or self.last is None:
            return None
        done = self.last.epoch - self._first.epoch
        spent = self.last.seconds - self._first.seconds if done else self.last.seconds
        return spent / max(done, 1) * (self.last.epochs - self.last.epoch)


def make_training_progress(
    state: TrainingState, *, as_json: bool, console: Console | None = None
) -> TrainingProgress:
    """The display for where the output goes; it keeps `state` up to date."""
    console = console or Console()
    if as_json:
        return JsonTraining(console.file, state)
    return LiveTraining(console, state) if console.is_terminal else PlainTraining(console, state)


class JsonTraining:
    """One JSON object for every epoch, a line each, written at once."""

    def __init__(self, stream: IO[str], state: TrainingState) -> None:
        self._stream = stream
        self._state = state

    def begin(self, title: str, epochs: int | None) -> None:
        """Write nothing: the first epoch says it all."""

    def epoch(self, report: EpochReport) -> None:
        """Write an epoch; numbers that JSON does not know (NaN, infinities) become null."""
        self._state.fold(report)
        best = self._state.best
        line = {
            "kind": "epoch_reported",
            "epoch": report.epoch,
            "epochs": report.epochs,
            "metrics": report.metrics,
            "seconds": report.seconds,
            "eta": self._state.eta,
            "best": None if best is None else {"epoch": best[0], DEFAULT_METRIC: best[1]},
        }
        self._stream.write(json.dumps(finite(line), allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""


class PlainTraining:
    """A line for every epoch."""

    def __init__(self, console: Console, state: TrainingState) -> None:
        self._console = console
        self._state = state

    def begin(self, title: str, epochs: int | None) -> None:
        """Print the title."""
        self._console.print(Text(title), soft_wrap=True)

    def epoch(self, report: EpochReport) -> None:
        """Print an epoch."""
        self._state.fold(report)
        figures = [f"{metric_label(name)} {number(report.metrics.get(name))}" for _, name in reversed(MEASURED)]
        figures += [f"{name} loss {value:.4g}" for name, value in _losses(report.metrics).items()]
        times = f"{duration(self._state.seconds)}, ETA {duration(self._state.eta)}"
        line = f"epoch {report.epoch}/{report.epochs}: {', '.join(figures)}, {_best(self._state)}, {times}"
        self._console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Do nothing: every line is already out."""


class LiveTraining:
    """A table that grows by a row each epoch, above a bar that is redrawn in place."""

    def __init__(self, console: Console, state: TrainingState) -> None:
        self._console = console
        self._state = state
        self._live = Live(self, console=console, refresh_per_second=4, transient=True)
        self._rows = 0
        self._epochs: int | None = None
        self._received = time.monotonic()
        self._began = time.monotonic()

    def begin(self, title: str, epochs: int | None) -> None:
        """Print the title and draw the bar."""
        self._console.print(Text(title), soft_wrap=True)
        self._epochs = epochs
        self._live.start()

    def epoch(self, report: EpochReport) -> None:
        """Print a row."""
        self._state.fold(report)
        self._epochs, self._received = report.epochs, time.monotonic()
        cells = {"epoch": f"{report.epoch}/{report.epochs}"}
        cells |= {name: f"{value:.4g}" for name, value in _losses(report.metrics).items()}
        cells |= {label: number(report.metrics.get(name)) for label, name in MEASURED}
        cells["time"] = duration(self._state.seconds)
        if self._rows % _HEADER_EVERY == 0:
            self._print({name: name for name in cells}, "dim")
        self._rows += 1
        is_best = self._state.best is not None and self._state.best[0] == report.epoch
        self._print(cells, "green" if is_best else "")

    def _print(self, cells: Mapping[str, str], style: str) -> None:
        line = "".join(f"{cell:>{_WIDTHS.get(name, _WIDTH)}}" for name, cell in cells.items())
        self._console.print(Text(line, style, no_wrap=True, overflow="ellipsis"))

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def __rich__(self) -> RenderableType:
        state, total = self._state, self._epochs
        done = 0 if state.last is None else state.last.epoch
        now = time.monotonic()
        left = None if state.eta is None else max(0.0, state.eta - (now - self._received))
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=total, completed=done, pulse=not total or not done, complete_style="green")
        what = "starting" if state.last is None else f"epoch {min(done + 1, total or done)}/{total}"
        times = f"{duration(now - self._began)}  ETA {MISSING if left is None else duration(left)}"
        grid.add_row(Text(what), bar, Text(times))
        return Group(grid, Text(_best(state), "dim", no_wrap=True, overflow="ellipsis"))


def _losses(metrics: Mapping[str, float]) -> dict[str, float]:
    """The losses of training, by the words that fit a column."""
    return {
        name.removeprefix(_LOSS).removesuffix("_loss"): value
        for name, value in metrics.items()
        if name.startswith(_LOSS)
    }


def _best(state: TrainingState) -> str:
    if state.best is None:
        return f"best {metric_label(DEFAULT_METRIC)} {MISSING}"
    return f"best {metric_label(DEFAULT_METRIC)} {number(state.best[1])} (epoch {state.best[0]})"
