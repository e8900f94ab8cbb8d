"""Where an individual came from."""

from __future__ import annotations

from collections.abc import Sequence

from api.dashboard.charts.base import Options, tooltip
from evolve.formatting import number
from evolve.ledger.records import IndividualRecord
from evolve.report.lineage import places, story


def lineage_figure(family: Sequence[IndividualRecord], metric: str, href: str) -> Options:
    """An individual (the first) and its ancestors, from left to right; thick lines lead to the main parent.

    Args:
        family: The individual, then its ancestors.
        metric: What the fitness is called.
        href: Where a click leads; the number of the individual is added.
    """
    where = places(family)
    newest = family[0].number if family else -1
    nodes = [
        {
            "id": str(each.number),
            "name": f"#{each.number}",
            "value": [where[each.number][0], where[each.number][1]],
            "symbolSize": 22 if each.number == newest else 14,
            "itemStyle": {"color": "@best" if each.number == newest else "@dot"},
            "label": {"formatter": f"#{each.number}\n{number(each.fitness, 3)}"},
            "tip": story(each, metric),
            "href": f"{href}{each.number}",
        }
        for each in family
    ]
    edges = [
        {
            "source": str(parent),
            "target": str(each.number),
            "lineStyle": {"width": 2.2 if rank == 0 else 1, "color": "@line" if rank == 0 else "@faint"},
        }
        for each in family
        for rank, parent in enumerate(each.parents)
        if parent in where
    ]
    wide = max((x for x, _ in where.values()), default=0.0)
    high = max((abs(y) for _, y in where.values()), default=0.0) + 0.35
    return {
        "grid": {"left": 30, "right": 40, "top": 14, "bottom": 34},
        "xAxis": {"show": False, "min": 0, "max": max(wide, 1)},
        "yAxis": {"show": False, "min": -high, "max": high},
        "tooltip": tooltip("lines"),
        "series": [
            {
                "id": "family",
                "type": "graph",
                "coordinateSystem": "cartesian2d",
                "data": nodes,
                "links": edges,
                "cursor": "pointer",
                "label": {
                    "show": True,
                    "position": "bottom",
                    "color": "@muted",
                    "fontSize": 11,
                    "lineHeight": 13,
                    "textBorderColor": "@surface",
                    "textBorderWidth": 3,
                },
                "labelLayout": {"hideOverlap": True},
                "itemStyle": {"borderColor": "@surface", "borderWidth": 1.5},
                "lineStyle": {"curveness": 0.12, "opacity": 1},
                "emphasis": {"focus": "adjacency", "lineStyle": {"color": "@mean"}},
            }
        ],
    }
