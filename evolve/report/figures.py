"""The report's figures as plotly.js descriptions: plain data, so that ten thousand dots cost little.

Colours are names such as `@best`; the page replaces them by the colours of its theme. Text that comes from a
search is escaped, because plotly.js reads some HTML in labels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from evolve.formatting import clean, compact, number
from evolve.ledger.records import IndividualRecord
from evolve.overview import GenerationSummary
from evolve.trial import Json

Figure: TypeAlias = dict[str, Any]
Gene: TypeAlias = Mapping[str, Json]
"""A gene as the search's document describes it: type, low, high, log, choices, default."""

SVG_LIMIT = 2000
"""More dots than this are drawn by WebGL."""
GENE_DOTS = 600
LINES = 800
_FEW_DECADES = 2
_FEW_STEPS = 10
_MARKED = 60
_NARROW = 1.5


def fitness_range(individuals: Sequence[IndividualRecord], default: float | None) -> tuple[float, float]:
    """The part of the fitness axis to show at first: all but the worst tenth, and always the default."""
    scores = sorted(_fitness(each) for each in individuals if each.fitness is not None)
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
    failed = [(order, each) for order, each in enumerate(history, 1) if each.fitness is None]
    dots = {
        "type": "scattergl" if len(history) > SVG_LIMIT else "scatter",
        "mode": "markers",
        "name": "individual",
        "x": [order for order, _ in scored],
        "y": [_short(_fitness(each)) for _, each in scored],
        "customdata": [each.number for _, each in scored],
        "marker": {
            "size": 7 if len(history) <= SVG_LIMIT else 4,
            "color": [each.generation for _, each in scored],
            "colorscale": "@scale",
            "colorbar": {"title": {"text": "generation"}, "thickness": 8, "outlinewidth": 0, "len": 0.9},
            "showscale": len({each.generation for _, each in scored}) > 1,
            "line": {"width": 0.5, "color": "@surface"},
        },
        "hovertemplate": f"individual %{{customdata}}, generation %{{marker.color}}<br>{_safe(metric)} %{{y:.4f}}"
        "<extra></extra>",
    }
    data = [dots, _running_best(scored, len(history))]
    if failed:
        data.append(_failures(failed, span[0] + 0.03 * (span[1] - span[0])))
    if default is not None and history:
        data.append(_line([1, max(len(history), 2)], [default] * 2, "default", "@muted", dash="dash"))
    layout = _layout("evaluation", metric)
    layout["yaxis"] |= {"range": span}
    layout["xaxis"] |= _whole_numbers(len(history))
    return {"data": data, "layout": layout}


def generation_history(summaries: Sequence[GenerationSummary], default: float | None, metric: str) -> Figure:
    """Best so far, best, mean and spread (one standard deviation) of each generation."""
    rows = [row for row in summaries if row.mean is not None]
    x = [row.generation for row in rows]
    upper = [_short((row.mean or 0.0) + (row.std or 0.0)) for row in rows]
    lower = [_short((row.mean or 0.0) - (row.std or 0.0)) for row in rows]
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
    mean = _line(x, [_short(row.mean) for row in rows], "mean", "@mean")
    best = _line(x, [_short(row.best) for row in rows], "best of the generation", "@best")
    if len(rows) <= _MARKED:
        best["mode"], best["marker"] = "lines+markers", {"size": 6, "color": "@best"}
    data = [band, mean, best]
    if default is not None and rows:
        data.append(_line([x[0], max(x[-1], x[0] + 1)], [default] * 2, "default", "@muted", dash="dash"))
    layout = _layout("generation", metric)
    layout["xaxis"] |= _whole_numbers(len(rows))
    return {"data": data, "layout": layout}


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
        "y": [_short(_fitness(each)) for each in shown],
        "customdata": [each.number for each in shown],
        "marker": {
            "size": [10 if each.number == best else 5 for each in shown],
            "color": ["@best" if each.number == best else "@dot" for each in shown],
            "opacity": [1.0 if each.number == best else 0.55 for each in shown],
            "line": {"width": 0},
            "symbol": ["diamond" if each.number == best else "circle" for each in shown],
        },
        "hovertemplate": f"individual %{{customdata}}<br>%{{x}}<br>{_safe(metric)} %{{y:.4f}}<extra></extra>",
    }
    layout = _layout("", "")
    layout["showlegend"] = False
    layout["yaxis"] |= {"range": span}
    layout["xaxis"] |= _gene_axis(gene)
    return {"data": [dots], "layout": layout}


def parallel_coordinates(
    genes: Mapping[str, Gene], individuals: Sequence[IndividualRecord], metric: str, span: tuple[float, float]
) -> Figure:
    """All genes and the fitness side by side, a line for each individual, coloured by fitness."""
    shown = sorted(sample(individuals, LINES), key=_fitness)
    scores = [_fitness(each) for each in shown]
    dimensions = [_dimension(name, gene, [each.params.get(name) for each in shown]) for name, gene in genes.items()]
    line = {"color": [_short(score) for score in scores], "colorscale": "@scale", "cmin": span[0], "cmax": span[1]}
    data = {
        "type": "parcoords",
        "line": line,
        "dimensions": [*dimensions, _score_dimension(metric, scores)],
        "labelangle": -25,
        "labelside": "top",
    }
    return {"data": [data], "layout": {"margin": {"l": 50, "r": 50, "t": 90, "b": 24}}}


