"""The report's figures of genes: each against the fitness, and all side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from evolve.formatting import compact, number
from evolve.ledger.records import IndividualRecord
from evolve.report.plot import Figure, axes, fitness_of, safe, sample, short
from evolve.trial import Json

Gene: TypeAlias = Mapping[str, Json]
"""A gene as the search's document describes it: type, low, high, log, choices, default."""

GENE_DOTS = 600
LINES = 800
_FEW_DECADES = 2


def gene_figure(
    name: str,
    gene: Gene,
    individuals: Sequence[IndividualRecord],
    *,
    best: int | None,
    metric: str,
    span: tuple[float, float],
) -> Figure:
    """One gene against the fitness, on a logarithmic axis where the gene is logarithmic."""
    shown = sample([each for each in individuals if each.params.get(name) is not None], GENE_DOTS)
    values = [_axis_value(each.params[name]) for each in shown]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": values,
        "y": [short(fitness_of(each)) for each in shown],
        "customdata": [each.number for each in shown],
        "marker": {
            "size": [10 if each.number == best else 5 for each in shown],
            "color": ["@best" if each.number == best else "@dot" for each in shown],
            "opacity": [1.0 if each.number == best else 0.55 for each in shown],
            "line": {"width": 0},
            "symbol": ["diamond" if each.number == best else "circle" for each in shown],
        },
        "hovertemplate": f"individual %{{customdata}}<br>%{{x}}<br>{safe(metric)} %{{y:.4f}}<extra></extra>",
    }
    layout = axes("", "")
    layout["showlegend"] = False
    layout["yaxis"] |= {"range": span}
    layout["xaxis"] |= _gene_axis(gene)
    return {"data": [dots], "layout": layout}


def parallel_coordinates(
    genes: Mapping[str, Gene], individuals: Sequence[IndividualRecord], metric: str, span: tuple[float, float]
) -> Figure:
    """All genes and the fitness side by side, a line for each individual, coloured by fitness."""
    shown = sorted(sample(individuals, LINES), key=fitness_of)
    scores = [fitness_of(each) for each in shown]
    dimensions = [_dimension(name, gene, [each.params.get(name) for each in shown]) for name, gene in genes.items()]
    line = {"color": [short(score) for score in scores], "colorscale": "@scale", "cmin": span[0], "cmax": span[1]}
    data = {
        "type": "parcoords",
        "line": line,
        "dimensions": [*dimensions, _score_dimension(metric, scores)],
        "labelangle": -25,
        "labelside": "top",
    }
    return {"data": [data], "layout": {"margin": {"l": 50, "r": 50, "t": 90, "b": 24}}}


def _dimension(name: str, gene: Gene, values: Sequence[Json]) -> Figure:
    """An axis of the parallel coordinates; inactive genes lie on a mark of their own below it."""
    if gene.get("type") in ("categorical", "boolean"):
        choices = _choices(gene)
        places = [float(choices.index(value)) if value in choices else -1.0 for value in values]
        ticks, texts = [float(index) for index in range(len(choices))], [_axis_value(each) for each in choices]
        low, high = 0.0, max(1.0, len(choices) - 1.0)
    else:
        low, high = _position(gene, gene["low"]), _position(gene, gene["high"])
        off = low - 0.12 * (high - low)
        places = [off if value is None else _position(gene, value) for value in values]
        ticks = _ticks(low, high, logarithmic=bool(gene.get("log")))
        texts = [compact(float(10**tick if gene.get("log") else tick)) for tick in ticks]
    if any(value is None for value in values):
        low = min(places)
        ticks, texts = [low, *ticks], ["off", *texts]
    return {
        "label": safe(name),
        "values": [short(place) for place in places],
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": texts,
    }


def _score_dimension(metric: str, scores: Sequence[float]) -> Figure:
    low, high = min(scores), max(scores)
    if low == high:
        low, high = low - 0.05, high + 0.05
    ticks = _ticks(low, high, logarithmic=False)
    return {
        "label": safe(metric),
        "values": [short(score) for score in scores],
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [number(tick, 3) for tick in ticks],
    }


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    if not logarithmic:
        return [low + (high - low) * index / 4 for index in range(5)]
    room = 0.08 * (high - low)
    decades = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
    return [low, *(power for power in decades if low + room < power < high - room), high]


def _position(gene: Gene, value: Json) -> float:
    plain = float(value) if isinstance(value, int | float) else 0.0
    return math.log10(plain) if gene.get("log") and plain > 0 else plain


def _gene_axis(gene: Gene) -> Figure:
    """The whole range of a gene, so that a best value near a bound is seen to be there."""
    if gene.get("type") in ("categorical", "boolean"):
        order = [_axis_value(choice) for choice in _choices(gene)]
        return {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": order,
            "range": [-0.6, len(order) - 0.4],
        }
    low, high = _position(gene, gene["low"]), _position(gene, gene["high"])
    margin = 0.05 * (high - low)
    axis: Figure = {"range": [low - margin, high + margin]}
    if not gene.get("log"):
        return axis
    if high - low > _FEW_DECADES:
        return axis | {"type": "log", "dtick": 1, "exponentformat": "power"}
    ticks = [10**low, 10 ** ((low + high) / 2), 10**high]
    return axis | {"type": "log", "tickvals": ticks, "ticktext": [compact(float(tick)) for tick in ticks]}


def _choices(gene: Gene) -> list[Json]:
    choices = gene.get("choices")
    return choices if isinstance(choices, list) else [False, True]


def _axis_value(value: Json) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else safe(compact(value))
