"""Several searches side by side: the best so far, over what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.dashboard.charts.base import Options, axis, figure, legend, line, rounded, short, tooltip, upright
from evolve.ledger.records import IndividualRecord
from evolve.ledger.times import TrialTimes

HOUR = 3600.0
COLORS = 8
_STEPS = 400


@dataclass(frozen=True)
class Race:
    """How one search improved.

    Attributes:
        name: What the legend calls it.
        color: Which of the colours, from 1.
        points: What was spent by then, and the best so far.
        default: Fitness of its default configuration.
    """

    name: str
    color: int
    points: Sequence[tuple[float, float]]
    default: float | None


def over_evaluations(individuals: Sequence[IndividualRecord]) -> list[tuple[float, float]]:
    """The best so far after each verdict."""
    told = sorted((each for each in individuals if each.told is not None), key=lambda each: each.told or 0)
    return _improvements([(float((each.told or 0) + 1), each.fitness) for each in told])


def over_hours(
    individuals: Sequence[IndividualRecord], times: Sequence[TrialTimes], *, gpu: bool
) -> list[tuple[float, float]]:
    """The best so far over the hours that all trials together had taken when it was found.

    Args:
        individuals: Of the search.
        times: Of its trials.
        gpu: Whether to count GPU time; the time of trials otherwise.
    """
    fitness = {each.number: each.fitness for each in individuals}
    ended = sorted(
        (each for each in times if each.finished_at is not None), key=lambda each: each.finished_at or 0.0
    )
    spent = 0.0
    steps: list[tuple[float, float | None]] = []
    for each in ended:
        spent += each.gpu_seconds if gpu else each.seconds
        steps.append((spent / HOUR, fitness.get(each.individual)))
    return _improvements(steps)


def race_figure(races: Sequence[Race], x: str) -> Options:
    """A line for each search; it ends where the search stands."""
    made = figure()
    made["legend"] = legend([race.name for race in races])
    made["tooltip"] = tooltip("shared", "axis")
    made["xAxis"] = axis(x, min=0, max="dataMax")
    made["yAxis"] = upright() | _bounds(races)
    made["series"] = [_line(race) for race in races]
    return made


def _bounds(races: Sequence[Race]) -> Options:
    """From the lowest default to the highest best: what came below the default at first says nothing."""
    highest = [race.points[-1][1] for race in races if race.points]
    if not highest:
        return {}
    starts = [race.points[0][1] if race.default is None else race.default for race in races if race.points]
    return rounded(min(starts), max(highest))


def _line(race: Race) -> Options:
    color = f"@series{(race.color - 1) % COLORS + 1}"
    made = line(race.name, [(short(x), short(y)) for x, y in race.points], color, step="end", width=2.2)
    if race.points:
        end = race.points[-1]
        made["markPoint"] = {
            "silent": True,
            "symbol": "circle",
            "symbolSize": 7,
            "data": [{"coord": [short(end[0]), short(end[1])]}],
            "label": {"show": False},
            "itemStyle": {"color": color},
        }
    return made


def _improvements(steps: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """The steps at which the best so far rose, and the last one."""
    found: list[tuple[float, float]] = []
    best: float | None = None
    for x, fitness in steps:
        if fitness is not None and (best is None or fitness > best):
            best = fitness
            found.append((x, best))
    if found and best is not None and steps[-1][0] > found[-1][0]:
        found.append((steps[-1][0], best))
    return found[-_STEPS:]
