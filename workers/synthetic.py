"""An objective with a known optimum, for tests and benchmarks: instant, and deterministic in the genes.

The value is 1 where every gene stands at its optimum and falls towards 0 away from it. `spec.settings` may
hold:

- `epochs`: reports before the result; 1 unless given.
- `optimum`: gene -> best value. Numbers that are not listed have theirs at 0.7; other values do not matter.
- `width`: gene -> width of its range, by which distances are divided; 1 unless given.
- `ruggedness`: height of the ripples that make local optima; 0 unless given.
- `noise`: standard deviation of the noise of a seed; 0 unless given.
- `delay`: seconds of an epoch; 0 unless given.
- `failures`: individual -> `diverge`, `oom`, `data`, `crash`, `hang` or `exit`, in the last epoch; with a
  suffix such as `exit:2` only the first two attempts fail.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Mapping
from typing import Any

from evolve.trial import EpochReport, FailureKind, Json, TrialFailed, TrialResult, TrialSpec, TrialStream

METRIC = "metrics/mAP50-95(B)"
OPTIMUM = 0.7
STEEPNESS = 8.0
LEARNING_RATE = 3.0


class SyntheticObjective:
    """See the module's docstring."""

    def run(self, spec: TrialSpec) -> TrialStream:
        """Report `epochs` times along a saturating curve that ends at the value of `spec.params`."""
        started = time.monotonic()
        settings: Mapping[str, Any] = spec.settings
        epochs = int(settings.get("epochs", 1))
        final = _noisy(quality(spec.params, settings), float(settings.get("noise", 0.0)), spec.seed)
        for epoch in range(1, epochs + 1):
            time.sleep(float(settings.get("delay", 0.0)))
            if epoch == epochs:
                _fail(spec, epoch)
            yield EpochReport(epoch, epochs, {METRIC: final * _learnt(epoch, epochs)}, time.monotonic() - started)
        return TrialResult(
            metrics={METRIC: final},
            effective=dict(spec.params),
            epochs=epochs,
            seconds=time.monotonic() - started,
        )


def quality(params: Mapping[str, Json], settings: Mapping[str, Any]) -> float:
    """The noiseless value of a point, in [0, 1]; 1 only at the optimum."""
    optimum: Mapping[str, Json] = settings.get("optimum", {})
    width: Mapping[str, float] = settings.get("width", {})
    losses = [
        _loss(value, optimum.get(name), float(width.get(name, 1.0)), float(settings.get("ruggedness", 0.0)))
        for name, value in params.items()
    ]
    return math.exp(-sum(losses) / len(losses)) if losses else 1.0


def _loss(value: Json, optimum: Json, width: float, ruggedness: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0 if optimum is None or value == optimum else 1.0
    target = optimum if isinstance(optimum, int | float) else OPTIMUM
    distance = (value - target) / width
    return STEEPNESS * distance**2 + ruggedness * math.sin(6 * math.pi * distance) ** 2


def _noisy(value: float, sigma: float, seed: int) -> float:
    noise = random.Random(seed).gauss(0.0, sigma) if sigma else 0.0  # noqa: S311 - noise, not a secret
    return min(max(value + noise, 0.0), 1.0)


def _learnt(epoch: int, epochs: int) -> float:
    """Share of the final value that is reached after `epoch` epochs; 1 in the last."""
    return math.expm1(-LEARNING_RATE * epoch / epochs) / math.expm1(-LEARNING_RATE)


def _fail(spec: TrialSpec, epoch: int) -> None:
    failures = spec.settings.get("failures")
    wanted = failures.get(str(spec.individual)) if isinstance(failures, dict) else None
    kind, _, attempts = str(wanted or "").partition(":")
    if not kind or (attempts and spec.attempt > int(attempts)):
        return
    match kind:
        case "diverge":
            raise TrialFailed(FailureKind.DIVERGED, f"the loss is nan in epoch {epoch}", epoch=epoch)
        case "oom":
            raise TrialFailed(FailureKind.OUT_OF_MEMORY, "the accelerator is out of memory", epoch=epoch)
        case "data":
            raise TrialFailed(FailureKind.DATA, "an image cannot be read", epoch=epoch)
        case "crash":
            raise RuntimeError("injected crash")
        case "hang":
            while True:
                time.sleep(3600)
        case "exit":
            os._exit(1)
        case _:
            raise ValueError(f"unknown failure {kind!r}")
