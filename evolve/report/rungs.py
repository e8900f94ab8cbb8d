"""The report's section of the rungs: who was stopped there, and whether that tells anything of whole trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evolve.report.plot import Figure, axes, safe, short
from evolve.rung_agreement import Agreement, Pair, Rung, Why
from evolve.rung_table import HEAD, Line, caveat, correlation_text, rung_label, rung_lines, saved_text

MOST_DOTS = 1000
"""Of a kind and a rung, spread evenly over the search."""

_MARKERS: Mapping[Why, Mapping[str, Any]] = {
    Why.PASSED: {"size": 8, "color": "@dot"},
    Why.LATER: {"size": 6, "color": "@line", "opacity": 0.55},
    Why.CONTROL: {"size": 9, "color": "@best", "symbol": "square"},
    Why.DEFAULT: {"size": 12, "color": "@gain", "symbol": "diamond"},
}


@dataclass(frozen=True)
class Judged:
    """The section.

    Attributes:
        said: What there is to say.
        head: Heading of the table.
        lines: A row for each rung.
        titles: Of the figures, by their ids.
        figures: One for each rung that somebody passed and was trained to the end.
    """

    said: str
    head: Sequence[str]
    lines: Sequence[Line]
    titles: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)


def judged(found: Agreement | None, metric: str) -> Judged | None:
    """The section of a search; None where it has no rungs, or nobody has reached one yet."""
    if found is None:
        return None
    drawn = {f"rung-{index}": each for index, each in enumerate(found.rungs) if each.pairs}
    return Judged(
        said=f"{saved_text(found)} {caveat(found)}",
        head=HEAD,
        lines=rung_lines(found),
        titles={key: _title(found.over, each) for key, each in drawn.items()},
        figures={key: _figure(found.over, each, metric) for key, each in drawn.items()},
    )


def _title(over: str, rung: Rung) -> str:
    said = "" if rung.correlation is None else f": {correlation_text(rung.correlation)}"
    return f"{rung_label(over, rung.level).capitalize()}{said}"


def _figure(over: str, rung: Rung, metric: str) -> Figure:
    """The value at the rung against that of the whole training; below, those without one."""
    data = [
        _dots(_spread(found), why, metric)
        for why in _MARKERS
        if (found := [pair for pair in rung.pairs if pair.why is why])
    ]
    layout = axes(f"{metric} at {rung_label(over, rung.level)}", f"{metric} in the end")
    if rung.waiting:
        data.append(_rug([value for _, value in _spread(rung.waiting)], [n for n, _ in _spread(rung.waiting)]))
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    return {"data": data, "layout": layout}


def _dots(pairs: Sequence[Pair], why: Why, metric: str) -> Figure:
    name = {Why.CONTROL: "controls", Why.LATER: "later ones"}.get(why, str(why))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [short(pair.value) for pair in pairs],
        "y": [short(pair.fitness) for pair in pairs],
        "customdata": [pair.number for pair in pairs],
        "marker": dict(_MARKERS[why]),
        "hovertemplate": f"individual %{{customdata}}<br>at the rung %{{x}}<br>{safe(metric)} %{{y}}"
        f"<extra>{name}</extra>",
    }


def _rug(values: Sequence[float], numbers: Sequence[int]) -> Figure:
    """What is known of those without a whole training: their value at the rung, as ticks on the axis."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "no whole training",
        "yaxis": "y2",
        "x": [short(value) for value in values],
        "y": [0.025] * len(values),
        "customdata": list(numbers),
        "marker": {"size": 10, "color": "@line", "symbol": "line-ns-open", "line": {"width": 1.5}},
        "hovertemplate": "individual %{customdata}<br>at the rung %{x}<extra>no whole training</extra>",
    }


def _spread(found: Sequence[Any]) -> Sequence[Any]:
    step = len(found) / MOST_DOTS
    return found if step <= 1 else [found[int(index * step)] for index in range(MOST_DOTS)]
