"""The report's figures of the search as a whole: fitness over evaluations and over generations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evolve.formatting import role_text
from evolve.ledger.records import IndividualRecord
from evolve.overview import GenerationSummary
from evolve.report.plot import Figure, axes, fitness_of, safe, short

SVG_LIMIT = 2000
"""More dots than this are drawn by WebGL."""
_FEW_STEPS = 10
_MARKED = 60
_CROSS: Mapping[str, Any] = {"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": "@bad"}}
_TRIANGLE: Mapping[str, Any] = {"symbol": "triangle-down-open", "size": 8, "color": "@line"}


def fitness_range(individuals: Sequence[IndividualRecord], default: float | None) -> tuple[float, float]:
    """The part of the fitness axis to show at first: all but the worst tenth, and always the default."""
    scores = sorted(fitness_of(each) for each in individuals if each.fitness is not None)
    low, high = scores[len(scores) // 10], scores[-1]
    if default is not None:
        low, high = min(low, default), max(high, default)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def fitness_history(
    history: Sequence[IndividualRecord], default: float | None, metric: str, span: tuple[float, float]
) -> Figure:
    """Every verdict in its order: a dot coloured by generation, the best so far, the default configuration.

    Args:
        history: Individuals with a verdict, in the order told.
        default: Fitness of the default configuration.
        metric: Label of the vertical axis.
        span: See `fitness_range`.
    """
    scored = [(order, each) for order, each in enumerate(history, 1) if each.fitness is not None]
    failed = [(order, each) for order, each in enumerate(history, 1) if each.failure is not None]
    stopped = [
        (order, each) for order, each in enumerate(history, 1) if each.fitness is None and each.failure is None
    ]
    dots = {
        "type": "scattergl" if len(history) > SVG_LIMIT else "scatter",
        "mode": "markers",
        "name": "individual",
        "x": [order for order, _ in scored],
        "y": [short(fitness_of(each)) for _, each in scored],
        "customdata": [each.number for _, each in scored],
        "marker": {
            "size": 7 if len(history) <= SVG_LIMIT else 4,
            "color": [each.generation for _, each in scored],
            "colorscale": "@scale",
            "colorbar": {"title": {"text": "generation"}, "thickness": 8, "outlinewidth": 0, "len": 0.9},
            "showscale": len({each.generation for _, each in scored}) > 1,
            "line": {"width": 0.5, "color": "@surface"},
        },
        "hovertemplate": f"individual %{{customdata}}, generation %{{marker.color}}<br>{safe(metric)} %{{y:.4f}}"
        "<extra></extra>",
    }
    data = [dots, _running_best(scored, len(history))]
    floor = span[0] + 0.03 * (span[1] - span[0])
    data += [_marks("failed", failed, floor, _CROSS)] if failed else []
    data += [_marks("stopped", stopped, floor, _TRIANGLE)] if stopped else []
    if default is not None and history:
        data.append(_line([1, max(len(history), 2)], [default] * 2, "default", "@muted", dash="dash"))
    layout = axes("evaluation", metric)
    layout["yaxis"] |= {"range": span}
    layout["xaxis"] |= _whole_numbers(len(history))
    return {"data": data, "layout": layout}


def generation_history(summaries: Sequence[GenerationSummary], default: float | None, metric: str) -> Figure:
    """Best so far, best, mean and spread (one standard deviation) of each generation."""
    rows = [row for row in summaries if row.mean is not None]
    x = [row.generation for row in rows]
    upper = [short((row.mean or 0.0) + (row.std or 0.0)) for row in rows]
    lower = [short((row.mean or 0.0) - (row.std or 0.0)) for row in rows]
    band = {
        "type": "scatter",
        "mode": "lines",
        "name": "mean ± spread",
        "x": x + x[::-1],
        "y": upper + lower[::-1],
        "fill": "toself",
        "fillcolor": "@band",
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    mean = _line(x, [short(row.mean) for row in rows], "mean", "@mean")
    best = _line(x, [short(row.best) for row in rows], "best of the generation", "@best")
    if len(rows) <= _MARKED:
        best["mode"], best["marker"] = "lines+markers", {"size": 6, "color": "@best"}
    data = [band, mean, best]
    if default is not None and rows:
        data.append(_line([x[0], max(x[-1], x[0] + 1)], [default] * 2, "default", "@muted", dash="dash"))
    layout = axes("generation", metric)
    layout["xaxis"] |= _whole_numbers(len(rows))
    return {"data": data, "layout": layout}


def _running_best(scored: Sequence[tuple[int, IndividualRecord]], end: int) -> Figure:
    x: list[float] = []
    y: list[float | None] = []
    best = -math.inf
    for order, each in scored:
        if fitness_of(each) > best:
            best = fitness_of(each)
            x.append(order)
            y.append(short(best))
    if x:
        x.append(end)
        y.append(y[-1])
    return _line(x, y, "best so far", "@best", shape="hv")


def _marks(
    name: str, shown: Sequence[tuple[int, IndividualRecord]], floor: float, marker: Mapping[str, Any]
) -> Figure:
    """Individuals without a fitness, along the lower edge."""
    kinds = [each.failure.value.replace("_", " ") if each.failure else _ended(each) for _, each in shown]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [order for order, _ in shown],
        "y": [short(floor)] * len(shown),
        "text": [f"individual {each.number}: {kind}" for (_, each), kind in zip(shown, kinds, strict=True)],
        "hoverinfo": "text",
        "marker": dict(marker),
    }


def _ended(individual: IndividualRecord) -> str:
    return role_text(individual) or individual.state.value


def _line(
    x: Sequence[float], y: Sequence[float | None], name: str, color: str, dash: str = "solid", shape: str = "linear"
) -> Figure:
    line = {"color": color, "width": 2, "dash": dash, "shape": shape}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": line,
        "hovertemplate": f"{name} %{{y:.4f}}<extra></extra>",
    }


def _whole_numbers(steps: int) -> Figure:
    return {"dtick": 1} if steps < _FEW_STEPS else {"tickformat": "d"}
