"""The report's section of a search with several objectives: the front, and what it took to get there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evolve.fitness import MINIMISE
from evolve.formatting import compact
from evolve.ledger.records import IndividualRecord
from evolve.objectives import Objectives, figure
from evolve.overview import default_of
from evolve.pareto import Values, compared, front, hypervolume
from evolve.report.plot import Figure, axes, safe, short

MOST_ROWS = 40
MOST_DOTS = 2000
"""Individuals behind the front that are drawn, spread evenly over the search."""
MOST_LINES = 800
_PAIR = 2
_MANY = 10
"""Individuals of whom a tenth is somebody."""
_CHECKPOINTS = 40
_LARGEST_VOLUME = 200
"""Members of a front above which its volume is left out where there are three objectives; more have none at all."""


@dataclass(frozen=True)
class Traded:
    """The section.

    Attributes:
        said: What there is to say.
        head: Heading of the table.
        rows: Its rows: the front, and the default configuration if that is not in it. The flag marks the default.
        figures: `front`, and `volume` where it can be computed.
        zoomed: Whether the figure leaves out some at first.
    """

    said: str
    head: list[str]
    rows: list[tuple[list[str], bool]]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    zoomed: bool = False


def traded(
    objectives: Objectives, individuals: Sequence[IndividualRecord], genes: Sequence[str], best: int | None
) -> Traded | None:
    """The section of a search; None where it has no objectives, or nothing was evaluated yet.

    Args:
        objectives: Those of the search.
        individuals: All its individuals.
        genes: Names of the genes, for the table.
        best: The individual with the highest fitness.
    """
    known = compared(individuals)
    if not objectives or not known:
        return None
    members = front(known)
    default = default_of(individuals)
    default = default if default in known else None
    shown = members[:MOST_ROWS]
    if default is not None and default not in shown:
        shown = [*shown, default]
    marked = {"default": default.number if default else None, "highest fitness": best}
    figures = {"front": _front_figure(objectives, known, members, marked)}
    if len(objectives) == _PAIR or (len(objectives) == _PAIR + 1 and len(members) <= _LARGEST_VOLUME):
        figures["volume"] = _volume_figure(known)
    return Traded(
        said=_said(objectives, members, known, default),
        head=["#", *objectives.labels(), *genes],
        rows=[(_cells(objectives, each, genes, each is default), each is default) for each in shown],
        figures=figures,
        zoomed=len(objectives) == _PAIR and len(known) >= _MANY,
    )


def _said(
    objectives: Objectives,
    members: Sequence[IndividualRecord],
    known: Sequence[IndividualRecord],
    default: IndividualRecord | None,
) -> str:
    one = len(members) == 1
    place = "one of them" if default in members else "beaten by some of them"
    hidden = len(members) - MOST_ROWS
    lines = [
        f"No other individual beats {'this one' if one else f'these {len(members)}'} of {len(known):,} "
        f"in all of: {objectives}.",
        f"The default configuration is {place}.",
        *([f"Of the front, the table shows the first {MOST_ROWS}."] if hidden > 0 else []),
    ]
    return " ".join(lines)


def _cells(objectives: Objectives, each: IndividualRecord, genes: Sequence[str], is_default: bool) -> list[str]:
    values = ["off" if each.params.get(name) is None else compact(each.params[name]) for name in genes]
    number = f"{each.number} (default)" if is_default else str(each.number)
    return [number, *objectives.texts(each.objectives), *values]


def _front_figure(
    objectives: Objectives,
    known: Sequence[IndividualRecord],
    members: Sequence[IndividualRecord],
    marked: Mapping[str, int | None],
) -> Figure:
    inside = {each.number for each in members}
    others = [each for each in known if each.number not in inside]
    if len(objectives) == _PAIR:
        return _scatter(objectives, members, _spread(others, MOST_DOTS), marked)
    return _parallel(objectives, [*_spread(others, max(MOST_LINES - len(members), 0)), *members], inside)


def _spread(individuals: Sequence[IndividualRecord], limit: int) -> list[IndividualRecord]:
    if len(individuals) <= limit:
        return list(individuals)
    step = len(individuals) / limit if limit else 1.0
    return [individuals[int(index * step)] for index in range(limit)]


def _scatter(
    objectives: Objectives,
    members: Sequence[IndividualRecord],
    others: Sequence[IndividualRecord],
    marked: Mapping[str, int | None],
) -> Figure:
    """The first objective over the second, the front as the border of what was reached."""
    directions = list(objectives.directions.values())
    along = sorted(members, key=lambda each: objectives.unsigned(each.objectives)[1])
    step = "hv" if directions[1] == MINIMISE else "vh"
    data = [
        _dots(objectives, others, "beaten", {"size": 6, "color": "@line", "opacity": 0.5}),
        {
            **_dots(objectives, along, "front", {"size": 9, "color": "@best"}),
            "mode": "lines+markers",
            "line": {"shape": step, "width": 1.5, "color": "@best"},
        },
    ]
    for name, symbol, colour in (("default", "diamond", "@mean"), ("highest fitness", "star", "@gain")):
        found = [each for each in (*members, *others) if each.number == marked[name]]
        marker = {"size": 13, "color": colour, "symbol": symbol, "line": {"width": 1, "color": "@surface"}}
        data += [_dots(objectives, found, name, marker)] if found else []
    layout = axes(objectives.labels()[1], objectives.labels()[0])
    everyone = np.asarray([objectives.unsigned(each.objectives) for each in (*members, *others)], dtype=float)
    wanted = [*members, *(each for each in others if each.number == marked["default"])]
    shown = np.asarray([objectives.unsigned(each.objectives) for each in wanted], dtype=float)
    for place, (axis, way) in enumerate(zip(("yaxis", "xaxis"), directions, strict=True)):
        layout[axis]["title"]["text"] += " (less is better)" if way == MINIMISE else ""
        layout[axis]["range"] = _range(everyone[:, place], shown[:, place], way)
    return {"data": data, "layout": layout}


def _range(values: Values, always: Values, way: str) -> list[float | None]:
    """What to show of an axis at first: all but the worst tenth, and always the front and the default."""
    low, high = float(values.min()), float(values.max())
    if way == MINIMISE:
        high = max(float(np.quantile(values, 0.9)), float(always.max()))
    else:
        low = min(float(np.quantile(values, 0.1)), float(always.min()))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return [short(low - margin), short(high + margin)]


def _dots(
    objectives: Objectives, individuals: Sequence[IndividualRecord], name: str, marker: Mapping[str, Any]
) -> Figure:
    values = [objectives.unsigned(each.objectives) for each in individuals]
    first, second = map(safe, objectives.labels())
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [short(each[1]) for each in values],
        "y": [short(each[0]) for each in values],
        "customdata": [each.number for each in individuals],
        "marker": dict(marker),
        "hovertemplate": f"individual %{{customdata}}<br>{first} %{{y}}<br>{second} %{{x}}<extra>{name}</extra>",
    }


def _parallel(objectives: Objectives, shown: Sequence[IndividualRecord], inside: set[int]) -> Figure:
    """An axis for each objective with the better end on top; the front is drawn last, over the others."""
    columns = np.asarray([objectives.unsigned(each.objectives) for each in shown], dtype=float).T
    dimensions = []
    for label, way, values in zip(objectives.labels(), objectives.directions.values(), columns, strict=True):
        low, high = float(values.min()), float(values.max())
        ends = [low, high] if low < high else [low - 0.5, high + 0.5]
        ticks = [float(tick) for tick in np.linspace(ends[0], ends[1], 5)]
        dimensions.append(
            {
                "label": safe(label),
                "values": [short(float(value)) for value in values],
                "range": ends[::-1] if way == MINIMISE else ends,
                "tickvals": ticks,
                "ticktext": [figure(tick) for tick in ticks],
            }
        )
    line = {"color": [float(each.number in inside) for each in shown], "colorscale": "@scale", "cmin": 0, "cmax": 1}
    data = {"type": "parcoords", "line": line, "dimensions": dimensions, "labelside": "top"}
    return {"data": [data], "layout": {"margin": {"l": 70, "r": 70, "t": 60, "b": 24}}}


def _volume_figure(known: Sequence[IndividualRecord]) -> Figure:
    """How much of what the last front covers was covered before: its volume above the worst of each objective."""
    history = sorted(known, key=lambda each: each.told if each.told is not None else each.number)
    values = np.asarray([each.objectives for each in history], dtype=float)
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    # a little beyond the worst, so that the ends of the front count as well
    reference = [-0.05] * values.shape[1]
    places = sorted({round(place) for place in np.linspace(1, len(values), min(len(values), _CHECKPOINTS))})
    volumes = [hypervolume(scaled[:place], reference) for place in places]
    curve = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "volume",
        "x": places,
        "y": [short(volume / volumes[-1]) for volume in volumes],
        "line": {"shape": "hv", "color": "@mean"},
        "marker": {"size": 5, "color": "@mean"},
        "hovertemplate": "after %{x} evaluations: %{y:.1%}<extra></extra>",
    }
    layout = axes("evaluation", "share of the final volume")
    layout["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return {"data": [curve], "layout": layout | {"showlegend": False}}
