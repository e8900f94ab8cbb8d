"""What all figures of the report share.

Figures are plotly.js descriptions: plain data, so that ten thousand dots cost little. Colours are names such as
`@best`; the page replaces them by the colours of its theme. Text that comes from a search is escaped, because
plotly.js reads some HTML in labels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from evolve.formatting import clean
from evolve.ledger.records import IndividualRecord

Figure: TypeAlias = dict[str, Any]


def sample(individuals: Sequence[IndividualRecord], limit: int) -> list[IndividualRecord]:
    """At most `limit` of those with a fitness: the best quarter of that, the rest spread evenly over the search."""
    scored = [each for each in individuals if each.fitness is not None]
    if len(scored) <= limit:
        return scored
    ranked = sorted(scored, key=fitness_of, reverse=True)
    leaders = {each.number for each in ranked[: limit // 4]}
    others = [each for each in scored if each.number not in leaders]
    step = len(others) / (limit - len(leaders))
    chosen = leaders | {others[int(index * step)].number for index in range(limit - len(leaders))}
    return [each for each in scored if each.number in chosen]


def fitness_of(individual: IndividualRecord) -> float:
    """The fitness to sort by: below all others where there is none."""
    return -math.inf if individual.fitness is None else individual.fitness


def axes(x: str, y: str) -> Figure:
    """A layout with two titled axes."""
    return {"xaxis": {"title": {"text": safe(x)}}, "yaxis": {"title": {"text": safe(y)}}}


def short(value: float | None) -> float | None:
    """Six significant digits, which no eye can tell from more; None for what JSON does not know."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def safe(text: str) -> str:
    """Text that plotly.js shows as it is."""
    return html.escape(clean(text))
