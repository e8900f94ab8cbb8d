"""The progress display of a log: one line for everything notable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from evolve.formatting import clean, count, duration, failure_label, gain_text, metric_label, number
from evolve.ledger.records import EventKind, EventRecord, SearchRecord
from evolve.progress_state import ProgressState
from evolve.progress_summary import summary_lines


class PlainProgress:
    """Follows a search line by line; see `evolve.progress.make_progress`."""

    name = "progress"

    def __init__(
        self, total: int | None, metric: str, console: Console, since: float = 0.0, place: str | None = None
    ) -> None:
        self._state = ProgressState(total, since)
        self._place = place
        self._metric = metric_label(metric)
        self._console = console
        self._lines: dict[EventKind, Callable[[EventRecord], str]] = {
            EventKind.SEARCH_STARTED: self._started,
            EventKind.SEARCH_PAUSED: lambda event: f"paused: {_text(event, 'reason')}",
            EventKind.SEARCH_UNPAUSED: lambda event: f"goes on: {_text(event, 'reason')}",
            EventKind.TRIAL_FAILED: _failed,
            EventKind.INDIVIDUAL_EVALUATED: self._evaluated,
            EventKind.NEW_BEST: self._new_best,
            EventKind.GENERATION_FINISHED: _generation,
            EventKind.FINALS_STARTED: _finals,
            EventKind.NOTICE: lambda event: f"notice: {_text(event, 'message')}",
        }

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Print the lines of a batch; the summary after the last."""
        news = self._state.begin(search, events)
        for event in news:
            self._state.fold(event)
            describe = self._lines.get(event.kind)
            line = describe(event) if describe is not None and self._state.is_news(event) else ""
            if line:
                self._print(Text(line))
        if self._state.ends(news):
            for text in summary_lines(search, self._metric, self._state, self._place):
                self._print(text)

    def close(self) -> None:
        """Do nothing: every line is already out."""

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)

    def _started(self, event: EventRecord) -> str:
        state = self._state
        name = f"{clean(state.search.name)} ({event.search_id})" if state.search else event.search_id
        verb = "resumed" if event.data.get("resumed") else "started"
        total = "until a stop rule holds" if state.total is None else count(state.total, "individual")
        done = f", {state.evaluated} already evaluated" if state.evaluated else ""
        return f"{name} {verb}: {total}{done}"

    def _evaluated(self, event: EventRecord) -> str:
        state, data = self._state, event.data
        done = f"{state.evaluated}" + ("" if state.total is None else f"/{state.total}")
        if state.finals is not None:
            done = f"finals {state.finals_done}/{state.finals}"
        eta = "" if state.eta is None else f", ETA {duration(state.eta)}"
        fitness = data.get("fitness")
        if isinstance(fitness, int | float):
            outcome = f"{self._metric} {number(fitness)}"
        elif data.get("failure"):
            outcome = f"failed ({failure_label(str(data['failure']))})"
        else:
            outcome = _text(event, "state")
        if data.get("reused_from") is not None:
            outcome += f", same training as individual {data['reused_from']}"
        best = "" if state.best is None else f", best {number(state.best[1])} (individual {state.best[0]})"
        return f"[{done}{eta}] individual {event.individual}: {outcome}{best}"

    def _new_best(self, event: EventRecord) -> str:
        fitness, default = event.data.get("fitness"), self._state.default
        if not isinstance(fitness, int | float) or event.individual in self._state.defaults:
            return ""
        gain = "" if default is None else f", {gain_text(fitness, default)} over the default"
        return f"new best: individual {event.individual}, {self._metric} {number(fitness)}{gain}"


def _text(event: EventRecord, key: str) -> str:
    return clean(str(event.data.get(key, "")))


def _failed(event: EventRecord) -> str:
    what = f"{failure_label(_text(event, 'kind'))}: {_text(event, 'message')}"
    again = ", tries again" if event.data.get("retry") else ""
    return f"individual {event.individual}: attempt {event.data.get('attempt')} failed{again}: {what}"


def _finals(event: EventRecord) -> str:
    trainings = event.data.get("trainings")
    amount = count(trainings, "training") if isinstance(trainings, int) else "some trainings"
    return f"the search is over ({_text(event, 'reason')}); its finals: {amount}"


def _generation(event: EventRecord) -> str:
    known = [(key, event.data.get(key)) for key in ("best", "mean", "diversity")]
    text = ", ".join(f"{key} {number(value)}" for key, value in known if isinstance(value, int | float))
    return f"generation {event.data.get('generation')} is complete" + (f": {text}" if text else "")
