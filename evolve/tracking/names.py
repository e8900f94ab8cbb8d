"""How the ledger's records read in MLflow: names, parameters, tags and metrics. Pure functions, no MLflow."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord, SearchState
from evolve.trial import Json, Role, TrialState
from evolve.verdict import Answer, answer_in, sentence

MAX_NAME = 250
_FORBIDDEN = re.compile(r"[^/\w.\- :]")

RUN_STATUS = {
    TrialState.PENDING: "RUNNING",
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETED: "FINISHED",
    TrialState.STOPPED: "KILLED",
    TrialState.FAILED: "FAILED",
    TrialState.INTERRUPTED: "KILLED",
}
SEARCH_STATUS = {
    SearchState.CREATED: "RUNNING",
    SearchState.RUNNING: "RUNNING",
    SearchState.PAUSED: "RUNNING",
    SearchState.INTERRUPTED: "KILLED",
    SearchState.COMPLETED: "FINISHED",
    SearchState.FAILED: "FAILED",
    SearchState.CANCELLED: "KILLED",
}


Kind: TypeAlias = Literal["search", "generation", "finals", "individual"]


class Key(NamedTuple):
    """Names a run within its search: the search itself, a generation, the finals or an individual."""

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind in ("search", "finals") else f"{self.kind} {self.number}"


SEARCH = Key("search")
FINALS = Key("finals")
GROUPS: tuple[Kind, ...] = ("generation", "finals")
"""Runs that individuals' runs are nested in."""


def group(individual: IndividualRecord) -> Key:
    """The run that an individual's run is nested in; finals are no generation, as nobody is bred of them."""
    return FINALS if individual.role is Role.FINAL else Key("generation", individual.generation)


class Point(NamedTuple):
    """One value of a metric.

    Equal points are stored once, so the time must come from the ledger and not from the clock.
    """

    name: str
    value: float
    at: float  # seconds since the epoch
    step: int


def safe_name(name: str) -> str:
    """`name` as MLflow accepts it: parentheses go, as in Ultralytics' own logger, other signs become `_`.

    `metrics/mAP50-95(B)` turns into `metrics/mAP50-95B`.
    """
    name = _FORBIDDEN.sub("_", re.sub(r"[()]", "", name))
    return posixpath.normpath(name.replace("..", "_").lstrip("/") or "_")[:MAX_NAME].rstrip("/")


