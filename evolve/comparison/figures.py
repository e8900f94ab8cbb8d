"""The figures of a comparison: how the best rose with what was spent, and how fitness is spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from evolve.comparison.course import Axis, Course
from evolve.comparison.records import Comparison, Entry
from evolve.report.plot import Figure, axes, safe, short

COLOURS = ("@one", "@two", "@three", "@four", "@five", "@six", "@seven", "@eight")
_DASHES = ("solid", "dash", "dot", "dashdot")
_GRID = 300
_DOTS = 300
_UNITS = (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, float("inf")))


def figures_of(comparison: Comparison) -> dict[str, Figure]:
    """Every figure of the page, by id; none while no search has reached anything."""
    entries = [each for each in comparison.entries if each.course.rises]
    if not entries:
        return {}
    clock = comparison.budget.clock
    spent = "GPU time" if clock == "gpu_seconds" else "time in training"
    return {
        "trainings": rise_figure(comparison, entries, "trainings", "trainings"),
        "spent": rise_figure(comparison, entries, clock, spent),
        "wall": rise_figure(comparison, entries, "wall", "time since the start"),
        "spread": spread_figure(comparison, entries),
    }


def styles(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """A colour and a dash for each contender."""
    return {
        each.label: (COLOURS[index % len(COLOURS)], _DASHES[index // len(COLOURS) % len(_DASHES)])
        for index, each in enumerate(comparison.contenders)
    }


def rise_figure(comparison: Comparison, entries: Sequence[Entry], axis: Axis, title: str) -> Figure:
    """The best so far of each search against one axis, and the mean over the runs of a contender."""
    unit, scale = _unit(axis, max(_total(each.course, axis) for each in entries))
    runs: dict[str, list[Entry]] = {}
    for each in entries:
        runs.setdefault(each.contender, []).append(each)
    looks = styles(comparison)
    data: list[Figure] = []
    for contender, members in runs.items():
        alone = len(members) == 1
        for each in members:
            data.append(_trace(_steps(each.course, axis, scale), each.label, contender, looks, main=alone))
        if not alone:
            data.append(_mean(members, axis, scale, contender, looks))
    layout = axes(f"{title}{f' ({unit})' if unit else ''}", comparison.metric)
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"rangemode": "tozero"}
    mark = comparison.budget.axis
    if mark[0] == axis and mark[1]:
        layout["shapes"] = [_line_at(mark[1] / scale)]
    return {"data": data, "layout": layout}


def spread_figure(comparison: Comparison, entries: Sequence[Entry]) -> Figure:
    """A box for each search over the fitness of all its individuals, with dots spread evenly over their ranks."""
    looks = styles(comparison)
    data = [
        {
            "type": "box",
            "name": safe(each.label),
            "y": [short(value) for value in ranks(each.scores, _DOTS)],
            "boxpoints": "all",
            "jitter": 0.5,
            "pointpos": 0,
            "marker": {"color": looks[each.contender][0], "size": 3, "opacity": 0.35},
            "line": {"color": looks[each.contender][0], "width": 1.5},
            "fillcolor": "rgba(0,0,0,0)",
            "hoverinfo": "y",
        }
        for each in entries
    ]
    layout = axes("", comparison.metric)
    layout["showlegend"] = False
    layout["yaxis"] |= {"range": _upper_part(entries)}
    return {"data": data, "layout": layout}


def ranks(values: Sequence[float], limit: int) -> list[float]:
    """At most `limit` values that are spread like all of them: evenly by rank, with the lowest and the highest."""
    ordered = sorted(values)
    if len(ordered) <= limit:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (limit - 1))] for index in range(limit)]


def _upper_part(entries: Sequence[Entry]) -> tuple[float, float]:
    """All but the worst tenth of each search, which would press the rest together."""
    low = min(sorted(each.scores)[len(each.scores) // 10] for each in entries)
    high = max(max(each.scores) for each in entries)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _unit(axis: Axis, longest: float) -> tuple[str, float]:
    if axis == "trainings":
        return "", 1.0
    return next((unit, scale) for unit, scale, end in _UNITS if longest < end)


def _total(course: Course, axis: Axis) -> float:
    return float(getattr(course, axis))


def _steps(course: Course, axis: Axis, scale: float) -> list[tuple[float, float]]:
    steps = [(getattr(each, axis) / scale, each.fitness) for each in course.rises]
    return [*steps, (_total(course, axis) / scale, steps[-1][1])]


def _mean(
    members: Sequence[Entry], axis: Axis, scale: float, contender: str, looks: Mapping[str, tuple[str, str]]
) -> Figure:
    """The mean over the runs, as far as all of them go."""
    start = max(getattr(each.course.rises[0], axis) for each in members)
    end = min(_total(each.course, axis) for each in members)
    whole = axis == "trainings"
    size = min(_GRID, int(end - start) + 1) if whole else _GRID
    amounts = [start + (end - start) * index / max(1, size - 1) for index in range(max(1, size))]
    steps = []
    for amount in dict.fromkeys(round(each) if whole else each for each in amounts):
        reached = [value for each in members if (value := each.course.reached(axis, amount)) is not None]
        if len(reached) == len(members):
            steps.append((amount / scale, fmean(reached)))
    return _trace(steps, f"{contender}, mean of {len(members)}", contender, looks, main=True)


def _trace(
    steps: Sequence[tuple[float, float]],
    name: str,
    contender: str,
    looks: Mapping[str, tuple[str, str]],
    *,
    main: bool,
) -> Figure:
    colour, dash = looks[contender]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": safe(name),
        "legendgroup": safe(contender),
        "showlegend": main,
        "opacity": 1.0 if main else 0.4,
        "x": [short(x) for x, _ in steps],
        "y": [short(y) for _, y in steps],
        "line": {"color": colour, "dash": dash, "width": 2.4 if main else 1.1, "shape": "hv"},
        "hovertemplate": f"{safe(name)}<br>%{{y:.4f}} after %{{x:.4~g}}<extra></extra>",
    }


def _line_at(place: float) -> Figure:
    """Where the contenders are compared."""
    line = {"color": "@muted", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": place, "x1": place, "yref": "paper", "y0": 0, "y1": 1, "line": line}
