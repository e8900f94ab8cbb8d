"""Which worker trained what, and how busy it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard.charts.base import Options, axis, figure, tooltip
from evolve.ledger.times import TrialTimes
from evolve.trial import TrialState

SHOWN = 300
"""Trials in the figure, the newest ones."""

_COLORS = {
    TrialState.COMPLETED: "@mean",
    TrialState.STOPPED: "@mean",
    TrialState.RUNNING: "@best",
    TrialState.FAILED: "@bad",
    TrialState.INTERRUPTED: "@faint",
}


@dataclass(frozen=True)
class WorkerUse:
    """What one worker did.

    Attributes:
        worker: Its name.
        trials: How many it trained.
        failed: How many of them failed.
        busy: Seconds in training.
        gpu_seconds: The same in GPU time.
        share: Of the time between the first and the last of all trials.
    """

    worker: str
    trials: int
    failed: int
    busy: float
    gpu_seconds: float
    share: float


def worker_use(times: Sequence[TrialTimes], now: float) -> list[WorkerUse]:
    """Every worker of a search, the busiest first.

    Args:
        times: Of its trials.
        now: Seconds since the epoch, for trials that have not ended.
    """
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    failed: defaultdict[str, int] = defaultdict(int)
    gpu: defaultdict[str, float] = defaultdict(float)
    for each in times:
        if each.started_at is not None and each.worker:
            spans[each.worker].append((each.started_at, each.finished_at or max(now, each.started_at)))
            failed[each.worker] += each.state is TrialState.FAILED
            gpu[each.worker] += each.gpu_seconds
    if not spans:
        return []
    first = min(start for found in spans.values() for start, _ in found)
    last = max(end for found in spans.values() for _, end in found)
    made = [
        WorkerUse(
            worker,
            len(found),
            failed[worker],
            sum(end - start for start, end in found),
            gpu[worker],
            _covered(found) / (last - first or 1.0),
        )
        for worker, found in spans.items()
    ]
    return sorted(made, key=lambda each: (-each.busy, each.worker))


def worker_figure(times: Sequence[TrialTimes], now: float, href: str) -> Options:
    """A row for each worker with a bar for each trial, over the seconds since the first one shown.

    Args:
        times: Of the trials of a search.
        now: Seconds since the epoch, for trials that have not ended.
        href: Where a click leads; the number of the individual is added.
    """
    shown = [each for each in times if each.started_at is not None and each.worker][-SHOWN:]
    workers = sorted({each.worker for each in shown})
    first = min((each.started_at or 0.0 for each in shown), default=0.0)
    made = figure(top=6, left=12, right=26)
    made["tooltip"] = tooltip("lines")
    end = max((each.finished_at or now for each in shown), default=first) - first
    made["xAxis"] = axis("time since the first trial shown", min=0, max=round(end, 1), interval=_step(end)) | {
        "axisLabel": {"formatter": "clock", "color": "@muted", "fontSize": 11, "hideOverlap": True}
    }
    made["yAxis"] = axis(kind="category", data=[_brief(worker) for worker in workers], inverse=True) | {
        "axisLine": {"show": False},
        "axisLabel": {"color": "@ink", "fontSize": 11},
    }
    rows = {worker: index for index, worker in enumerate(workers)}
    made["series"] = [
        {
            "id": "trials",
            "type": "custom",
            "renderItem": "span",
            "encode": {"x": [1, 2], "y": 0},
            "data": [_bar(each, rows[each.worker], first, now, href) for each in shown],
            "cursor": "pointer",
            "clip": True,
        }
    ]
    return made


def _bar(times: TrialTimes, row: int, first: float, now: float, href: str) -> dict[str, Any]:
    start = (times.started_at or first) - first
    end = (times.finished_at or max(now, times.started_at or 0.0)) - first
    return {
        "value": [row, round(start, 2), round(end, 2)],
        "itemStyle": {"color": _COLORS.get(times.state, "@faint"), "opacity": 0.85},
        "href": f"{href}{times.individual}",
        "tip": [
            f"individual {times.individual}, attempt {times.attempt}",
            f"{times.state.value}, {end - start:.1f} s",
            times.worker,
        ],
    }


def _step(seconds: float) -> float:
    """A round time that fits about six times into these seconds."""
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    return next((step for step in steps if step * 6 >= seconds), round(seconds / 6 / 86400 + 0.5) * 86400)


def _brief(worker: str) -> str:
    return worker if len(worker) <= 24 else f"…{worker[-22:]}"  # noqa: PLR2004


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds in which at least one of these was going on: a worker of half a GPU may hold two at once."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
