"""How much each gene decides: what the report and `evolve show` say of `evolve.importance`."""

from __future__ import annotations

from dataclasses import dataclass

from evolve.importance import Importance
from evolve.report.plot import Figure, axes, safe, short

MOST = 20
"""Genes that are drawn; the others explain next to nothing."""

_BAR, _FRAME = 24, 70  # pixels


@dataclass(frozen=True)
class Deciding:
    """The section of the report.

    Attributes:
        said: What there is to say, a plain sentence also where nothing can be said of the genes.
        height: Of the figure, in pixels; 0 without one.
    """

    said: str
    height: int


def deciding(found: Importance) -> Deciding:
    """The section for these findings."""
    shown = min(MOST, len(found.shares))
    hidden = len(found.shares) - shown
    more = f" {hidden} genes with smaller shares are not shown." if hidden else ""
    return Deciding(f"{found.said}{more}", _FRAME + _BAR * shown if shown else 0)


def importance_figure(found: Importance) -> Figure:
    """A bar for each gene, the longest on top."""
    shares = list(found.shares.items())[:MOST][::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [short(share) for _, share in shares],
        "y": [safe(name) for name, _ in shares],
        "text": [f"{share:.1%}" for _, share in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": "@dot"},
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }
    layout = axes("share of the differences in fitness", "")
    layout["xaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    layout["yaxis"] |= {"type": "category"}
    layout["margin"] = {"l": 8, "r": 48, "t": 8, "b": 40}
    return {"data": [bars], "layout": layout}
