"""The report's figure of where the best individual came from."""

from __future__ import annotations

from collections.abc import Sequence

from evolve.formatting import number, role_text
from evolve.ledger.records import IndividualRecord
from evolve.report.plot import Figure, axes, safe, short

_NARROW = 0.6


def lineage(family: Sequence[IndividualRecord], metric: str) -> Figure:
    """The best individual and its ancestors, from left to right; thick lines lead to the main parent."""
    where = places(family)
    data: list[Figure] = []
    for each in family:
        for rank, parent in enumerate(each.parents):
            if parent in where:
                data.append(_edge(where[parent], where[each.number], main=rank == 0))
    data.append(
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [where[each.number][0] for each in family],
            "y": [where[each.number][1] for each in family],
            "text": [f"#{each.number}" for each in family],
            "textposition": "top center",
            "hovertext": ["<br>".join(map(safe, story(each, metric))) for each in family],
            "hoverinfo": "text",
            "marker": {
                "opacity": 1,
                "size": [16 if index == 0 else 11 for index in range(len(family))],
                "color": ["@best" if index == 0 else "@dot" for index in range(len(family))],
                "symbol": ["square" if role_text(each) else "circle" for each in family],
                "line": {"width": 1.5, "color": "@surface"},
            },
        }
    )
    layout = axes("", "")
    layout |= {"showlegend": False, "hovermode": "closest"}
    layout["xaxis"] |= {"visible": False}
    extent = 0.5 + max(_NARROW, *(abs(y) for _, y in where.values()))
    layout["yaxis"] |= {"visible": False, "range": [-extent, extent]}
    return {"data": data, "layout": layout}


def places(family: Sequence[IndividualRecord]) -> dict[int, tuple[float, float]]:
    """Where to draw each: right of all its parents (who may be of its own generation), columns centred."""
    depths: dict[int, int] = {}
    columns: dict[int, list[int]] = {}
    for each in sorted(family, key=lambda each: each.number):
        depth = max((depths[parent] + 1 for parent in each.parents if parent in depths), default=0)
        depths[each.number] = depth
        columns.setdefault(depth, []).append(each.number)
    return {
        number: (float(depth), (len(members) - 1) / 2 - index + 0.35 * (depth % 2))
        for depth, members in columns.items()
        for index, number in enumerate(members)
    }


def _edge(start: tuple[float, float], end: tuple[float, float], *, main: bool) -> Figure:
    steps = [step / 24 for step in range(25)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [short(start[0] + (end[0] - start[0]) * step) for step in steps],
        "y": [short(start[1] + (end[1] - start[1]) * step**2 * (3 - 2 * step)) for step in steps],
        "line": {"color": "@line" if main else "@faint", "width": 2.2 if main else 1.2},
        "hoverinfo": "skip",
    }


def story(individual: IndividualRecord, metric: str) -> list[str]:
    """What there is to say of where an individual came from, a line each."""
    lines = [
        f"individual {individual.number}, generation {individual.generation}",
        f"{metric} {number(individual.fitness)}",
    ]
    if role := role_text(individual):
        lines.append(role)
    if individual.inherited_from is not None:
        lines.append(f"started from the weights of #{individual.inherited_from}")
    by_origin: dict[str, list[str]] = {}
    for name, origin in individual.origins.items():
        by_origin.setdefault(origin.replace("inherited:", "from #"), []).append(name)
    for origin, names in by_origin.items():
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")  # noqa: PLR2004
        lines.append(f"{origin}: {shown}")
    return lines
