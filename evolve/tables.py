"""Tables for the terminal: the list of searches, and one search at a glance."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evolve.formatting import (
    MISSING,
    clean,
    compact,
    count,
    duration,
    gain_text,
    metric_label,
    number,
    verdict,
)
from evolve.ledger.records import IndividualRecord, SearchRecord, SearchState
from evolve.overview import failure_counts, generations, top
from evolve.progress_summary import failures_text, next_commands

STATE_STYLES = {
    SearchState.CREATED: "dim",
    SearchState.RUNNING: "cyan",
    SearchState.PAUSED: "yellow",
    SearchState.INTERRUPTED: "yellow",
    SearchState.COMPLETED: "green",
    SearchState.FAILED: "red",
    SearchState.CANCELLED: "dim",
}
_MOST_GENERATIONS = 20
_MOST_GENES = 6


def searches_table(searches: Sequence[SearchRecord], now: float | None = None) -> Table:
    """`evolve list`: a row for each search, in the order given.

    Args:
        searches: The searches.
        now: Seconds since the epoch on the ledger's clock; this machine's by default.
    """
    now = time.time() if now is None else now
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("ID", "NAME", "STATE"):
        table.add_column(heading, no_wrap=heading == "ID", overflow="ellipsis", max_width=32)
    for heading in ("DONE", "BEST", "GAIN", "AGE"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("DRIVER", no_wrap=True)
    for search in searches:
        table.add_row(
            Text(search.id),
            Text(clean(search.name)),
            Text(search.state.value, STATE_STYLES[search.state]),
            _done(search),
            number(search.best_fitness),
            gain_text(search.best_fitness, search.default_fitness),
            duration(now - search.created_at),
            _driver(search, now),
        )
    return table


def search_view(
    search: SearchRecord,
    individuals: Sequence[IndividualRecord],
    *,
    metric: str,
    best: int = 10,
    now: float | None = None,
) -> RenderableType:
    """`evolve show`: what there is to know about one search on one screen.

    Args:
        search: The search.
        individuals: All its individuals.
        metric: Name of the fitness.
        best: How many of the fittest to list.
        now: Seconds since the epoch on the ledger's clock; this machine's by default.
    """
    now = time.time() if now is None else now
    parts: list[RenderableType] = [_summary(search, individuals, metric, now)]
    if any(each.told is not None for each in individuals):
        parts += [Text("\nGenerations", "bold"), _generations_table(individuals)]
    leaders = top(individuals, best)
    if leaders:
        parts += [Text(f"\nBest by {metric_label(metric)}", "bold"), _leaders_table(leaders, search)]
    return Group(*parts)


def _summary(
    search: SearchRecord, individuals: Sequence[IndividualRecord], metric: str, now: float
) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    state = Text(search.state.value, STATE_STYLES[search.state])
    if search.reason:
        state.append(f": {clean(search.reason)}", "default")
    found = verdict(search)
    if search.best_individual is not None:
        fitness = f"{metric_label(metric)} {number(search.best_fitness)}"
        found = f"individual {search.best_individual}, {fitness}; {found}"
    span = (search.finished_at or now) - search.started_at if search.started_at else None
    cost = f"{count(search.trained, 'training')} in {duration(span)}"
    if search.gpu_seconds:
        cost += f", {duration(search.gpu_seconds)} of GPU"
    rows: list[tuple[str, RenderableType]] = [
        ("search", Text.assemble((clean(search.name), "bold"), f" ({search.id})")),
        ("state", state),
        ("driver", _driver(search, now)),
        ("evaluated", _done(search)),
        ("best", Text(found)),
        ("cost", Text(cost)),
    ]
    failures = failure_counts(individuals)
    if failures:
        rows.append(("failed", Text(failures_text(failures))))
    rows.append(("files", Text(clean(search.directory) or MISSING)))
    rows.append(("next", Text("  ".join(next_commands(search)))))
    for label, value in rows:
        grid.add_row(label, value)
    return grid


def _generations_table(individuals: Sequence[IndividualRecord]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("GEN", "DONE", "FAILED", "BEST", "MEAN", "SPREAD", "BEST SO FAR"):
        table.add_column(heading, justify="right", no_wrap=True)
    summaries = generations(individuals)
    hidden = len(summaries) - _MOST_GENERATIONS
    for row in summaries[-_MOST_GENERATIONS:]:
        size = row.evaluated + row.failed + row.open
        figures = [number(value) for value in (row.best, row.mean, row.std, row.best_so_far)]
        table.add_row(str(row.generation), f"{size - row.open}/{size}", str(row.failed), *figures)
    return Group(Text(f"{hidden} earlier ones are not shown", "dim"), table) if hidden > 0 else table


def _leaders_table(leaders: Sequence[IndividualRecord], search: SearchRecord) -> Table:
    genes = list(dict.fromkeys(name for each in leaders for name in each.params))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("FITNESS", justify="right", no_wrap=True)
    table.add_column("GAIN", justify="right", no_wrap=True)
    for name in genes[:_MOST_GENES]:
        table.add_column(Text(clean(name)), justify="right", no_wrap=True, overflow="ellipsis", max_width=14)
    if len(genes) > _MOST_GENES:
        table.add_column(f"+{len(genes) - _MOST_GENES} genes")
    for each in leaders:
        values = [Text(compact(each.params.get(name, MISSING))) for name in genes[:_MOST_GENES]]
        gain = gain_text(each.fitness, search.default_fitness)
        table.add_row(str(each.number), number(each.fitness), gain, *values)
    return table


def _done(search: SearchRecord) -> str:
    settings = search.document.get("search")
    if not isinstance(settings, dict):
        return str(search.evaluated)
    population, amount = settings.get("population"), settings.get("generations")
    if not isinstance(population, int) or not isinstance(amount, int):
        return str(search.evaluated)
    return f"{search.evaluated}/{population * amount}"


def _driver(search: SearchRecord, now: float) -> Text:
    if search.owner is None:
        return Text(MISSING, "dim")
    host, *rest = search.owner.split(":")
    place = clean(f"{host}:{rest[0]}" if rest else host)
    if search.lease_expires is not None and search.lease_expires > now:
        return Text(f"alive ({place})", "green")
    return Text(f"dead ({place})", "red")
