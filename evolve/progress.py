"""How a search looks while it runs: in place on a terminal, as lines in a log, or as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Literal, Protocol, TypeAlias

from rich.console import Console

from evolve.formatting import finite
from evolve.ledger.records import EventRecord, SearchRecord
from evolve.progress_live import LiveProgress
from evolve.progress_plain import PlainProgress

ProgressMode: TypeAlias = Literal["live", "plain", "json"]


class Progress(Protocol):
    """The part of an observer (see `evolve.observers`) that a progress display plays."""

    name: str

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Show a batch of events."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


def make_progress(
    mode: ProgressMode,
    total: int | None,
    metric: str,
    console: Console | None = None,
    *,
    tracking: str | None = None,
    since: float = 0.0,
    place: str | None = None,
) -> Progress:
    """The display for `mode`; `live` falls back to `plain` where the console is not a terminal.

    Args:
        mode: `live` redraws in place, `plain` prints what is notable, `json` an object for every event.
        total: Individuals that the search will evaluate, or None where only a stop rule ends it.
        metric: Name of the fitness, as the epoch reports have it.
        console: Where to write; standard output by default.
        tracking: Where MLflow shows the search: an address, or the command that opens it.
        since: Events before this time (seconds since the epoch) are counted but not shown: the past of a
            search that is resumed.
        place: Where the search can be looked at, for one that the commands on the local ledger do not know.
    """
    console = console or Console()
    if mode == "json":
        return JsonProgress(console.file, since)
    if mode == "live" and console.is_terminal:
        return LiveProgress(total, metric, console, tracking=tracking, since=since, place=place)
    return PlainProgress(total, metric, console, since, place)


class JsonProgress:
    """One JSON object for every event, a line each, written at once."""

    name = "progress"

    def __init__(self, stream: IO[str], since: float = 0.0) -> None:
        self._stream = stream
        self._since = since
        self._sequence = 0

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        """Write a batch; numbers that JSON does not know (NaN, infinities) become null."""
        for event in events:
            if event.sequence <= self._sequence or event.at < self._since:
                continue
            self._sequence = event.sequence
            line = {
                "search": event.search_id,
                "sequence": event.sequence,
                "kind": event.kind.value,
                "at": event.at,
                "individual": event.individual,
                "data": finite(event.data),
            }
            self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""
