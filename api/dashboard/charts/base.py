"""What all figures share: axes, legends, tooltips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

Options: TypeAlias = dict[str, Any]

SMALL, NORMAL = 11, 12


def figure(*, left: int = 8, right: int = 14, top: int = 34, bottom: int = 6, name_room: bool = True) -> Options:
    """An empty figure whose axis labels always fit; `name_room` leaves room for the name below the axis."""
    return {
        "grid": {
            "left": left,
            "right": right,
            "top": top,
            "bottom": bottom + (22 if name_room else 0),
            "containLabel": True,
        },
        "tooltip": tooltip("lines"),
        "series": [],
    }


def tooltip(function: str, trigger: str = "item") -> Options:
    """A tooltip that a function of chart.js fills."""
    shown: Options = {
        "trigger": trigger,
        "formatter": function,
        "confine": True,
        "backgroundColor": "@surface",
        "borderColor": "@rule",
        "padding": [6, 10],
        "textStyle": {"color": "@ink", "fontSize": NORMAL},
        "extraCssText": "box-shadow: 0 2px 10px rgba(0,0,0,.14); line-height: 1.45;",
    }
    if trigger == "axis":
        shown["axisPointer"] = {"type": "line", "lineStyle": {"color": "@faint"}, "label": {"show": False}}
    return shown


def axis(name: str = "", *, kind: str = "value", small: bool = False, **more: Any) -> Options:
    """A horizontal axis with its name below it."""
    made: Options = {
        "type": kind,
        "name": name,
        "nameLocation": "middle",
        "nameGap": 28,
        "nameTextStyle": {"color": "@muted", "fontSize": NORMAL},
        "axisLine": {"show": True, "lineStyle": {"color": "@faint"}},
        "axisTick": {"show": False},
        "axisLabel": {"color": "@muted", "fontSize": SMALL if small else NORMAL, "hideOverlap": True},
        "splitLine": {"show": False, "lineStyle": {"color": "@rule"}},
    }
    return made | more


def upright(name: str = "", *, kind: str = "value", small: bool = False, **more: Any) -> Options:
    """A vertical axis with its name above it."""
    made = axis(name, kind=kind, small=small)
    made |= {
        "nameLocation": "end",
        "nameGap": 14,
        "nameTextStyle": {"color": "@muted", "fontSize": NORMAL, "align": "left", "padding": [0, 0, 0, -24]},
        "axisLine": {"show": False},
        "splitLine": {"show": True, "lineStyle": {"color": "@rule"}},
        "splitNumber": 3 if small else 4,
    }
    return made | more


def legend(names: Iterable[str]) -> Options:
    """A legend above the figure, at its right."""
    return {
        "data": [{"name": name} for name in names],
        "top": 0,
        "right": 8,
        "type": "scroll",
        "icon": "roundRect",
        "itemWidth": 10,
        "itemHeight": 13,  # a scrolling legend is cut to this height, texts too
        "textStyle": {"color": "@muted", "fontSize": NORMAL},
        "inactiveColor": "@faint",
        "pageIconColor": "@muted",
        "pageTextStyle": {"color": "@muted"},
    }


def line(
    name: str, points: Sequence[Sequence[float | None]], color: str, *, width: float = 2, **more: Any
) -> Options:
    """A line without dots."""
    made: Options = {
        "id": name,
        "name": name,
        "type": "line",
        "data": [list(point) for point in points],
        "showSymbol": False,
        "symbolSize": 5,
        "lineStyle": {"color": color, "width": width, "type": more.pop("dash", "solid")},
        "itemStyle": {"color": color},
        "emphasis": {"disabled": True},
    }
    return made | more


def short(value: float | None) -> float | None:
    """Five significant digits, which no eye can tell from more."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def rounded(low: float, high: float, steps: int = 5) -> Options:
    """`min`, `max` and `interval` of an axis around what lies between, all of them round numbers."""
    span = high - low or abs(high) * 0.1 or 1.0
    rough = span / steps
    power: float = 10.0 ** math.floor(math.log10(rough))
    interval = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    lowest, highest = math.floor(low / interval), math.ceil(high / interval)
    made = {"min": lowest * interval, "max": max(highest, lowest + 1) * interval, "interval": interval}
    return {name: float(f"{value:.8g}") for name, value in made.items()}
