"""Objectives that a worker process resolves by name: `objectives_for_tests:<function>`."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from evolve.trial import EpochReport, TrialResult, TrialSpec, TrialStream
from workers.synthetic import METRIC, SyntheticObjective


class Unpicklable(Exception):
    """Cannot leave its process, as it holds a lock."""

    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def raises_unpicklable(spec: TrialSpec) -> float:
    raise Unpicklable


def tells_its_temporary_folder(spec: TrialSpec) -> float:
    raise RuntimeError(tempfile.gettempdir())


def reports_unpicklable(spec: TrialSpec) -> TrialStream:
    yield EpochReport(1, 2, {"fitness": threading.Lock()}, 0.0)  # type: ignore[dict-item]
    return TrialResult({"fitness": 1.0})


def exits(spec: TrialSpec) -> float:
    raise SystemExit(3)


def cleans_up(spec: TrialSpec) -> Iterator[float]:
    """Report ten times a second until stopped; leave `cleaned` in its folder on the way out."""
    try:
        while True:
            time.sleep(0.1)
            yield 0.5
    finally:
        Path(spec.directory, "cleaned").touch()


def never_ends_its_epoch(spec: TrialSpec) -> Iterator[float]:
    yield 0.5
    time.sleep(600)


def starts_a_child(spec: TrialSpec) -> Iterator[float]:
    """Report the process id of a child that would live on for ten minutes."""
    with subprocess.Popen(["sleep", "600"]) as child:
        yield float(child.pid)
        time.sleep(600)


def meets_on_a_gpu(spec: TrialSpec) -> TrialResult:
    """Report 1 if another trial of the same folder runs at the same time, 0 after ten seconds alone."""
    folder = Path(spec.directory)
    (folder / f"{spec.individual}.here").touch()
    end = time.monotonic() + 10
    while len(list(folder.glob("*.here"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    met = len(list(folder.glob("*.here"))) > 1
    return TrialResult(
        {"met": float(met)}, effective={"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}
    )


def inheriting(spec: TrialSpec) -> TrialStream:
    """A synthetic training whose weights are the numbers of all individuals whose trainings went into them.

    Every training comes a little nearer to the value of its genes, so fitness depends on the whole line.
    """
    line: list[int] = [] if spec.weights == "none" else json.loads(Path(spec.weights).read_text())
    line.append(spec.individual)
    result = yield from SyntheticObjective().run(spec)
    weights = Path(spec.directory, "weights", "best.pt")
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_text(json.dumps(line))
    learnt = 1 - 0.5 ** len(line)
    return TrialResult({METRIC: learnt * result.metrics[METRIC]}, weights=str(weights), epochs=result.epochs)


class Inheriting:
    """`inheriting` as an objective; remembers what every attempt started from."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, int, str]] = []

    def run(self, spec: TrialSpec) -> TrialStream:
        self.starts.append((spec.individual, spec.attempt, spec.weights))
        return (yield from inheriting(spec))