def lineage(family: Sequence[IndividualRecord], metric: str) -> Figure:
    """The best individual and its ancestors, from left to right; thick lines lead to the main parent."""
    places = _places(family)
    data: list[Figure] = []
    for each in family:
        for rank, parent in enumerate(each.parents):
            if parent in places:
                data.append(_edge(places[parent], places[each.number], main=rank == 0))
    data.append(
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [places[each.number][0] for each in family],
            "y": [places[each.number][1] for each in family],
            "text": [f"#{each.number}" for each in family],
            "textposition": "top center",
            "hovertext": [_story(each, metric) for each in family],
            "hoverinfo": "text",
            "marker": {
                "opacity": 1,
                "size": [16 if index == 0 else 11 for index in range(len(family))],
                "color": ["@best" if index == 0 else "@dot" for index in range(len(family))],
                "line": {"width": 1.5, "color": "@surface"},
            },
        }
    )
    layout = _layout("", "")
    layout |= {"showlegend": False, "hovermode": "closest"}
    layout["xaxis"] |= {"visible": False}
    extent = 0.5 + max(_NARROW, *(abs(y) for _, y in places.values()))
    layout["yaxis"] |= {"visible": False, "range": [-extent, extent]}
    return {"data": data, "layout": layout}


def sample(individuals: Sequence[IndividualRecord], limit: int) -> list[IndividualRecord]:
    """At most `limit` of those with a fitness: the best quarter of that, the rest spread evenly over the search."""
    scored = [each for each in individuals if each.fitness is not None]
    if len(scored) <= limit:
        return scored
    ranked = sorted(scored, key=_fitness, reverse=True)
    leaders = {each.number for each in ranked[: limit // 4]}
    others = [each for each in scored if each.number not in leaders]
    step = len(others) / (limit - len(leaders))
    chosen = leaders | {others[int(index * step)].number for index in range(limit - len(leaders))}
    return [each for each in scored if each.number in chosen]


def _fitness(individual: IndividualRecord) -> float:
    return -math.inf if individual.fitness is None else individual.fitness


def _running_best(scored: Sequence[tuple[int, IndividualRecord]], end: int) -> Figure:
    x: list[float] = []
    y: list[float | None] = []
    best = -math.inf
    for order, each in scored:
        if _fitness(each) > best:
            best = _fitness(each)
            x.append(order)
            y.append(_short(best))
    if x:
        x.append(end)
        y.append(y[-1])
    return _line(x, y, "best so far", "@best", shape="hv")


def _failures(failed: Sequence[tuple[int, IndividualRecord]], floor: float) -> Figure:
    kinds = [each.failure.value.replace("_", " ") if each.failure else each.state.value for _, each in failed]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "failed",
        "x": [order for order, _ in failed],
        "y": [_short(floor)] * len(failed),
        "text": [f"individual {each.number}: {kind}" for (_, each), kind in zip(failed, kinds, strict=True)],
        "hoverinfo": "text",
        "marker": {"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": "@bad"}},
    }


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


def _layout(x: str, y: str) -> Figure:
    return {"xaxis": {"title": {"text": _safe(x)}}, "yaxis": {"title": {"text": _safe(y)}}}


def _whole_numbers(steps: int) -> Figure:
    return {"dtick": 1} if steps < _FEW_STEPS else {"tickformat": "d"}


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
        "label": _safe(name),
        "values": [_short(place) for place in places],
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
        "label": _safe(metric),
        "values": [_short(score) for score in scores],
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
    return value if isinstance(value, int | float) and not isinstance(value, bool) else _safe(compact(value))


def _places(family: Sequence[IndividualRecord]) -> dict[int, tuple[float, float]]:
    """Where to draw each: right of all its parents (who may be of its own generation), columns centred."""
    depths: dict[int, int] = {}
    columns: dict[int, list[int]] = {}
    for each in sorted(family, key=lambda each: each.number):
        depth = max((depths[parent] + 1 for parent in each.parents if parent in depths), default=0)
        depths[each.number] = depth
        columns.setdefault(depth, []).append(each.number)
    return {
        number: (float(depth), (len(members) - 1) / 2 - index + 0.15 * (depth % 2))
        for depth, members in columns.items()
        for index, number in enumerate(members)
    }


def _edge(start: tuple[float, float], end: tuple[float, float], *, main: bool) -> Figure:
    steps = [step / 24 for step in range(25)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [_short(start[0] + (end[0] - start[0]) * step) for step in steps],
        "y": [_short(start[1] + (end[1] - start[1]) * step**2 * (3 - 2 * step)) for step in steps],
        "line": {"color": "@line" if main else "@faint", "width": 2.2 if main else 1.2},
        "hoverinfo": "skip",
    }


def _story(individual: IndividualRecord, metric: str) -> str:
    lines = [
        f"individual {individual.number}, generation {individual.generation}",
        f"{_safe(metric)} {number(individual.fitness)}",
    ]
    by_origin: dict[str, list[str]] = {}
    for name, origin in individual.origins.items():
        by_origin.setdefault(origin.replace("inherited:", "from #"), []).append(name)
    for origin, names in by_origin.items():
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")  # noqa: PLR2004
        lines.append(f"{_safe(origin)}: {_safe(shown)}")
    return "<br>".join(lines)


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _safe(text: str) -> str:
    return html.escape(clean(text))
