"""Searches with different seeds and algorithms in a real ledger, to be compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from evolve.ledger import Ledger, SearchState
from evolve.trial import Failure, FailureKind, TrialState
from ledger_fixtures import METRIC, attempt_of, newborn, result
from sample_searches import DEFAULTS, DOCUMENT

Curve = Callable[[int, random.Random], float]


def rising(height: float) -> Curve:
    """Fitness that tends towards `height`, with noise."""
    return lambda number, rng: height - 0.1 / (1 + number / 4) + rng.gauss(0, 0.004)


GENTLE = rising(0.5)


def enter(
    ledger: Ledger,
    name: str,
    *,
    algorithm: str | None = None,
    seed: int = 0,
    size: int = 20,
    curve: Curve = GENTLE,
    fails: Sequence[int] = (),
    state: SearchState | None = SearchState.COMPLETED,
    data_hash: str = "9b1c" * 16,
    gpu_seconds: float = 2.0,
    **changes: object,
) -> str:
    """Write a whole search, and return its id; `changes` are parts of its document."""
    settings = {**DOCUMENT["search"], "seed": seed, **({"algorithm": algorithm} if algorithm else {})}
    settings.update(changes.pop("search", {}))
    record = ledger.create_search(
        name=name,
        document={**DOCUMENT, "name": name, "search": settings, **changes},
        objective="yolo12",
        options={},
        environment={},
        directory=f"/runs/{name}",
        data_hash=data_hash,
    )
    rng = random.Random(f"{algorithm} {seed} {name}")
    lease = ledger.acquire(record.id)
    with lease.transaction() as writing:
        writing.start(resumed=False)
        for number in range(size):
            params = (
                {**DEFAULTS, "lr0": 10 ** rng.uniform(-4, -1), "cos_lr": rng.random() < 0.5} if number else DEFAULTS
            )
            writing.propose(replace(newborn(record.id, number, number // 8), params=params))
            writing.submit(attempt_of(record.id, number))
            writing.started(number, 1, "box/gpu0")
            if number in fails:
                failure = Failure(FailureKind.DIVERGED, "loss is NaN", "")
                writing.failed(number, 1, failure, retry=False)
                writing.evaluated(number, state=TrialState.FAILED, fitness=None, failure=FailureKind.DIVERGED)
                continue
            fitness = curve(number, rng)
            writing.completed(number, 1, replace(result(fitness), gpu_seconds=gpu_seconds))
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=fitness, metrics={METRIC: fitness})
    if state is not None:
        lease.release(state, "done")
    return record.id
