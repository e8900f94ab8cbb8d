"""The tables of the report, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolve.formatting import MISSING, compact, failure_label
from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord
from evolve.overview import births, failure_counts
from evolve.report.genes import Gene
from evolve.trial import Json


@dataclass(frozen=True)
class Row:
    """A table row: its cells, and whether it deserves emphasis."""

    cells: Sequence[str]
    strong: bool = False


def best_genes(
    best: IndividualRecord | None, individuals: Sequence[IndividualRecord], genes: Mapping[str, Gene]
) -> list[Row]:
    """By gene: the best individual's value, the default, and where the value arose."""
    if best is None:
        return []
    born = births(individuals, best.number)
    rows = []
    for name, gene in genes.items():
        value, default = best.params.get(name), gene.get("default")
        origin = born.get(name)
        where = f"{origin[1]} in #{origin[0]}" if origin else ""
        rows.append(Row((name, _gene(value), value_text(default), where), strong=value != default))
    return rows


def leader_table(
    leaders: Sequence[IndividualRecord],
    columns: Mapping[str, Sequence[str]],
    genes: Mapping[str, Gene],
    best: int | None,
) -> tuple[list[str], list[Row]]:
    """Head and rows of the fittest.

    Args:
        leaders: The fittest.
        columns: What is said of them before their genes.
        genes: The genes.
        best: Who is emphasised.
    """
    rows = [
        Row([*cells, *(_gene(each.params.get(name)) for name in genes)], strong=each.number == best)
        for each, *cells in zip(leaders, *columns.values(), strict=True)
    ]
    return [*columns, *genes], rows


def failure_rows(individuals: Iterable[IndividualRecord], evaluations: Iterable[EvaluationRecord]) -> list[Row]:
    """By kind: individuals given up, failed attempts, and what the latest said."""
    given_up = failure_counts(individuals)
    attempts: dict[str, list[EvaluationRecord]] = {}
    for each in evaluations:
        if each.failure is not None:
            attempts.setdefault(each.failure.value, []).append(each)
    kinds = sorted({*given_up, *attempts}, key=lambda kind: (-given_up[kind], kind))
    return [
        Row(
            (
                failure_label(kind),
                str(given_up[kind]),
                str(len(attempts.get(kind, []))),
                attempts[kind][-1].failure_message if kind in attempts else "",
            )
        )
        for kind in kinds
    ]


def difference_rows(evaluations: Iterable[EvaluationRecord]) -> list[Row]:
    """By argument: in how many trainings something else took effect, with the latest example."""
    found: dict[str, list[Json]] = {}
    for each in evaluations:
        for name, pair in each.differences.items():
            found.setdefault(name, []).append(pair)
    rows = []
    for name, pairs in sorted(found.items(), key=lambda item: -len(item[1])):
        requested, effective = pair if isinstance(pair := pairs[-1], list) and len(pair) == 2 else (None, pair)  # noqa: PLR2004
        rows.append(Row((name, str(len(pairs)), value_text(requested), value_text(effective))))
    return rows


def setting_rows(search: SearchRecord) -> list[Row]:
    """The document of the search without its genes."""
    rows = [Row(("objective", search.objective)), Row(("data content", search.data_hash))]
    for key, value in search.document.items():
        if key == "genes":
            continue
        if isinstance(value, dict):
            rows += [Row((f"{key}.{inner}", value_text(setting))) for inner, setting in value.items()]
        else:
            rows.append(Row((key, value_text(value))))
    return rows


def value_text(value: Any) -> str:
    """A value of a document in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {value_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(value_text, value))
    return MISSING if value is None else compact(value)


def _gene(value: Json) -> str:
    return "off" if value is None else value_text(value)
