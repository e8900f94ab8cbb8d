"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.dashboard.charts.base import Options, axis, figure, legend, line, rounded, short, tooltip, upright

_COLORS = ("@best", "@series3", "@series4", "@series5")


@dataclass(frozen=True)
class Curve:
    """A metric over the epochs.

    Attributes:
        name: What the legend calls it.
        points: Epoch and value.
        reference: Whether it is there to compare with.
    """

    name: str
    points: Sequence[tuple[int, float]]
    reference: bool = False


def epoch_figure(curves: Sequence[Curve]) -> Options:
    """Curves over the epochs; those to compare with are thin."""
    made = figure()
    values = [value for curve in curves for _, value in curve.points]
    made["legend"] = legend([curve.name for curve in curves])
    made["tooltip"] = tooltip("shared", "axis")
    made["xAxis"] = axis("epoch", minInterval=1, min="dataMin", max="dataMax")
    made["yAxis"] = upright() | (rounded(min(values), max(values)) if values else {})
    own = 0
    for curve in curves:
        points = [(epoch, short(value)) for epoch, value in curve.points]
        if curve.reference:
            color = "@mean" if curve.name.startswith("default") else "@muted"
            made["series"].append(line(curve.name, points, color, width=1.2, dash="dashed"))
        else:
            color = _COLORS[own % len(_COLORS)]
            own += 1
            made["series"].append(line(curve.name, points, color, width=2.4, showSymbol=len(points) < 30, z=5))  # noqa: PLR2004
    return made