def text(value: Json | Sequence[object]) -> str:
    """A value as MLflow stores it; equal values give equal texts."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def flat(prefix: str, mapping: Mapping[str, Json]) -> dict[str, str]:
    """One entry for every value; mappings are followed for one level, deeper ones become JSON."""
    entries: dict[str, str] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            entries |= {safe_name(f"{prefix}/{name}/{key}"): text(item) for key, item in value.items()}
        else:
            entries[safe_name(f"{prefix}/{name}")] = text(value)
    return entries


def safe_params(params: Mapping[str, Json], prefix: str = "") -> dict[str, str]:
    """Gene values as MLflow parameters."""
    return {safe_name(prefix + name): text(value) for name, value in params.items()}


def search_params(search: SearchRecord) -> dict[str, str]:
    """What was asked for, and on what machine."""
    document = dict(search.document)
    if isinstance(known := document.get("known"), list):  # the whole of it is in the artifact
        document["known"] = len(known)
    asked = flat("space", document) | flat("options", search.options)
    return asked | flat("environment", search.environment)


def search_tags(search: SearchRecord, best: IndividualRecord | None) -> dict[str, str]:
    """What a search is and how it stands."""
    tags = {
        "evolve.objective": search.objective,
        "evolve.data_hash": search.data_hash,
        "evolve.directory": search.directory,
        "evolve.state": search.state.value,
        "evolve.reason": search.reason,
        "evolve.default_fitness": text(search.default_fitness),
        "evolve.best_fitness": text(search.best_fitness),
        "evolve.best_individual": text(search.best_individual),
    }
    tags |= _answer_tags(answer_in(search.answer))
    return tags if best is None else {**tags, "evolve.best_params": text(dict(best.params))}


def _answer_tags(answer: Answer | None) -> dict[str, str]:
    """What a search came to; numbers one by one, so that searches can be filtered by them."""
    if answer is None:
        return {}
    best = answer.best
    figures: dict[str, float | None] = {"winner": answer.winner, "noise": answer.noise}
    for name, gain in (("gain", best.gain), ("test_gain", best.test_gain)):
        if gain is not None:
            figures |= {name: gain.value, f"{name}_margin": gain.margin, f"{name}_within_noise": gain.within_noise}
    if best.test is not None:
        figures["test_fitness"] = best.test.mean
    tags = {f"evolve.{name}": text(value) for name, value in figures.items() if value is not None}
    return {"evolve.answer": sentence(answer), "evolve.answer_source": answer.source, **tags}


def search_totals(search: SearchRecord) -> dict[str, float]:
    """What a search has cost so far."""
    return {
        "total/evaluated": search.evaluated,
        "total/trained": search.trained,
        "total/failed": search.failed,
        "total/trial_hours": search.trial_seconds / 3600,
        "total/gpu_hours": search.gpu_seconds / 3600,
    }


def lineage_tags(individual: IndividualRecord) -> dict[str, str]:
    """Where an individual comes from."""
    return {
        "evolve.generation": str(individual.generation),
        "evolve.parents": ", ".join(map(str, individual.parents)),
        "evolve.operators": ", ".join(individual.operators),
        "evolve.role": individual.role.value,
        **({} if individual.original is None else {"evolve.original": str(individual.original)}),
        **({} if individual.seed is None else {"evolve.seed": str(individual.seed)}),
        **{safe_name(f"evolve.origin.{gene}"): origin for gene, origin in individual.origins.items()},
    }


def outcome_tags(individual: IndividualRecord, newest: EvaluationRecord | None) -> dict[str, str]:
    """What became of an individual, with what took effect otherwise than asked."""
    tags = {"evolve.state": individual.state.value, "evolve.attempts": str(individual.attempts)}
    if individual.reused_from is not None:
        tags["evolve.reused_from"] = str(individual.reused_from)
    if individual.inherited_from is not None:
        tags["evolve.inherited_from"] = str(individual.inherited_from)
    if newest is None:
        return tags
    tags["evolve.worker"] = newest.worker
    if newest.weights:
        tags["evolve.weights"] = newest.weights
    if newest.notes:
        tags["evolve.notes"] = "\n".join(newest.notes)
    if newest.failure is not None:
        tags |= {"evolve.failure": newest.failure.value, "evolve.failure_message": newest.failure_message}
    differences = {f"evolve.difference.{name}": text(pair) for name, pair in newest.differences.items()}
    return tags | {safe_name(name): value for name, value in differences.items()}


def best_metrics(individual: IndividualRecord) -> dict[str, float]:
    """Fitness and the metrics of the best checkpoint, apart from those of the last epoch.

    MLflow draws its charts in the order of their names: the curves of the epochs come first.
    """
    metrics = {safe_name("result/" + name.removeprefix("metrics/")): v for name, v in individual.metrics.items()}
    return metrics if individual.fitness is None else {"fitness": individual.fitness, **metrics}


def population_metrics(statistics: Mapping[str, Json]) -> dict[str, float]:
    """The numbers among a generation's statistics."""
    return {
        safe_name(f"population/{name}"): float(value)
        for name, value in statistics.items()
        if isinstance(value, int | float) and name not in ("generation", "best_individual")
    }


def individuals_table(individuals: Sequence[IndividualRecord]) -> str:
    """A CSV table, a line for each individual, which MLflow's pages show as a table."""
    genes = list(dict.fromkeys(gene for one in individuals for gene in one.params))
    metrics = list(dict.fromkeys(metric for one in individuals for metric in one.metrics))
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    fixed = "individual generation role seed state fitness failure parents inherited_from operators"
    writer.writerow([*fixed.split(), *genes, *metrics])
    for one in individuals:
        writer.writerow(
            [
                one.number,
                one.generation,
                one.role.value,
                one.seed,
                one.state.value,
                one.fitness,
                one.failure and one.failure.value,
                " ".join(map(str, one.parents)),
                one.inherited_from,
                " ".join(one.operators),
                *(one.params.get(gene) for gene in genes),
                *(one.metrics.get(metric) for metric in metrics),
            ]
        )
    return sheet.getvalue()
