"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from evolve.comparison.figures import figures_of, styles
from evolve.comparison.records import Comparison
from evolve.comparison.tables import (
    CONTRAST_HEAD,
    REACHED_HEAD,
    contender_head,
    contender_row,
    contrast_row,
    entry_head,
    entry_row,
    marks_head,
    reached_row,
)
from evolve.files import replacing
from evolve.formatting import MISSING, compact
from evolve.report.pages import render_page
from evolve.report.rows import Row
from evolve.trial import Json

_APART = 0.1
_TITLE = 3


@dataclass(frozen=True)
class EntryRow:
    """A search in the first table."""

    label: str
    colour: str
    cells: Sequence[str]


def write_page(comparison: Comparison, target: Path) -> Path:
    """Write the page, whole or not at all; an older file of that name is replaced.

    Raises:
        InputError: if `target` cannot be written.
    """
    with replacing(target, "comparison") as temporary:
        temporary.write_text(render(comparison), encoding="utf-8")
    return target


def render(comparison: Comparison) -> str:
    """The page."""
    looks = styles(comparison)
    names = list(dict.fromkeys(each.record.name for each in comparison.entries))
    rows = [
        EntryRow(
            each.label,
            looks[each.contender][0].removeprefix("@"),
            [*entry_row(each, comparison)[2:], *reached_row(each, comparison)[1:]],
        )
        for each in comparison.entries
    ]
    content = {
        "title": " and ".join(names[:_TITLE]) + (f" and {len(names) - _TITLE} more" if len(names) > _TITLE else ""),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "warnings": comparison.warnings,
        "verdicts": comparison.verdicts,
        "notes": comparison.notes,
        "entry_head": [
            _word(each)
            for each in ("SEARCH", *entry_head(comparison)[2:], *REACHED_HEAD[1:], *marks_head(comparison))
        ],
        "entries": rows,
        "contenders_said": f"Runs that differ only by their seeds, and the best {comparison.metric} of each.",
        "contender_head": [_word(each) for each in contender_head(comparison)],
        "contenders": [Row(contender_row(each)) for each in comparison.contenders] if comparison.grouped else [],
        "contrast_head": [_word(each) for each in CONTRAST_HEAD],
        "contrasts": [Row(contrast_row(each), strong=each.shown) for each in comparison.contrasts],
        "curves_said": "A training that failed counts; the dotted line is where contenders are compared."
        if comparison.budget.by == "trainings"
        else "A training that failed counts.",
        "gene_head": ["gene", "default", *(each.label for each in comparison.entries)],
        "genes": gene_rows(comparison),
    }
    return render_page(
        "compare.html", figures_of(comparison), folder="comparison", styles=("palette.css",), content=content
    )


def gene_rows(comparison: Comparison) -> list[Row]:
    """Every gene of any search with its value in each best configuration."""
    genes: dict[str, Mapping[str, Json]] = {}
    for each in comparison.entries:
        for name, gene in cast("Mapping[str, Mapping[str, Json]]", each.record.document.get("genes") or {}).items():
            genes.setdefault(name, gene)
    found = [each for each in comparison.entries if each.best is not None]
    if not found:
        return []
    rows = []
    for name, gene in genes.items():
        values = [None if each.best is None else each.best.get(name) for each in comparison.entries]
        cells = [
            MISSING if each.best is None else "off" if value is None else compact(value)
            for each, value in zip(comparison.entries, values, strict=True)
        ]
        compared = [(each.best or {}).get(name) for each in found]
        default = gene.get("default")
        shown = MISSING if default is None else compact(default)
        rows.append(Row([name, shown, *cells], strong=apart(gene, compared)))
    return rows


def apart(gene: Mapping[str, Json], values: Sequence[Json]) -> bool:
    """Whether values of a gene differ by more than a search would call a step: a tenth of its range."""
    if gene.get("type") not in ("float", "int") or any(value is None for value in values):
        return len({repr(value) for value in values}) > 1
    low, high = _place(gene, gene.get("low")), _place(gene, gene.get("high"))
    places = [_place(gene, value) for value in values]
    return max(places) - min(places) > _APART * (high - low)


def _place(gene: Mapping[str, Json], value: Json) -> float:
    plain = float(value) if isinstance(value, int | float) else 0.0
    return math.log(plain) if gene.get("log") and plain > 0 else plain


def _word(heading: str) -> str:
    return heading.lower().replace("gpu", "GPU")
