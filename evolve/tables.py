"""Tables for the terminal: the list of searches, and one search at a glance."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evolve.descent import descent, descent_notes
from evolve.finals_table import contest, contest_table
from evolve.formatting import (
    MISSING,
    algorithm_label,
    algorithm_of,
    best_label,
    clean,
    count,
    duration,
    gain,
    metric_label,
    number,
    verdict,
)
from evolve.importance import FEWEST, Importance
from evolve.leaders import leader_columns
from evolve.ledger.records import IndividualRecord, SearchRecord, SearchState
from evolve.objectives import Objectives
from evolve.overview import costs, default_fitness, failure_counts, generations, top
from evolve.pareto import front
from evolve.progress_summary import failures_text, next_commands
from evolve.rung_agreement import agreement_in
from evolve.rung_table import rung_table
from evolve.tables_members import Members
from evolve.trial import Role
from evolve.verdict import answer_in

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
_MOST_GENES = 10
_BAR = 30
_ESSENTIAL = 3
"""Columns of the fittest that every terminal has room for: number, fitness, gain."""


def searches_table(searches: Sequence[SearchRecord], now: float | None = None) -> Table:
    """`evolve list`: a row for each search, in the order given.

    Args:
        searches: The searches.
        now: Seconds since the epoch on the ledger's clock; this machine's by default.
    """
    now = time.time() if now is None else now
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("ID", no_wrap=True, min_width=8)
    table.add_column("NAME", min_width=8, max_width=40)  # the only one that gives way in a narrow terminal
    table.add_column("STATE", no_wrap=True)
    for heading in ("DONE", "BEST", "GAIN", "AGE"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("DRIVER", no_wrap=True)
    others = any(algorithm_label(search.document) for search in searches)
    if others:
        table.add_column("BY", no_wrap=True)
    for search in searches:
        difference = gain(search.best_fitness, search.default_fitness)
        table.add_row(
            Text(search.id),
            Text(clean(search.name), no_wrap=True, overflow="ellipsis"),
            Text(search.state.value, STATE_STYLES[search.state]),
            _done(search),
            number(search.best_fitness),
            MISSING if difference is None else f"{difference:+.4f}",
            " ".join(duration(now - search.created_at).split()[:2]),
            _driver(search),
            *([Text(algorithm_of(search.document))] if others else []),
        )
    return table


def search_view(
    search: SearchRecord,
    individuals: Sequence[IndividualRecord],
    *,
    metric: str,
    best: int = 10,
    last_failure: str = "",
    found: Importance | None = None,
    now: float | None = None,
) -> RenderableType:
    """`evolve show`: what there is to know about one search on one screen.

    Args:
        search: The search.
        individuals: All its individuals.
        metric: Name of the fitness.
        best: How many of the fittest to list.
        last_failure: Message of the newest failure.
        found: How much each gene decides; None where nobody asked, as it takes seconds to find out.
        now: Seconds since the epoch on the ledger's clock; this machine's by default.
    """
    now = time.time() if now is None else now
    parts: list[RenderableType] = [_summary(search, individuals, metric, last_failure, now)]
    if any(each.told is not None for each in individuals):
        parts += [Text("\nGenerations", "bold"), _generations_table(individuals)]
    final = contest(answer_in(search.answer))
    if final is not None:
        parts += [Text(f"\n{final.title}", "bold"), contest_table(final)]
    rungs = agreement_in(search.document, individuals)
    if rungs is not None:
        parts += [Text("\nRungs", "bold"), rung_table(rungs)]
    leaders = top(individuals, best)
    if leaders:
        columns = leader_columns(leaders, default_fitness(individuals), costs(individuals), "fitness")
        headings = [heading.upper() for heading in columns]
        rows = list(zip(*columns.values(), strict=True))
        parts += [
            Text(f"\nBest by {metric_label(metric)}", "bold"),
            Members(leaders, headings, rows, essential=_ESSENTIAL),
        ]
    if found is not None:
        parts += [Text(f"\nWhat {metric_label(metric)} depends on", "bold"), _importance_table(found)]
    elif sum(each.fitness is not None for each in individuals) >= FEWEST:
        parts.append(Text(f"\nwhich genes decide: evolve show {search.id} --importance", "dim"))
    return Group(*parts)


def _summary(
    search: SearchRecord, individuals: Sequence[IndividualRecord], metric: str, last_failure: str, now: float
) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    state = Text(search.state.value, STATE_STYLES[search.state])
    if search.reason:
        state.append(f": {clean(search.reason)}", "default")
    found = verdict(search)
    if search.best_individual is not None:
        fitness = f"{best_label(search, metric)} {number(search.best_fitness)}"
        found = f"individual {search.best_individual}, {fitness}; {found}"
    span = (search.finished_at or now) - search.started_at if search.started_at else None
    cost = (
        f"{count(search.trained, 'training')}, {duration(search.trial_seconds)} of training within {duration(span)}"
    )
    if search.gpu_seconds:
        cost += f", {duration(search.gpu_seconds)} of GPU"
    rows: list[tuple[str, RenderableType]] = [
        ("search", Text.assemble((clean(search.name), "bold"), f" ({search.id})")),
        ("state", state),
        ("driver", _owner(search)),
        ("evaluated", _evaluated(search, individuals)),
        ("best", Text(found)),
        ("cost", Text(cost)),
    ]
    if algorithm := algorithm_label(search.document):
        rows.insert(2, ("searched by", Text(algorithm)))
    if any(each.number == search.best_individual for each in individuals):
        notes = descent_notes(descent(individuals, (), search.best_individual or 0))
        rows += [("" if index else "inherited", Text(f"the best: {note}")) for index, note in enumerate(notes)]
    if Objectives.of_document(search.document) and (members := front(individuals)):
        told = f"{count(len(members), 'individual')}: evolve best {search.id} --pareto"
        rows.append(("front", Text(told)))
    failures = failure_counts(individuals)
    if failures:
        rows.append(("failed", Text(failures_text(failures))))
    if last_failure:
        rows.append(("", Text(f"the last one: {clean(last_failure)}")))
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
        size = row.evaluated + row.failed + row.stopped + row.open
        figures = [number(value) for value in (row.best, row.mean, row.std, row.best_so_far)]
        table.add_row(str(row.generation), f"{size - row.open}/{size}", str(row.failed), *figures)
    return Group(Text(f"{hidden} earlier ones are not shown", "dim"), table) if hidden > 0 else table


def _importance_table(found: Importance) -> RenderableType:
    said = Text(found.said, "dim")
    if not found.shares:
        return said
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("GENE", no_wrap=True, overflow="ellipsis")
    table.add_column("SHARE", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    highest = max(found.shares.values()) or 1.0
    for name, share in list(found.shares.items())[:_MOST_GENES]:
        table.add_row(Text(clean(name)), f"{share:.1%}", Text("▇" * round(_BAR * share / highest), "cyan"))
    return Group(table, said)


def _done(search: SearchRecord) -> str:
    settings = search.document.get("search")
    if not isinstance(settings, dict):
        return str(search.evaluated)
    population, amount = settings.get("population"), settings.get("generations")
    if not isinstance(population, int) or not isinstance(amount, int):
        return str(search.evaluated)
    return f"{min(search.evaluated, population * amount)}/{population * amount}"  # finals come after all others


def _evaluated(search: SearchRecord, individuals: Sequence[IndividualRecord]) -> str:
    finals = [each for each in individuals if each.role is Role.FINAL]
    if not finals:
        return _done(search)
    told = sum(each.told is not None for each in finals)
    return f"{_done(replace(search, evaluated=search.evaluated - told))}, finals {told}/{len(finals)}"


def _driver(search: SearchRecord) -> Text:
    if search.owner is None:
        return Text(MISSING, "dim")
    return Text("alive", "green") if search.leased else Text("dead", "red")


def _owner(search: SearchRecord) -> Text:
    """The driver with its place, `host:pid`."""
    state = _driver(search)
    return state if search.owner is None else state.append(f" ({clean(':'.join(search.owner.split(':')[:2]))})")
