"""What the report says, figure by figure and table by table, before it becomes a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from evolve.descent import descent, descent_notes
from evolve.finals_table import Contest, contest
from evolve.fitness import Fitness
from evolve.formatting import (
    MISSING,
    algorithm_label,
    best_label,
    count,
    duration,
    fitness_label,
    gain,
    gain_share,
    number,
    role_text,
    verdict,
)
from evolve.importance import Importance, importance
from evolve.leaders import leader_columns
from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord
from evolve.models import model_label
from evolve.objectives import Objectives
from evolve.overview import ancestors, costs, default_fitness, default_of, generations, searched, top
from evolve.report.genes import GENE_DOTS, LINES, Gene, gene_figure, parallel_coordinates
from evolve.report.history import fitness_history, fitness_range, generation_history
from evolve.report.importance import Deciding, deciding, importance_figure
from evolve.report.lineage import lineage
from evolve.report.pareto import Traded, traded
from evolve.report.plot import Figure
from evolve.report.rows import (
    Row,
    best_genes,
    difference_rows,
    failure_rows,
    leader_table,
    setting_rows,
    value_text,
)
from evolve.report.rungs import Judged, judged
from evolve.rung_agreement import agreement_in
from evolve.trial import Json, Role
from evolve.verdict import answer_in

LEADERS = 15
FAMILY = 24


@dataclass(frozen=True)
class Content:
    """Everything that the template shows."""

    name: str
    search_id: str
    state: str
    reason: str
    made: str
    headline: str
    gained: bool
    tiles: list[tuple[str, str, str]]
    within: list[str]
    best_genes: list[Row]
    leader_head: list[str]
    leaders: list[Row]
    failures: list[Row]
    differences: list[Row]
    settings: list[Row]
    environment: list[Row]
    genes: list[str]
    notes: list[str]
    family: int
    deciding: Deciding
    traded: Traded | None = None
    finals: Contest | None = None
    rungs: Judged | None = None
    continued: bool = False
    figures: Mapping[str, Figure] = field(default_factory=dict)


def content_of(
    search: SearchRecord, individuals: Sequence[IndividualRecord], evaluations: Sequence[EvaluationRecord]
) -> Content:
    """Gather the content from the records of a search."""
    metric = fitness_label(Fitness.parse(search.document["fitness"]).weights)
    genes = cast("Mapping[str, Gene]", search.document.get("genes", {}))
    best = next((each for each in individuals if each.number == search.best_individual), None)
    family = ancestors(individuals, best.number, FAMILY) if best else []
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    improvement = gain(search.best_fitness, search.default_fitness)
    default, found_best = default_fitness(individuals), searched(individuals, search.best_individual)
    found = importance(genes, individuals)
    front = traded(Objectives.of_document(search.document), individuals, list(genes), search.best_individual)
    rungs = judged(agreement_in(search.document, individuals), metric)
    leaders = top(individuals, LEADERS)
    columns = leader_columns(leaders, default, costs(individuals), metric)
    leader_head, leader_rows = leader_table(leaders, columns, genes, found_best)
    drawn = _figures(search, individuals, family, genes, metric, found)
    return Content(
        name=search.name,
        search_id=search.id,
        state=search.state.value,
        reason=search.reason,
        made=made,
        headline=_headline(search, metric, default_of(individuals)),
        gained=improvement is not None and improvement > 0,
        tiles=_tiles(search, metric),
        within=[*_within(search, individuals), *_inherited(best, individuals, evaluations)],
        best_genes=best_genes(best, individuals, genes),
        leader_head=leader_head,
        leaders=leader_rows,
        failures=failure_rows(individuals, evaluations),
        differences=difference_rows(evaluations),
        settings=setting_rows(search),
        environment=[Row((key, value_text(value))) for key, value in sorted(search.environment.items())],
        genes=list(genes),
        notes=_notes(individuals, evaluations),
        family=len(family),
        deciding=deciding(found),
        traded=front,
        finals=contest(answer_in(search.answer)),
        rungs=rungs,
        continued=any(role_text(each) for each in family),
        figures={**drawn, **(front.figures if front else {}), **(rungs.figures if rungs else {})},
    )


def _figures(
    search: SearchRecord,
    individuals: Sequence[IndividualRecord],
    family: Sequence[IndividualRecord],
    genes: Mapping[str, Gene],
    metric: str,
    found: Importance,
) -> dict[str, Figure]:
    told = [each for each in individuals if each.told is not None and each.role is not Role.FINAL]
    history = sorted(told, key=lambda each: each.told or 0)
    if not any(each.fitness is not None for each in history):
        return {}
    default, best = default_fitness(individuals), searched(individuals, search.best_individual)
    span = fitness_range(history, default)
    made = {
        "history": fitness_history(history, default, metric, span),
        "parallel": parallel_coordinates(genes, history, metric, span),
    }
    summaries = generations(individuals)
    if len(summaries) > 1:
        made["generations"] = generation_history(summaries, default, metric)
    if found.shares:
        made["importance"] = importance_figure(found)
    for index, (name, gene) in enumerate(genes.items()):
        made[f"gene-{index}"] = gene_figure(name, gene, history, best=best, metric=metric, span=span)
    if len(family) > 1:
        made["lineage"] = lineage(family, metric)
    return made


def _headline(search: SearchRecord, metric: str, default: IndividualRecord | None) -> str:
    if search.best_individual is None:
        return f"So far, {verdict(search)}."
    if default is not None and search.best_individual == default.number:
        return f"The default configuration reached {metric} {number(search.best_fitness)}: {verdict(search)}."
    found = (
        f"Individual {search.best_individual} reached {best_label(search, metric)} {number(search.best_fitness)}"
    )
    return f"{found}: {verdict(search)}."


def _tiles(search: SearchRecord, metric: str) -> list[tuple[str, str, str]]:
    improvement = gain(search.best_fitness, search.default_fitness)
    gained = improvement is not None and improvement > 0
    who = "nothing evaluated yet" if search.best_individual is None else f"individual {search.best_individual}"
    default = f"default {number(search.default_fitness)}"
    share = ""
    if improvement is not None and gained and search.default_fitness is not None:
        share = gain_share(improvement, search.default_fitness)
    gpu = f"{duration(search.gpu_seconds)} of GPU" if search.gpu_seconds else "on the CPU"
    failed = f", {search.failed} failed" if search.failed else ""
    return [
        (f"Best {best_label(search, metric)}", number(search.best_fitness), who),
        (
            "Gain over the default",
            f"{improvement:+.4f}" if gained else MISSING if improvement is None else "none",
            f"{share}, {default}" if share else default,
        ),
        ("Individuals", f"{search.evaluated:,}", f"{count(search.trained, 'training')}{failed}"),
        ("Time in training", duration(search.trial_seconds), gpu),
    ]


def _within(search: SearchRecord, individuals: Sequence[IndividualRecord]) -> list[str]:
    """The conditions under which the headline holds."""
    document = search.document
    train = cast("Mapping[str, Json]", document.get("train") or {})
    settings = cast("Mapping[str, Json]", document.get("search") or {})
    trained = ", ".join(f"{key} {value_text(train[key])}" for key in ("epochs", "imgsz") if key in train)
    what = (
        f"{model} on {value_text(document.get('data'))}" if (model := model_label(document)) else search.objective
    )
    lines = [
        f"{what}, {trained}" if trained else what,
        f"{count(len(generations(individuals)), 'generation')}, "
        f"population {value_text(settings.get('population'))}, seed {value_text(settings.get('seed'))}",
    ]
    if algorithm := algorithm_label(document):
        lines[-1] += f", searched by {algorithm}"
    if search.evaluated > 1 and contest(answer_in(search.answer)) is None:
        lines.append(
            "every figure comes from one training with one seed: a gain of the size of the noise between "
            "seeds proves nothing until it is repeated"
        )
    return lines


def _inherited(
    best: IndividualRecord | None, individuals: Sequence[IndividualRecord], evaluations: Sequence[EvaluationRecord]
) -> list[str]:
    if best is None:
        return []
    notes = descent_notes(descent(individuals, evaluations, best.number))
    return [f"individual {best.number}: {note}" for note in notes]


def _notes(individuals: Sequence[IndividualRecord], evaluations: Sequence[EvaluationRecord]) -> list[str]:
    notes = list(dict.fromkeys(note for each in evaluations for note in each.notes))[:5]
    scored = sum(each.fitness is not None for each in individuals)
    if scored > GENE_DOTS:
        notes.append(
            f"Gene figures show {GENE_DOTS} of {scored:,} individuals, parallel coordinates "
            f"{min(LINES, scored)}: the best, and the others spread evenly over the search."
        )
    return notes
