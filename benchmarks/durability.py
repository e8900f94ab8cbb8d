"""Is anything that was finished ever lost, or done twice? Kills the driver again and again, and looks.

A generational search on the synthetic objective runs once without interruption. The same search then runs with its
driver killed (SIGKILL) at random moments and resumed, until the given number of kills is reached; after the last
one it runs to its end. It must come out the same, bit by bit; no evaluation may have been finished twice, and none
be without a verdict; and no process of it may live on. The search has rungs, repeats and finals, begins with known
configurations, and screens its offspring. What a steady-state search proposes depends on when its trials end, and
what is worth its time on how long they took; with `--steady` and `--efficient` it need not come out the same.

    python benchmarks/durability.py --kills 50 --mode inline
    python benchmarks/durability.py --kills 50 --mode ray
    python benchmarks/durability.py --kills 50 --mode ray --steady
    python benchmarks/durability.py --kills 50 --mode ray --efficient
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from evolve.ledger import Ledger, SearchRecord
from evolve.trial import TrialState
from evolve.yaml_io import dump_yaml

EVOLVE = [sys.executable, "-m", "evolve"]
ORPHAN_SECONDS = 15.0
PACE = {"inline": (0.27, 5.0), "ray": (1.2, 18.0)}
"""Seconds of a training, and longest life of a driver: Ray alone takes about eight to start."""
EPOCHS = 18
OBJECTIVE = "workers.synthetic:SyntheticObjective"


def space(evaluations: int, seconds: float, *, generational: bool, objective: str) -> dict[str, object]:
    """A space with all that makes a search more than births and verdicts."""
    gene = {"type": "float", "low": 0, "high": 1, "default": 0.2}
    genes = {f"x{number}": gene for number in range(6)}
    return {
        "name": "durability",
        "fitness": "metrics/mAP50-95(B)",
        "train": {"epochs": EPOCHS, "delay": seconds / EPOCHS, "ruggedness": 0.5},
        "genes": genes,
        "search": {
            "population": 10,
            "generations": evaluations // 10,
            "seed": 11,
            "generational": generational,
            "objective": objective,
            "rungs": {"over": "epochs", "levels": 2, "factor": 3},
            "repeats": {"default": 2, "elites": 1},
        },
        "known": [
            {"genes": dict.fromkeys(genes, 0.3), "fitness": 0.3, "source": "another search"},
            {"genes": dict.fromkeys(genes, 0.6)},
        ],
        "finals": {"top": 2, "seeds": 2},
    }


def command(document: Path, mode: str) -> list[str]:
    where = ["--inline"] if mode == "inline" else ["--workers", "2"]
    return [*EVOLVE, "run", "--space", str(document), "--objective", OBJECTIVE, "--json", *where]


def environment(home: Path) -> dict[str, str]:
    # Ray keeps its files where temporary ones go, so that all that a search started can be told by this folder.
    return {**os.environ, "EVOLVE_HOME": str(home), "TMPDIR": str(home.parent)}


def run_whole(document: Path, mode: str, home: Path) -> None:
    subprocess.run(command(document, mode), env=environment(home), check=True, stdout=subprocess.DEVNULL)


def run_and_kill(document: Path, mode: str, home: Path, kills: int, longest: float, chance: random.Random) -> int:
    """Kill at random moments; how many of the kills met a driver that was alive."""
    met, argv = 0, command(document, mode)
    for _ in range(kills):
        with subprocess.Popen(
            argv, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as driver:
            try:
                driver.wait(chance.uniform(0.2, longest))
                return met  # it came to its end before the next kill
            except subprocess.TimeoutExpired:
                driver.send_signal(signal.SIGKILL)
                met += 1
        if _newest(home) is not None:
            argv = [*EVOLVE, "resume", "durability", "--json"]
    subprocess.run(argv, env=environment(home), check=True, stdout=subprocess.DEVNULL)
    return met


def _newest(home: Path) -> SearchRecord | None:
    with Ledger(f"sqlite:///{home}/evolve.db") as ledger:
        return next(iter(ledger.searches(limit=1)), None)


def outcome(home: Path) -> list[object]:
    """Every individual with its fitness, as JSON writes it: equal text is equal bits."""
    with Ledger(f"sqlite:///{home}/evolve.db") as ledger:
        search = ledger.search("durability")
        return [
            [each.number, each.genome, each.params, each.parents, dict(each.origins), each.fitness]
            for each in ledger.individuals(search.id)
        ]


def finished_twice(home: Path) -> int:
    with Ledger(f"sqlite:///{home}/evolve.db") as ledger:
        search = ledger.search("durability")
        attempts = [each for each in ledger.evaluations(search.id) if each.state is TrialState.COMPLETED]
    return sum(count - 1 for count in Counter(each.individual for each in attempts).values())


def without_verdict(home: Path) -> int:
    with Ledger(f"sqlite:///{home}/evolve.db") as ledger:
        return sum(each.told is None for each in ledger.individuals(ledger.search("durability").id))


def survivors(folder: Path) -> list[str]:
    """Processes that still belong to a search in `folder`, after the time in which they should have ended."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (alive := _processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return alive


def _processes(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            # The titles of Ray's processes overwrite their environment; their logs still tell.
            signs = [*process.environ().values(), *process.cmdline(), *(file.path for file in process.open_files())]
            if any(str(folder) in sign for sign in signs) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
        except psutil.Error:
            continue
    return found


def main() -> int:
    """Run the comparison; exit code 1 if anything was lost, doubled or left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--mode", choices=["inline", "ray"], default="inline")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--steady", action="store_true", help="a search without generations")
    parser.add_argument("--efficient", action="store_true", help="a search for the most gain in a second")
    parser.add_argument("--training", type=float, help="its seconds; by default so that the kills fit in")
    parser.add_argument("--longest", type=float, help="longest life of a driver, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seconds, longest = PACE[options.mode]
    seconds, longest = options.training or seconds, options.longest or longest
    with tempfile.TemporaryDirectory(prefix="durability-") as scratch:
        folder = Path(scratch)
        document = folder / "durability.yaml"
        objective = "efficiency" if options.efficient else "fitness"
        sought = space(options.evaluations, seconds, generational=not options.steady, objective=objective)
        document.write_text(dump_yaml(sought))
        started = time.monotonic()
        run_whole(document, options.mode, folder / "whole")
        chance = random.Random(options.seed)
        kills = run_and_kill(document, options.mode, folder / "killed", options.kills, longest, chance)
        whole, killed = (json.dumps(outcome(folder / name)) for name in ("whole", "killed"))
        result = {
            "mode": options.mode,
            "kills": kills,
            "evaluations": options.evaluations,
            "finished_twice": finished_twice(folder / "killed"),
            "without_verdict": without_verdict(folder / "killed"),
            "identical": whole == killed,
            "processes_left": survivors(folder),
            "seconds": round(time.monotonic() - started, 1),
        }
    print(json.dumps(result, indent=2))
    wrong = ("finished_twice", "without_verdict", "processes_left")
    same = result["identical"] or options.steady or options.efficient
    return 0 if same and not any(result[name] for name in wrong) else 1


if __name__ == "__main__":
    sys.exit(main())
