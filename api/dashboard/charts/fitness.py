"""The fitness of every individual, and of each generation the best, the mean and the spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.dashboard.charts.base import Options, axis, figure, legend, line, rounded, short, tooltip, upright
from evolve.formatting import failure_label
from evolve.ledger.records import IndividualRecord
from evolve.overview import GenerationSummary
from evolve.report.history import fitness_range
from evolve.report.plot import sample

DOTS = 1000
"""More individuals than this are thinned: the best, and the others evenly over the search."""

_BEST, _MEAN, _SPREAD, _SO_FAR = "best", "mean", "spread", "best so far"


def fitness_figure(
    summaries: Sequence[GenerationSummary],
    individuals: Sequence[IndividualRecord],
    *,
    population: int,
    default: float | None,
    best: int | None,
    metric: str,
) -> Options:
    """The fitness over the generations; generation 3 lies between 3 and 4 on the axis.

    Args:
        summaries: The generations.
        individuals: All of them, by number.
        population: Individuals in a generation.
        default: Fitness of the default configuration.
        best: Number of the best.
        metric: What the fitness is called.
    """
    shown = sample(individuals, DOTS)
    bounds = rounded(*_range(shown, default))
    low, high = bounds["min"], bounds["max"]
    rows = [row for row in summaries if row.mean is not None]
    made = figure()
    made["legend"] = legend([_SO_FAR, _BEST, _MEAN, _SPREAD, "individuals"])
    made["legend"]["data"][-1] = {"name": "individuals", "icon": "circle"}
    made["tooltip"] = tooltip("individual")
    last = max((each.generation for each in individuals), default=0) + 1
    made["xAxis"] = axis("generation", min=0, max=last, minInterval=1)
    made["yAxis"] = upright() | bounds
    floor = low + 0.02 * (high - low)
    made["series"] = [
        *_spread(rows),
        _dots(shown, population, best, floor),
        _failed(individuals, population, floor),
        line(_MEAN, [(row.generation + 0.5, short(row.mean)) for row in rows], "@mean", z=4, silent=True),
        _best_of_each(rows),
        _so_far(individuals, population, default, last),
    ]
    return made


def fitness_meta(individuals: Sequence[IndividualRecord], metric: str) -> dict[str, Any]:
    """What the tooltips of `fitness_figure` say."""
    failures = {
        str(each.number): failure_label(each.failure)
        for each in individuals[-DOTS:]
        if each.failure is not None and each.told is not None
    }
    return {"metric": metric, "failures": failures}


def _range(shown: Sequence[IndividualRecord], default: float | None) -> tuple[float, float]:
    return fitness_range(shown, default) if shown else (0.0, 1.0)


def _place(individual: IndividualRecord, population: int) -> float:
    """Within its generation by birth."""
    return round(individual.generation + (individual.number % population + 0.5) / population, 4)


def _dots(shown: Sequence[IndividualRecord], population: int, best: int | None, floor: float) -> Options:
    def dot(each: IndividualRecord) -> Any:
        fitness = each.fitness or 0.0
        value = [_place(each, population), short(max(fitness, floor)), each.number, each.generation, short(fitness)]
        if each.number == best:
            style = {"color": "@best", "opacity": 1}
            return {"value": value, "symbol": "diamond", "symbolSize": 15, "itemStyle": style}
        if fitness < floor:  # it lies below what the axis shows
            return {"value": value, "symbol": "triangle", "symbolRotate": 180, "symbolSize": 6}
        return value

    return {
        "id": "individuals",
        "name": "individuals",
        "type": "scatter",
        "data": [dot(each) for each in shown],
        "symbolSize": 8 if len(shown) < 400 else 5,  # noqa: PLR2004
        "itemStyle": {"color": "@dot", "opacity": 0.55, "borderColor": "@surface", "borderWidth": 0.5},
        "emphasis": {"scale": 1.6, "itemStyle": {"opacity": 1}},
        "cursor": "pointer",
        "z": 6,
    }


def _failed(individuals: Sequence[IndividualRecord], population: int, floor: float) -> Options:
    failed = [each for each in individuals[-DOTS:] if each.failure is not None and each.told is not None]
    return {
        "id": "failed",
        "name": "failed",
        "type": "scatter",
        "symbol": "path://M1 0 L5 4 L9 0 L10 1 L6 5 L10 9 L9 10 L5 6 L1 10 L0 9 L4 5 L0 1 Z",
        "symbolSize": 8,
        "data": [[_place(each, population), floor, each.number, each.generation] for each in failed],
        "itemStyle": {"color": "@bad"},
        "cursor": "pointer",
        "z": 6,
    }


def _spread(rows: Sequence[GenerationSummary]) -> list[Options]:
    """One standard deviation to either side of the mean, as a band upon an invisible line."""
    lower = [(row.generation + 0.5, short((row.mean or 0.0) - (row.std or 0.0))) for row in rows]
    width = [(row.generation + 0.5, short(2 * (row.std or 0.0))) for row in rows]
    hidden = {"lineStyle": {"opacity": 0}, "stack": "spread", "stackStrategy": "all", "silent": True, "z": 1}
    return [
        line("_lower", lower, "@mean") | hidden,
        line(_SPREAD, width, "@mean")
        | hidden
        | {"areaStyle": {"color": "@band", "opacity": 1}, "itemStyle": {"color": "@band"}},
    ]


def _best_of_each(rows: Sequence[GenerationSummary]) -> Options:
    points = [(row.generation + 0.5, short(row.best)) for row in rows]
    series = line(_BEST, points, "@best", width=1.4, z=4, silent=True)
    for style in ("lineStyle", "itemStyle"):
        series[style]["opacity"] = 0.55
    return series


def _so_far(
    individuals: Sequence[IndividualRecord], population: int, default: float | None, last: float
) -> Options:
    points: list[tuple[float, float | None]] = []
    highest = float("-inf")
    for each in individuals:
        if each.fitness is not None and each.fitness > highest:
            highest = each.fitness
            points.append((_place(each, population), short(highest)))
    if points:
        points.append((last, short(highest)))
    made = line(_SO_FAR, points, "@best", step="end", z=5, silent=True)
    if default is not None:
        made["markLine"] = {
            "silent": True,
            "symbol": "none",
            "data": [{"yAxis": short(default)}],
            "label": {"formatter": "default", "position": "insideEndTop", "color": "@muted", "fontSize": 11},
            "lineStyle": {"color": "@muted", "type": "dashed", "width": 1},
            "animation": False,
        }
    return made
