"""Eight workers, trials that differ tenfold in length: regret against simulated time, ours beside TPE and ASHA.

    python benchmarks/search_efficiency/asynchronous.py --bench PATH --seeds 0-4

`PATH` holds `bench.py`, an offline benchmark of search efficiency, and its sets. Nothing waits in real time: a
training takes 1 to 10 units, by its first numeric parameter, as a batch or a model size would have it. A slot is
idle while the search has nothing for it, and while it thinks; for that a mean training counts as ten minutes.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WORKERS = 8
TRAININGS = 100
"""Mean trainings that all workers together have time for."""
SHARES = (0.1, 0.25, 0.5, 1.0)
SECONDS = 600.0
SPREAD = 10.0
CONTENDERS = ("evolve", "evolve_full", "tpe", "asha")


class Tpe:
    """Optuna's TPE for many workers: multivariate, with constant liars."""

    def __init__(self, bench: Any, space: Any, full: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space, self._full, self._trials = space, full, {}
        self._suggest = bench.OPTS["tpe"]._suggest

    def ask(self) -> tuple[int, Mapping[str, Any], int]:
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return trial.number, self._suggest(self, trial), self._full

    @property
    def space(self) -> Any:
        return self._space

    def tell(self, key: int, config: Mapping[str, Any], length: int, score: float) -> None:
        self._study.tell(self._trials[key], score)


def make(name: str, bench: Any, instance: Any, seed: int) -> Any:
    """A contender."""
    if name == "tpe":
        return Tpe(bench, instance.space, instance.R, seed)
    return bench.OPTS[name](instance.space, instance.R, seed, TRAININGS)


def duration(space: Any, config: Mapping[str, Any]) -> float:
    """Units of time of a whole training: 1 to `SPREAD`, by the first numeric parameter that is always there."""
    first = next(each for each in space if each.kind != "cat" and each.cond is None)
    return float(SPREAD ** first.encode(config[first.name]))


def simulate(contender: Any, instance: Any) -> tuple[list[tuple[float, float]], float]:
    """The best score over time, as (time, score), and which share of the slots' time was idle."""
    end = TRAININGS / WORKERS * (SPREAD - 1) / np.log(SPREAD)
    free, busy = [(0.0, slot) for slot in range(WORKERS)], []
    trained: defaultdict[int, int] = defaultdict(int)
    best, curve, idle, order = -np.inf, [], 0.0, 0
    unit = SECONDS * np.log(SPREAD) / (SPREAD - 1)
    while free or busy:
        while free:
            now, slot = heapq.heappop(free)
            if now >= end:
                continue
            started = time.perf_counter()
            key, config, length = contender.ask()
            thought = (time.perf_counter() - started) / unit
            idle += min(thought, end - now)
            begun = trained[key] if instance.resumable else 0
            done = now + thought + duration(instance.space, config) * (length - begun) / instance.R
            heapq.heappush(busy, (done, order, slot, key, config, length))
            order += 1
        if not busy:
            break
        done, _, slot, key, config, length = heapq.heappop(busy)
        if done > end:
            continue
        trained[key] = length
        score = instance.score(config, length)
        if length == instance.R and score > best:
            best = score
            curve.append((done / end, score))
        contender.tell(key, config, length, score)
        heapq.heappush(free, (done, slot))
    return curve, idle / (WORKERS * end)


def regret(curve: list[tuple[float, float]], share: float, scale: Mapping[str, float]) -> float:
    """Where the curve stands: 0 for the best that is known, 1 for a random configuration."""
    reached = [score for at, score in curve if at <= share]
    if not reached:
        return 1.0
    return (scale["best"] - reached[-1]) / (scale["best"] - scale["median"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--set", default="sets/public.json")
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(arguments.bench.resolve()), str(Path(__file__).parent)]
    import bench

    described, data = bench.load_set(str(arguments.bench / arguments.set))
    instances = {name: bench.make_instance(name, data) for name in described["instances"]}
    low, high = map(int, arguments.seeds.split("-"))
    print(f"{'':14}" + "".join(f"{f'{share:.0%}':>9}" for share in SHARES) + f"{'idle':>9}")
    for name in arguments.contenders.split(","):
        found, idle = [], []
        for seed in range(low, high + 1):
            for place, instance in instances.items():
                curve, share = simulate(make(name, bench, instance, seed), instance)
                found.append([regret(curve, each, described["instances"][place]) for each in SHARES])
                idle.append(share)
        means = np.mean(found, axis=0)
        print(f"{name:14}" + "".join(f"{mean:9.3f}" for mean in means) + f"{np.mean(idle):9.2%}", flush=True)
        print(json.dumps({"contender": name, "regret": means.round(4).tolist(), "idle": float(np.mean(idle))}))


if __name__ == "__main__":
    main()
