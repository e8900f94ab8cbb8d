"""Does the cost of the search itself stay level over 10,000 evaluations?

Runs the very runner, genetic algorithm and ledger (SQLite on this disk) of `evolve run` on the instant synthetic
objective: inline, and through Ray with two warm actors. Training costs nothing here, so what is measured is what
the runner and the ledger add to every training. Offspring are not screened: `search_efficiency/cost.py` measures
what that costs.

    python benchmarks/scale.py
    python benchmarks/scale.py --mode ray --evaluations 2000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from evolve.dispatch import Dispatcher, InlineDispatcher, TrialEvent
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger
from evolve.runner import Runner
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate
from evolve.trial import TrialSpec
from workers.synthetic import METRIC, SyntheticObjective

POPULATION = 50
WINDOW = 1000
OBJECTIVE = "workers.synthetic:SyntheticObjective"


class Metered:
    """Passes everything on to a dispatcher, and notes time and memory at every submission."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._process = psutil.Process()
        self.times: list[float] = []
        self.memory: list[int] = []

    @property
    def slots(self) -> int:
        return self._dispatcher.slots

    def submit(self, spec: TrialSpec) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) % WINDOW == 0:
            self.memory.append(self._process.memory_info().rss)
        self._dispatcher.submit(spec)

    def events(self, timeout: float) -> list[TrialEvent]:
        return self._dispatcher.events(timeout)

    def stop(self, trial_id: str) -> None:
        self._dispatcher.stop(trial_id)

    def close(self) -> None:
        self._dispatcher.close()


def space(evaluations: int) -> SearchSpace:
    gene = {"type": "float", "low": 0, "high": 1, "default": 0.2}
    document = {
        "name": "scale",
        "fitness": METRIC,
        "train": {"epochs": 1, "ruggedness": 0.3},
        "genes": {f"x{number}": gene for number in range(12)},
        "search": {"population": POPULATION, "generations": evaluations // POPULATION, "screening": 1},
    }
    return SearchSpace.from_document(document, "scale")


def dispatcher_for(mode: str) -> Dispatcher:
    if mode == "inline":
        return InlineDispatcher(SyntheticObjective())
    from workers.ray_dispatcher import RayDispatcher

    return RayDispatcher(OBJECTIVE, workers=2, recycle_after=1_000_000)


def measure(mode: str, evaluations: int, folder: Path) -> dict[str, object]:
    """Run a whole search; rates in evaluations a second, memory in MB."""
    searched = space(evaluations)
    dispatcher = Metered(dispatcher_for(mode))
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        search = ledger.create_search(
            name="scale",
            document=searched.document(),
            objective=OBJECTIVE,
            options={},
            environment={},
            directory=str(folder),
            data_hash="",
        )
        template = SpecTemplate(search.id, folder, searched.train, "", "none", "", 0)
        with LeaseKeeper(ledger.acquire(search.id)) as keeper:
            runner = Runner(
                space=searched,
                algorithm=GeneticSearch(searched),
                dispatcher=dispatcher,
                ledger=ledger,
                keeper=keeper,
                template=template,
            )
            runner.run()
        best = ledger.search(search.id).best_fitness
    times, window = dispatcher.times, min(WINDOW, evaluations // 3)
    first, last = times[window] - times[0], times[-1] - times[-1 - window]
    memory = [round(each / 1e6, 1) for each in dispatcher.memory]
    return {
        "mode": mode,
        "evaluations": evaluations,
        "per_second": round((len(times) - 1) / (times[-1] - times[0]), 1),
        "last_window_over_first": round(last / first, 3),
        "memory_mb_first_last": [memory[0], memory[-1]] if memory else None,
        "memory_growth": round(memory[-1] / memory[0] - 1, 4) if memory else None,
        "best_fitness": best,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=["inline", "ray"], action="append")
    parser.add_argument("--evaluations", type=int, default=10_000)
    options = parser.parse_args()
    for mode in options.mode or ["inline", "ray"]:
        with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
            print(json.dumps(measure(mode, options.evaluations, Path(scratch)), indent=2), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
